//! The floor: hands a provider's stream on to whoever asked for it, and does nothing else.
//!
//! `parley-relay PORT UPSTREAM`. It is kept minimal on purpose: no login, no log, no ids, no order of events, no second attempt, nothing to
//! come back to. What Parley costs is told as a ratio to this, measured in the same minute.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{net::TcpListener, sync::broadcast};

/// How many chunks may wait for the slowest subscriber: a whole measurement's, so that none is skipped.
const BROADCAST_CHUNKS: usize = 65_536;

#[derive(Clone)]
struct Relay {
    client: reqwest::Client,
    upstream: Arc<str>,
    broadcasts: Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(port), Some(upstream)) = (args.next(), args.next()) else {
        return Err("parley-relay PORT UPSTREAM".into());
    };
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let relay = Relay {
        client: reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .tls_certs_only([])
            .build()?,
        upstream: format!("{upstream}/v1/chat/completions").into(),
        broadcasts: Arc::default(),
    };
    let router = Router::new()
        .route("/_ping", get(|| async { "ok" }))
        .route("/pipe", get(pipe))
        .route("/broadcast/{id}", post(start).get(subscribe))
        .with_state(relay);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

/// One upstream request for one reader: its bytes, as they come. The query goes to the upstream as what the user says.
async fn pipe(
    State(relay): State<Relay>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let topic = query.get("topic").map_or("", String::as_str);
    match relay.ask(topic).await {
        Ok(answer) => event_stream(Body::from_stream(answer.bytes_stream())),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// One upstream request for all who have subscribed.
#[expect(
    clippy::disallowed_methods,
    reason = "the floor waits for nobody at its end"
)]
async fn start(State(relay): State<Relay>, Path(id): Path<String>) -> Response {
    let answer = match relay.ask(&id).await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let sender = relay.sender(&id);
    tokio::task::spawn(async move {
        let mut chunks = answer.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            // An error means that nobody listens any more.
            let _ = sender.send(chunk);
        }
        relay
            .broadcasts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    });
    StatusCode::ACCEPTED.into_response()
}

/// What a broadcast says from now on, to its end.
async fn subscribe(State(relay): State<Relay>, Path(id): Path<String>) -> Response {
    let receiver = relay.sender(&id).subscribe();
    event_stream(Body::from_stream(stream::unfold(
        receiver,
        |mut receiver| async {
            let chunk = receiver.recv().await.ok()?;
            Some((Ok::<_, std::convert::Infallible>(chunk), receiver))
        },
    )))
}

impl Relay {
    async fn ask(&self, topic: &str) -> reqwest::Result<reqwest::Response> {
        let body = serde_json::json!({ "model": "bench", "stream": true, "messages": [{ "role": "user", "content": topic }] });
        let request = self
            .client
            .post(&*self.upstream)
            .header(header::CONTENT_TYPE, "application/json");
        request.body(body.to_string()).send().await
    }

    fn sender(&self, id: &str) -> broadcast::Sender<Bytes> {
        let mut broadcasts = self
            .broadcasts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        broadcasts
            .entry(id.to_owned())
            .or_insert_with(|| broadcast::channel(BROADCAST_CHUNKS).0)
            .clone()
    }
}

fn event_stream(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
