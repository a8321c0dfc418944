//! Text is compressed on its way out where the client takes it so; streams never are, since what is held back to be packed is late.

use std::{convert::Infallible, future::ready};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

/// Smaller answers fit into one packet as they are.
const LEAST_BYTES: u16 = 1_024;

/// What gains by it. A list of what does, and not of what does not: nothing is held back that nobody thought of.
const TEXTS: [&str; 8] = [
    "application/json",
    "application/problem+json",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/markdown",
    "text/plain",
];

pub(super) struct Compression {
    pub(super) enable: bool,
}

impl MiddlewareLayer for Compression {
    fn name(&self) -> &'static str {
        "compression"
    }

    fn is_enabled(&self) -> bool {
        self.enable
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": self.enable, "types": TEXTS}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn(compress)))
    }
}

/// Only what gains by it goes through the layer, which puts something around each body: a stream is polled for each delta.
async fn compress(request: Request, next: Next) -> Response {
    let mut asked = Request::new(Body::empty());
    for accepted in request.headers().get_all(header::ACCEPT_ENCODING) {
        let headers = asked.headers_mut();
        headers.append(header::ACCEPT_ENCODING, accepted.clone());
    }
    let answer = next.run(request).await;
    if !is_text(answer.headers()) {
        return answer;
    }
    let mut answer = Some(answer);
    let answered =
        service_fn(move |_| ready(Ok::<_, Infallible>(answer.take().unwrap_or_default())));
    let layer = CompressionLayer::new().compress_when(SizeAbove::new(LEAST_BYTES));
    let Ok(packed) = layer.layer(answered).oneshot(asked).await;
    packed.into_response()
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    TEXTS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn all_that_a_client_takes_counts_and_streams_are_left_as_they_are() {
        let text = "tea ".repeat(1_000);
        let stream = [(header::CONTENT_TYPE, "text/event-stream")];
        let (page, events) = (text.clone(), text);
        let app: Router = Router::new()
            .route("/page", get(async move || page))
            .route("/stream", get(async move || (stream, events)))
            .layer(from_fn(compress));
        for (path, packed) in [("/page", Some("gzip")), ("/stream", None)] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = path.parse().unwrap();
            for accepted in ["identity", "gzip"] {
                let headers = request.headers_mut();
                headers.append(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            }
            let answer = app.clone().oneshot(request).await.unwrap();
            let encoding = answer.headers().get(header::CONTENT_ENCODING);
            assert_eq!(encoding.map(|it| it.to_str().unwrap()), packed, "{path}");
        }
    }
}
