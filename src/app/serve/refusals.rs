//! Those for whom there is no place: they are told so by HTTP, as long as not too many have to be told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderName, HeaderValue, Method},
    response::{IntoResponse as _, Response},
};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
};
use tokio_util::task::TaskTracker;
use tower::Service as _;
use uuid::Uuid;

use super::{
    connection::{Attendant, builder},
    places::Full,
    readers::{Streams, patient},
};
use crate::{
    app::leftover::lend,
    conversation::Happening,
    views::{problem::Problem, stream},
};

/// How many are told at the same time, beside the connections that there may be, and how long one may take to ask and to listen. All
/// others are closed without a word.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the log says that connections are refused.
const QUIET: Duration = Duration::from_secs(60);

/// What is answered all the same: whoever asks this would restart a process that is merely full.
const LIVENESS: [&str; 2] = ["/_ping", "/_health"];

/// Tells those who are refused.
pub(super) struct Refusals {
    attendant: Attendant,
    tasks: TaskTracker,
    telling: Arc<Semaphore>,
    /// How many were refused since the log has said so.
    unsaid: u64,
    said: Option<Instant>,
}

impl Refusals {
    pub(super) fn new(attendant: Attendant, tasks: TaskTracker) -> Self {
        Self {
            attendant,
            tasks,
            telling: Arc::new(Semaphore::new(AT_ONCE)),
            unsaid: 0,
            said: None,
        }
    }

    /// Refuses that connection.
    pub(super) fn refuse(&mut self, stream: TcpStream, peer: SocketAddr, full: Full) {
        let limit = full.limit();
        let meter = &self.attendant.options.meter;
        meter.tell(Happening::ConnectionRefused { limit });
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() >= QUIET) {
            let refused = self.unsaid;
            tracing::warn!(%peer, refused, "connections are refused: settings.limits.{limit}");
            (self.unsaid, self.said) = (0, Some(Instant::now()));
        }
        let Ok(permit) = Arc::clone(&self.telling).try_acquire_owned() else {
            return;
        };
        let attendant = self.attendant.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            let told = tokio::time::timeout(PATIENCE, tell(attendant, stream, peer, full)).await;
            tracing::debug!(%peer, told = told.is_ok(), "a connection was refused");
        });
    }
}

/// Answers the first request, whatever it is: whoever sends it while we close would see a reset, and no reason.
async fn tell(attendant: Attendant, stream: TcpStream, peer: SocketAddr, full: Full) {
    let Attendant {
        router,
        options,
        streams,
        ..
    } = attendant;
    let answered = Arc::new(Notify::new());
    let told = Arc::clone(&answered);
    let (retry, origins) = (options.stream, Arc::clone(&options.origins));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (request, leftover) = lend(request);
        let (mut router, told) = (router.clone(), Arc::clone(&told));
        let origins = Arc::clone(&origins);
        async move {
            let answer = if LIVENESS.contains(&request.uri().path()) {
                router.call(request).await?
            } else {
                let watching = is_watching_browser(&request);
                let origin = origins.listed(request.headers());
                // Its body goes back to be thrown away.
                drop(request);
                let answer = if watching {
                    stream::come_back(retry)
                } else {
                    refusal(full)
                };
                // A page that may not read it would take it for a broken network, and its `EventSource` for the end.
                origins.share(answer, origin)
            };
            leftover.discard(answer.status()).await;
            told.notify_one();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = builder(&options, Streams::new(PATIENCE, streams));
    builder.http1().keep_alive(false);
    let io = TokioIo::new(patient(stream, PATIENCE));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = answered.notified() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a refused connection ended early");
    }
}

/// A browser gives up for good on an error status.
fn is_watching_browser(request: &Request) -> bool {
    request.method() == Method::GET
        && request.uri().path().starts_with("/api/stream/")
        && stream::is_of_a_page(request.headers())
}

/// As the layers before the handlers would make it, which it never reaches.
fn refusal(full: Full) -> Response {
    let detail = match full {
        Full::All => "the server has as many connections as it may",
        Full::Client => "this client has as many connections as it may",
    };
    let id = Uuid::now_v7().to_string();
    let mut answer = Problem::too_many_connections(detail)
        .with_member("request_id", json!(id))
        .into_response();
    if let Ok(id) = HeaderValue::from_str(&id) {
        let name = HeaderName::from_static("x-request-id");
        answer.headers_mut().insert(name, id);
    }
    answer
}
