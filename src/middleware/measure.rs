//! Counts what is asked and what is sent: by the route's template, never by what a client made of it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use crate::conversation::{Happening, Meter, Tally};

pub(super) struct Measure {
    meter: Meter,
}

impl Measure {
    pub(super) fn new(meter: Meter) -> Self {
        Self { meter }
    }
}

impl MiddlewareLayer for Measure {
    fn name(&self) -> &'static str {
        "measure"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": true}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(self.meter.clone(), measure)))
    }
}

async fn measure(State(meter): State<Meter>, request: Request, next: Next) -> Response {
    let asked = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    meter.tell(Happening::RequestAnswered {
        method: method.as_str(),
        route,
        status: response.status().as_u16(),
        took: asked.elapsed(),
    });
    let sent = meter.bytes_sent(route);
    response.map(|body| Body::new(Counted { body, sent }))
}

/// A body whose bytes are counted as they are handed to the connection.
struct Counted {
    body: Body,
    sent: Tally,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.sent.add(data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
