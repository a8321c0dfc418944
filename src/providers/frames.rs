//! The bytes of an answer into SSE frames, bounded in size and in silence.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use sse_stream::SseByteStream;

use super::stray::Stray;
use crate::conversation::{AttemptFailure, FailureCode};

/// Why the bytes ended early.
#[derive(Debug, thiserror::Error)]
enum BodyFault {
    #[error("the provider fell silent for {} ms", .0.as_millis())]
    Silence(Duration),
    #[error("{0} bytes came without an event being complete")]
    TooLong(usize),
    #[error("the connection broke off")]
    Broken(#[source] reqwest::Error),
}

/// The frames of one answer.
pub(super) struct Frames {
    stream: Pin<Box<dyn Stream<Item = Result<sse_stream::Sse, sse_stream::Error>> + Send>>,
    /// Bytes that came since the last complete event. Shared with the byte stream, which refuses to take too many.
    pending: Arc<AtomicUsize>,
    /// What came beside the frames. Held for a moment only.
    stray: Arc<Mutex<Stray>>,
}

impl Frames {
    pub(super) fn new(response: reqwest::Response, idle: Duration, max_event_bytes: usize) -> Self {
        let pending = Arc::new(AtomicUsize::new(0));
        let stray = Arc::new(Mutex::new(Stray::default()));
        let seen = Arc::clone(&stray);
        let bytes = bounded(response, idle, max_event_bytes, Arc::clone(&pending)).inspect_ok(
            move |bytes| {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(bytes);
            },
        );
        Self {
            stream: Box::pin(SseByteStream::new(bytes)),
            pending,
            stray,
        }
    }

    /// An error that the server has written past the format of its stream.
    pub(super) fn stray_error(&self) -> Option<String> {
        let stray = self.stray.lock().unwrap_or_else(PoisonError::into_inner);
        stray.found()
    }

    /// The data of the next frame; `None` at the end of the body. Blocks without data are no frames.
    pub(super) async fn next(&mut self) -> Result<Option<String>, AttemptFailure> {
        loop {
            // A provider that is quicker than we are must not keep this task from whatever else it waits for: a stop, a deadline.
            tokio::task::consume_budget().await;
            match self.stream.next().await {
                Some(Ok(frame)) => {
                    self.pending.store(0, Ordering::Relaxed);
                    if let Some(data) = frame.data {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(failure(&error)),
                None => return Ok(None),
            }
        }
    }
}

/// The body's bytes, which end in a fault after too long a silence between them or too many bytes without an event. How long the
/// first ones may take is for others to bound: a server may send its headers long before it has read the prompt.
fn bounded(
    response: reqwest::Response,
    idle: Duration,
    max_event_bytes: usize,
    pending: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, BodyFault>> + Send {
    let begun = false;
    futures_util::stream::try_unfold((response, begun), move |(mut response, begun)| {
        let pending = Arc::clone(&pending);
        async move {
            tokio::task::consume_budget().await;
            let chunk = if begun {
                let chunk = tokio::time::timeout(idle, response.chunk()).await;
                chunk.map_err(|_| BodyFault::Silence(idle))?
            } else {
                response.chunk().await
            };
            let Some(bytes) = chunk.map_err(BodyFault::Broken)? else {
                return Ok(None);
            };
            let total = pending.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
            if total > max_event_bytes {
                return Err(BodyFault::TooLong(total));
            }
            Ok(Some((bytes, (response, true))))
        }
    })
}

fn failure(error: &sse_stream::Error) -> AttemptFailure {
    let sse_stream::Error::Body(source) = error else {
        return AttemptFailure::new(FailureCode::Malformed, "the provider's stream is not UTF-8");
    };
    let code = match source.downcast_ref::<BodyFault>() {
        Some(BodyFault::Silence(_)) => FailureCode::Timeout,
        Some(BodyFault::TooLong(_)) => FailureCode::Malformed,
        Some(BodyFault::Broken(_)) | None => FailureCode::Truncated,
    };
    AttemptFailure::new(code, source.to_string())
}
