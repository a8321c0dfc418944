//! Serving HTTP: the accept loop and its end.
//!
//! `axum::serve` has no knob for the time that a client may take to send its headers, without which idle half-requests pile up;
//! so the loop stands here, over hyper-util as axum's own does.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::leftover::lend;

/// What bounds a connection.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// How long a new connection may take to send the headers of its first request.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request after that. Longer than the pools of clients and proxies keep theirs (nginx
    /// 60 s, Go and reqwest 90 s): whoever closes first risks that a request is on its way, and a POST is not sent twice.
    pub keep_alive: Duration,
    /// How long open requests may take to end once the server is told to.
    pub grace: Duration,
}

/// How long to wait when the system refuses a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is ready, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts the time between two requests as header time.
        .header_read_timeout(options.keep_alive);
    builder.http2().timer(TokioTimer::new());
    let header_timeout = options.header_timeout;
    let connections = TaskTracker::new();
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let asked = Arc::new(Notify::new());
                let service = service(router.clone(), peer, Arc::clone(&asked));
                let connection = builder.serve_connection(TokioIo::new(no_delay(stream)), service);
                let connection = graceful.watch(connection.into_owned());
                connections.spawn(async move {
                    let mut connection = pin!(connection);
                    let first_request = tokio::time::timeout(header_timeout, asked.notified());
                    let ended = tokio::select! {
                        ended = &mut connection => ended,
                        asked = first_request => match asked {
                            Ok(()) => connection.await,
                            Err(_) => return tracing::debug!(%peer, "a connection asked for nothing"),
                        },
                    };
                    if let Err(error) = ended {
                        tracing::debug!(%peer, error, "a connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "some requests did not end in time"
        );
    }
}

/// Without it, small writes such as deltas wait for the other side's acknowledgement.
fn no_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    stream
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
            Ok(answer)
        }
    })
}
