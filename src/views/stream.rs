//! The HTTP side of a stream: headers, the first block's `retry`, heartbeats, the end.
//!
//! What browsers, libraries and proxies do decides the details. `X-Accel-Buffering`: nginx holds whole streams back without it.
//! The heartbeat is the single line `:`; with a blank line after it, one much-used client delivers an empty message. `retry` rides
//! inside the first block for the same reason.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt as _,
    future::{BoxFuture, FutureExt as _, ready},
    stream::{self, FuturesUnordered},
};
use tokio::time::Instant;

use super::problem::with_causes;
use crate::conversation::RunError;

/// What goes for open streams.
#[derive(Debug, Clone, Copy)]
pub struct StreamSettings {
    /// After how much silence a comment is sent.
    pub heartbeat: Duration,
    /// How long a client is told to wait before it comes back.
    pub retry: Duration,
}

/// Where blocks come from.
pub trait Blocks: Send + 'static {
    /// Waits for the next whole SSE blocks; `None` after the last. Must be cancel-safe: a heartbeat interrupts it. What is there must come
    /// at the first poll of a call: a stream that is to end asks once more.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, RunError>> + Send;

    /// Whether a wait for the next goes on in the database, which is a matter of seconds. Nothing is sent meanwhile: whoever then takes
    /// nothing would keep a connection of all others.
    fn is_reading(&self) -> bool {
        false
    }
}

/// The answer that streams these blocks until they end or `leave` is ready.
pub fn response(
    blocks: impl Blocks,
    settings: StreamSettings,
    leave: impl Future<Output = ()> + Send + 'static,
) -> Response {
    with_headers(Body::from_stream(body(blocks, settings, leave)))
}

/// The same without a body: the answer to a `HEAD`.
pub fn head() -> Response {
    // Of no length that is known: a stream has none.
    with_headers(Body::from_stream(
        stream::empty::<Result<Bytes, Infallible>>(),
    ))
}

/// Whether a page asks, by an `EventSource` or a `fetch`: an `EventSource` gives up for good on an error status.
#[must_use]
pub fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key("sec-fetch-mode")
}

/// The answer to a page when something passing is in the way: its `EventSource` comes back by itself after this.
pub fn come_back(settings: StreamSettings) -> Response {
    with_headers(Body::from(format!(
        "retry: {}\n\n",
        settings.retry.as_millis()
    )))
}

/// The answer to a client that has everything: every client that reconnects by itself stops at it.
pub fn over() -> Response {
    (
        StatusCode::NO_CONTENT,
        [(header::CACHE_CONTROL, "no-store")],
    )
        .into_response()
}

