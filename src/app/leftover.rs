//! What is left of a request's body once it has been refused.
//!
//! Who refuses a request early (no login, too many, no such route) does not read its body. hyper would then close the connection with
//! bytes unread, which resets it: a client that is still sending may never see the answer, and a proxy may make a 502 of it. So the rest
//! is read and thrown away before the answer goes out, up to a bound.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{StatusCode, header},
};
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::{Body as HttpBody, Bytes, Frame, SizeHint},
};
use tokio::sync::oneshot;

/// How much is thrown away at most, and for how long.
const DISCARDED: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);

/// The way back of a body to whoever lent it.
pub(super) struct Leftover<B> {
    /// Nothing where the request has no body.
    back: Option<oneshot::Receiver<Lent<B>>>,
    /// Whether the client sends its body only once it is asked to (`Expect: 100-continue`).
    waits: bool,
}

struct Lent<B> {
    body: B,
    polled: bool,
}

/// A body that goes back when it is dropped before its end. It is handed on whole, so no chunk of it passes a lock.
struct Lending<B> {
    lent: Option<Lent<B>>,
    back: Option<oneshot::Sender<Lent<B>>>,
}

/// Lends the request's body to those who answer it. One without a body goes through as it is.
pub(super) fn lend<B>(request: Request<B>) -> (Request<Body>, Leftover<B>)
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin + Send + 'static,
{
    if request.body().is_end_stream() {
        let nothing = Leftover {
            back: None,
            waits: false,
        };
        return (request.map(Body::new), nothing);
    }
    let expected = request.headers().get(header::EXPECT);
    let waits =
        expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (sender, receiver) = oneshot::channel();
    let lending = |body| Lending {
        lent: Some(Lent {
            body,
            polled: false,
        }),
        back: Some(sender),
    };
    let leftover = Leftover {
        back: Some(receiver),
        waits,
    };
    (request.map(|body| Body::new(lending(body))), leftover)
}

impl<B> Leftover<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    /// Called before an answer of that status goes out: throws away what a refused request still sends.
    pub(super) async fn discard(self, status: StatusCode) {
        if !status.is_client_error() && !status.is_server_error() {
            return;
        }
        // It has had its time.
        if status == StatusCode::REQUEST_TIMEOUT {
            return;
        }
        // Nothing has come back where it was read to its end, or where somebody still reads it.
        let Some(Ok(lent)) = self.back.map(|mut back| back.try_recv()) else {
            return;
        };
        // To read would be to ask for it.
        if self.waits && !lent.polled {
            return;
        }
        // What does not come in time is not waited for: the answer goes out all the same.
        let _ = tokio::time::timeout(PATIENCE, read(lent.body)).await;
    }
}

async fn read(mut body: impl HttpBody<Data = Bytes> + Unpin) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > DISCARDED {
            return;
        }
    }
}

impl<B> HttpBody for Lending<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(lent) = self.lent.as_mut() else {
            return Poll::Ready(None);
        };
        lent.polled = true;
        let frame = Pin::new(&mut lent.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.lent = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.lent
            .as_ref()
            .is_none_or(|lent| lent.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let lent = self.lent.as_ref();
        lent.map_or_else(|| SizeHint::with_exact(0), |lent| lent.body.size_hint())
    }
}

impl<B> Drop for Lending<B> {
    fn drop(&mut self) {
        if let (Some(lent), Some(back)) = (self.lent.take(), self.back.take()) {
            // The connection may be gone.
            let _ = back.send(lent);
        }
    }
}
