//! One connection, from its first byte to its last.

use std::{
    fmt::Display,
    future::{self, Future},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{
    ServeOptions,
    readers::{BUFFER, Streams, patient, watched},
};
use crate::app::leftover::lend;

/// How many requests an HTTP/2 connection may have open at the same time.
const STREAMS: u32 = 200;

/// How many of them a client may take back before they were looked at, and how many of its mistakes are answered by a reset: more of
/// either, and the connection is closed (CVE-2023-44487, CVE-2025-8671).
const TAKEN_BACK: usize = 20;
const MISTAKES: usize = 100;

/// The most bytes of a request's headers by HTTP/2, as its specification counts them. From it follows how many CONTINUATION frames may
/// come (CVE-2024-27316 and its kind).
const HEADERS: u32 = 16 * 1024;

/// How often an HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// How connections are spoken with that are known to be HTTP/1.1.
fn http_1(options: &ServeOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        // hyper counts the time between two requests as header time.
        .header_read_timeout(options.keep_alive);
    builder
}

/// How connections are spoken with.
pub(super) fn builder(options: &ServeOptions, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        .header_read_timeout(options.keep_alive);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(TAKEN_BACK)
        .max_local_error_reset_streams(MISTAKES)
        .max_header_list_size(HEADERS)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// What all connections have in common.
#[derive(Clone)]
pub(super) struct Attendant {
    pub(super) router: Router,
    pub(super) options: Arc<ServeOptions>,
    /// Cancelled when open requests are to end.
    pub(super) ended: CancellationToken,
    /// Of the streams of HTTP/2.
    pub(super) streams: TaskTracker,
}

impl Attendant {
    /// Answers whoever is there until the connection ends.
    pub(super) async fn attend(self, stream: TcpStream, peer: SocketAddr) {
        let options = &self.options;
        let until = Instant::now() + options.header_timeout;
        let speaks = tokio::select! {
            speaks = timeout_at(until, speaks_http_1(&stream)) => speaks,
            // Nothing is open on it: it ends at once.
            () = self.ended.cancelled() => return,
        };
        let first = Arc::new(Notify::new());
        let streams = Streams::new(options.write_timeout, self.streams.clone());
        let service = service(self.router.clone(), peer, Arc::clone(&first));
        let io = TokioIo::new(patient(stream, options.write_timeout));
        let asked = timeout_at(until, first.notified());
        let ended = match speaks {
            Ok(true) => {
                let connection = pin!(http_1(options).serve_connection(io, service));
                self.see_off(connection, asked, future::pending()).await
            }
            // Apart, so that the others do not take the memory of these.
            Ok(false) => {
                let speaking = async {
                    let builder = builder(options, streams.clone());
                    let connection = pin!(builder.serve_connection(io, service));
                    let idle = streams.idle(options.keep_alive);
                    self.see_off(connection, asked, idle).await
                };
                Box::pin(speaking).await
            }
            Err(_) => Some("it asked for nothing".to_owned()),
        };
        if let Some(reason) = ended {
            tracing::debug!(%peer, reason, "a connection ended early");
        }
    }

    /// Serves the connection to its end. `asked` is ready at its first request, or when that is late; `idle` when it may be closed, with
    /// whoever is there having nothing open. The reason, if it ended early.
    async fn see_off<C>(
        &self,
        mut connection: Pin<&mut C>,
        asked: impl Future<Output = Result<(), Elapsed>>,
        idle: impl Future<Output = ()> + Send,
    ) -> Option<String>
    where
        C: GracefulConnection<Error: Display>,
    {
        let early = |ended: C::Output| ended.err().map(|error| error.to_string());
        let asked = tokio::select! {
            ended = &mut connection => return early(ended),
            // Nothing is open on it: it ends at once.
            () = self.ended.cancelled() => {
                connection.as_mut().graceful_shutdown();
                return early(connection.await);
            }
            asked = asked => asked,
        };
        if asked.is_err() {
            return Some("it asked for nothing".to_owned());
        }
        // Looked at when they ring, and not with each write.
        let mut bells = FuturesUnordered::new();
        bells.push(idle.map(|()| Bell::Idle).boxed());
        bells.push(self.ended.cancelled().map(|()| Bell::Ended).boxed());
        let bell = tokio::select! {
            biased;
            ended = &mut connection => return early(ended),
            bell = bells.next() => bell,
        };
        connection.as_mut().graceful_shutdown();
        match bell {
            Some(Bell::Idle) => {
                // Of a client that is there, nothing is open any more.
                let ended = timeout(self.options.header_timeout, connection).await;
                ended.ok().and_then(early)
            }
            Some(Bell::Ended) | None => early(connection.await),
        }
    }
}

/// Whether the first bytes are of no preface of HTTP/2 (RFC 9113, section 3.4). Looked at where they are: a connection that is handed them
/// by itself takes twice the memory for what follows.
async fn speaks_http_1(stream: &TcpStream) -> bool {
    let mut first = [0; 3];
    match stream.peek(&mut first).await {
        Ok(count) => !b"PRI".starts_with(&first[..count]),
        Err(_) => false,
    }
}

/// Why a connection is told to end.
enum Bell {
    /// It has asked for nothing for too long.
    Idle,
    /// The server ends.
    Ended,
}

/// The router, told who is connected.
fn service(
    router: Router,
    peer: SocketAddr,
    asked: Arc<Notify>,
) -> impl hyper::service::Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        asked.notify_one();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (request, leftover) = lend(request);
        let answering = router.clone().call(request);
        async move {
            let answer = answering.await?;
            leftover.discard(answer.status()).await;
            Ok(watched(answer))
        }
    })
}
