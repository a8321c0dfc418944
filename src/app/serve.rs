//! Serving HTTP: the accept loop and its end.
//!
//! `axum::serve` has no knob for the time that a client may take to send its headers or to read its answer, without which idle
//! connections pile up; so the loop stands here, over hyper-util as axum's own does.

mod connection;
mod places;
mod readers;
mod refusals;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::places::ConnectionLimits;
use self::{connection::Attendant, places::Connections, refusals::Refusals};
use crate::{conversation::Meter, middleware::AllowedOrigins, views::stream::StreamSettings};

/// What bounds a connection.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// How long a new connection may take to send the headers of its first request.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request after that. Longer than the pools of clients and proxies keep theirs (nginx
    /// 60 s, Go and reqwest 90 s): whoever closes first risks that a request is on its way, and a POST is not sent twice.
    pub keep_alive: Duration,
    /// How long a reader may take nothing of what there is for it.
    pub write_timeout: Duration,
    /// How long open requests may take to end once the server is told to.
    pub grace: Duration,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// When browsers are told to come back for whose stream there is no place.
    pub stream: StreamSettings,
    /// Whose pages may read that.
    pub origins: Arc<AllowedOrigins>,
    /// Whom to tell of those who are refused.
    pub meter: Meter,
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
    let grace = options.grace;
    let places = Connections::new(options.limits.clone());
    let connections = TaskTracker::new();
    let attendant = Attendant {
        router,
        options: Arc::new(options),
        ended: CancellationToken::new(),
        streams: TaskTracker::new(),
    };
    let mut refusals = Refusals::new(attendant.clone(), connections.clone());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match places.take(peer.ip()) {
                Ok(place) => {
                    let attending = attendant.clone().attend(no_delay(stream), peer);
                    connections.spawn(async move {
                        let _place = place;
                        attending.await;
                    });
                }
                Err(full) => refusals.refuse(no_delay(stream), peer, full),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    attendant.ended.cancel();
    if tokio::time::timeout(grace, connections.wait())
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
