//! One connection, from its first byte to its last.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{net::TcpStream, sync::Notify};
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

/// How connections are spoken with.
pub(super) fn builder(options: &ServeOptions, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        // hyper counts the time between two requests as header time.
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
        let first = Arc::new(Notify::new());
        let streams = Streams::new(options.write_timeout, self.streams);
        let service = service(self.router, peer, Arc::clone(&first));
        let io = TokioIo::new(patient(stream, options.write_timeout));
        let builder = builder(options, streams.clone());
        let mut connection = pin!(builder.serve_connection(io, service));
        let first_request = tokio::time::timeout(options.header_timeout, first.notified());
        let asked = tokio::select! {
            ended = &mut connection => return tell(peer, ended),
            // Nothing is open on it: it ends at once.
            () = self.ended.cancelled() => {
                connection.as_mut().graceful_shutdown();
                return tell(peer, connection.await);
            }
            asked = first_request => asked,
        };
        if asked.is_err() {
            return tracing::debug!(%peer, "a connection asked for nothing");
        }
        // Looked at when they ring, and not with each write.
        let mut bells = FuturesUnordered::new();
        bells.push(
            streams
                .idle(options.keep_alive)
                .map(|()| Bell::Idle)
                .boxed(),
        );
        bells.push(self.ended.cancelled().map(|()| Bell::Ended).boxed());
        let bell = tokio::select! {
            biased;
            ended = &mut connection => return tell(peer, ended),
            bell = bells.next() => bell,
        };
        connection.as_mut().graceful_shutdown();
        match bell {
            Some(Bell::Idle) => {
                // Of a client that is there, nothing is open any more.
                let ended = tokio::time::timeout(options.header_timeout, connection).await;
                ended.map_or_else(|_| (), |ended| tell(peer, ended));
            }
            Some(Bell::Ended) | None => tell(peer, connection.await),
        }
    }
}

/// Why a connection is told to end.
enum Bell {
    /// It has asked for nothing for too long.
    Idle,
    /// The server ends.
    Ended,
}

fn tell(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
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