fn with_headers(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

struct Sending<B> {
    blocks: B,
    heartbeat: Duration,
    /// What is still to be put before the first block.
    prefix: Option<String>,
    /// When something was sent last.
    sent: Instant,
    /// Whether the stream ends where nothing more is there.
    leaves: bool,
    /// The request that it answers.
    span: tracing::Span,
    /// What is looked at when it rings, and not with each block: a look costs locks that all streams share.
    bells: FuturesUnordered<BoxFuture<'static, Bell>>,
}

enum Bell {
    /// The stream is to end.
    Leave,
    /// It may have been silent for too long: the timer is not wound up again with each block.
    Silence,
}

fn body<B: Blocks>(
    blocks: B,
    settings: StreamSettings,
    leave: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let sending = Sending {
        blocks,
        heartbeat: settings.heartbeat,
        prefix: Some(format!("retry: {}\n", settings.retry.as_millis())),
        sent: Instant::now(),
        leaves: false,
        span: tracing::Span::current(),
        bells: std::iter::once(leave.map(|()| Bell::Leave).boxed()).collect(),
    };
    sending.wind_up(sending.sent);
    stream::unfold(sending, |mut sending| async {
        let bytes = sending.next().await?;
        Some((Ok(bytes), sending))
    })
}

impl<B: Blocks> Sending<B> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                // What is there is shown before the stream ends: the last events of a run that was left.
                biased;
                next = self.blocks.next() => {
                    let bytes = match next {
                        Ok(bytes) => bytes?,
                        Err(error) => {
                            // The client comes back with its cursor; nothing is lost.
                            let cause = with_causes(&error);
                            tracing::warn!(parent: &self.span, cause, "a stream ended early");
                            return None;
                        }
                    };
                    self.sent = Instant::now();
                    return Some(self.prefixed(bytes));
                }
                () = ready(()), if self.leaves => return None,
                bell = self.bells.next() => {
                    let Some(Bell::Silence) = bell else {
                        self.leaves = true;
                        continue;
                    };
                    let now = Instant::now();
                    if self.sent + self.heartbeat > now {
                        self.wind_up(self.sent);
                        continue;
                    }
                    if self.blocks.is_reading() {
                        self.wind_up(now);
                        continue;
                    }
                    self.sent = now;
                    self.wind_up(now);
                    return Some(Bytes::from_static(b":\n"));
                }
            }
        }
    }

    /// Lets the bell ring when it has been silent for too long since then.
    fn wind_up(&self, since: Instant) {
        let silence = tokio::time::sleep_until(since + self.heartbeat);
        self.bells.push(silence.map(|()| Bell::Silence).boxed());
    }

    /// The first blocks with `retry` before them, in one piece; all others as they are.
    fn prefixed(&mut self, bytes: Bytes) -> Bytes {
        let Some(prefix) = self.prefix.take() else {
            return bytes;
        };
        let mut joined = BytesMut::with_capacity(prefix.len() + bytes.len());
        joined.extend_from_slice(prefix.as_bytes());
        joined.extend_from_slice(&bytes);
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::sync::mpsc;

    use super::*;

    struct Channel(mpsc::UnboundedReceiver<&'static str>);

    impl Blocks for Channel {
        async fn next(&mut self) -> Result<Option<Bytes>, RunError> {
            Ok(self
                .0
                .recv()
                .await
                .map(|text| Bytes::from_static(text.as_bytes())))
        }
    }

    const SETTINGS: StreamSettings = StreamSettings {
        heartbeat: Duration::from_secs(4),
        retry: Duration::from_secs(2),
    };

    #[tokio::test(start_paused = true)]
    async fn heartbeats_come_in_silence_and_never_in_traffic() {
        let (say, hear) = mpsc::unbounded_channel();
        let mut body = std::pin::pin!(body(Channel(hear), SETTINGS, std::future::pending()));
        let started = Instant::now();
        assert_eq!(&body.next().await.unwrap().unwrap()[..], b":\n");
        assert_eq!(started.elapsed().as_secs(), 4);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(3)).await;
            say.send("data: x\n\n").unwrap();
            assert!(
                body.next()
                    .await
                    .unwrap()
                    .unwrap()
                    .ends_with(b"data: x\n\n")
            );
        }
        let quiet = Instant::now();
        assert_eq!(&body.next().await.unwrap().unwrap()[..], b":\n");
        assert_eq!(quiet.elapsed().as_secs(), 4);
        drop(say);
        assert!(body.next().await.is_none());
    }

    /// Somebody who is parked behind a heartbeat would keep the database's connection.
    #[tokio::test(start_paused = true)]
    async fn no_heartbeat_comes_between_a_read_of_the_database_and_its_answer() {
        struct Slow(std::pin::Pin<Box<tokio::time::Sleep>>);
        impl Blocks for Slow {
            async fn next(&mut self) -> Result<Option<Bytes>, RunError> {
                self.0.as_mut().await;
                Ok(Some(Bytes::from_static(b"data: x\n\n")))
            }

            fn is_reading(&self) -> bool {
                !self.0.is_elapsed()
            }
        }
        let slow = Slow(Box::pin(tokio::time::sleep(Duration::from_secs(9))));
        let mut body = std::pin::pin!(body(slow, SETTINGS, std::future::pending()));
        let read = body.next().await.unwrap().unwrap();
        assert!(read.ends_with(b"data: x\n\n"));
    }

    #[tokio::test]
    async fn retry_rides_inside_the_first_block() {
        let (say, hear) = mpsc::unbounded_channel();
        let mut body = std::pin::pin!(body(Channel(hear), SETTINGS, std::future::pending()));
        say.send("event: a\ndata: 1\n\n").unwrap();
        assert_eq!(
            &body.next().await.unwrap().unwrap()[..],
            b"retry: 2000\nevent: a\ndata: 1\n\n"
        );
        say.send("event: b\ndata: 2\n\n").unwrap();
        assert_eq!(
            &body.next().await.unwrap().unwrap()[..],
            b"event: b\ndata: 2\n\n"
        );
    }

    /// The last events of a run that was left, where its deltas were gathering.
    #[tokio::test]
    async fn what_is_there_is_shown_before_the_stream_ends() {
        struct Gathering(Option<usize>);
        impl Blocks for Gathering {
            async fn next(&mut self) -> Result<Option<Bytes>, RunError> {
                match self.0.as_mut() {
                    None => self.0 = Some(2),
                    Some(0) => {}
                    Some(there) => {
                        *there -= 1;
                        return Ok(Some(Bytes::from_static(b"data: x\n\n")));
                    }
                }
                std::future::pending().await
            }
        }
        let mut body = std::pin::pin!(body(Gathering(None), SETTINGS, ready(())));
        for _ in 0..2 {
            let bytes = body.next().await.unwrap().unwrap();
            assert!(bytes.ends_with(b"data: x\n\n"), "{bytes:?}");
        }
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_stream() {
        let (_say, hear) = mpsc::unbounded_channel();
        let shutdown = tokio_util::sync::CancellationToken::new();
        let mut body = std::pin::pin!(body(
            Channel(hear),
            SETTINGS,
            shutdown.clone().cancelled_owned()
        ));
        shutdown.cancel();
        assert!(body.next().await.is_none());
    }
}
