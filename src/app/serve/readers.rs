//! Those who ask and do not read.
//!
//! A reader that takes nothing for the stated time is cut. Where it stops the whole connection, the socket's writes get no further
//! ([`patient`]). An HTTP/2 client can also close the window of one stream alone, while its connection goes on: such a stream is ended
//! by who polls it ([`Streams`]), which sees that its body is asked for nothing more.
//!
//! **Invariant:** what waits for a slow reader is bounded: by the buffers below and the piece that fills them, and not by what there is
//! to send. Nothing here is paid per delta but one atomic, and that on HTTP/2 alone.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::{net::TcpStream, sync::watch};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;

/// The most bytes that a connection holds for a reader, by HTTP/1.1, and also that its head may have; by HTTP/2 the most for each stream.
pub(super) const BUFFER: usize = 64 * 1024;

/// How much of what was not sent yet the system holds beside that. Otherwise it would be megabytes.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// The largest piece that HTTP/2 is given at once: it keeps what it was given until the client's window has room.
const PIECE: usize = 16 * 1024;

/// How many looks a stream must stand still for: it is cut after its time, and a part of it more at most.
const LOOKS: u32 = 8;

/// A connection whose writes end with an error when they get no further for so long.
pub(super) fn patient(stream: TcpStream, patience: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // The two bounds of the system are a help, not a need.
    #[cfg(target_os = "linux")]
    if let Err(error) = bound(&stream, patience) {
        tracing::debug!(%error, "cannot bound a socket");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    Box::pin(stream)
}

/// What was written and is not taken counts, too: a machine that is gone would hold its place for a quarter of an hour.
#[cfg(target_os = "linux")]
fn bound(stream: &TcpStream, patience: Duration) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(patience))
}

/// Runs the HTTP/2 streams of one connection, and ends those that stand still.
#[derive(Clone)]
pub(super) struct Streams {
    patience: Duration,
    tracker: TaskTracker,
    /// How many there are.
    open: Arc<watch::Sender<usize>>,
}

impl Streams {
    pub(super) fn new(patience: Duration, tracker: TaskTracker) -> Self {
        let open = Arc::new(watch::Sender::new(0));
        Self {
            patience,
            tracker,
            open,
        }
    }

    /// Ready when there has been a stream, and then none for so long. Never with HTTP/1.1, which sees to that itself.
    pub(super) async fn idle(&self, patience: Duration) {
        let mut open = self.open.subscribe();
        // The sender is ours: nobody closes it.
        let _ = open.wait_for(|open| *open > 0).await;
        loop {
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(patience, open.changed())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let open = Open::new(&self.open);
        let progress = Arc::new(Progress::default());
        let patience = self.patience;
        self.tracker.spawn(async move {
            let _open = open;
            tokio::select! {
                biased;
                () = PROGRESS.scope(Arc::clone(&progress), stream) => {}
                // What is dropped unfinished is reset.
                () = progress.stands_still(patience) => tracing::debug!("a stream was not read"),
            }
        });
    }
}

/// A stream that is open, until it is dropped.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn new(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

tokio::task_local! {
    /// Of the HTTP/2 stream that is polled.
    static PROGRESS: Arc<Progress>;
}

/// How often a body was asked for more, doubled, and one more if it gave something at last: then it is the reader's turn. Written by who
/// polls the body, alone.
#[derive(Default)]
struct Progress(AtomicU64);

impl Progress {
    fn asked(&self, gave: bool) {
        let asked = (self.0.load(Ordering::Relaxed) >> 1) + 1;
        self.0
            .store(asked << 1 | u64::from(gave), Ordering::Relaxed);
    }

    /// Ready when the body gave something and was not asked for more for so long.
    async fn stands_still(&self, patience: Duration) {
        let (mut seen, mut looks) = (0, 0);
        while looks < LOOKS {
            tokio::time::sleep(patience / LOOKS).await;
            let now = self.0.load(Ordering::Relaxed);
            let still = now == seen && now & 1 == 1;
            looks = if still { looks + 1 } else { 0 };
            seen = now;
        }
    }
}

/// The answer, and if its stream is watched, so is its body.
pub(super) fn watched(answer: Response) -> Response {
    let Ok(progress) = PROGRESS.try_with(Arc::clone) else {
        return answer;
    };
    answer.map(|body| {
        Body::new(Watched {
            body,
            rest: Bytes::new(),
            progress,
        })
    })
}

/// A body in pieces that tells of its progress.
struct Watched {
    body: Body,
    /// Of a piece that was too large.
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Watched {
    fn next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = self.next(context);
        self.progress
            .asked(matches!(frame, Poll::Ready(Some(Ok(_)))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(of_body.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_stands_still_only_where_it_is_the_readers_turn() {
        let (progress, patience) = (Progress::default(), Duration::from_secs(60));
        let still = || tokio::time::timeout(10 * patience, progress.stands_still(patience));
        assert!(still().await.is_err(), "there is no body yet");
        progress.asked(true);
        progress.asked(false);
        assert!(still().await.is_err(), "there is nothing to send");
        progress.asked(true);
        let since = Instant::now();
        assert!(still().await.is_ok());
        let (took, look) = (since.elapsed(), patience / LOOKS);
        assert!(took >= patience && took <= patience + 2 * look, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_goes_on_is_not_cut() {
        let (progress, patience) = (Progress::default(), Duration::from_secs(60));
        let reading = async {
            for _ in 0..20 {
                progress.asked(true);
                tokio::time::sleep(patience * 3 / 4).await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = progress.stands_still(patience) => panic!("it was cut"),
        }
    }

    #[tokio::test]
    async fn a_body_is_given_in_pieces_and_whole() {
        let text: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let body = PROGRESS.sync_scope(Arc::default(), || {
            watched(Response::new(Body::from(text.clone()))).into_body()
        });
        assert_eq!(body.size_hint().exact(), Some(100_000));
        let (mut body, mut seen) = (body, Vec::new());
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE && !piece.is_empty());
            seen.extend_from_slice(&piece);
            assert_eq!(body.size_hint().exact(), Some(100_000 - seen.len() as u64));
            assert_eq!(body.is_end_stream(), seen.len() == 100_000);
        }
        assert_eq!(seen, text);
    }
}
