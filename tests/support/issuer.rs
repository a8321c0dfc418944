//! An OpenID Connect issuer: its discovery document and its keys, which can be changed, and every way to be in trouble.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use super::{keys::Key, within};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It takes the request, and never answers.
    Silent,
    /// Its documents are pages.
    Garbage,
    /// Its keys are none that anybody can use.
    NoKeys,
    Failing,
    /// What is asked for is elsewhere, it says: where the keys of somebody else are.
    Redirecting,
    /// Its documents have no end.
    Endless,
    /// It says that it is another.
    Another,
    /// Its keys are at an address without TLS that is not of this machine.
    Unsafe,
}

/// Dropping it ends it.
pub(crate) struct Issuer {
    pub(crate) url: String,
    address: SocketAddr,
    desk: Arc<Desk>,
    server: Option<JoinHandle<()>>,
}

struct Desk {
    url: String,
    keys: Mutex<Vec<Value>>,
    mood: Mutex<Mood>,
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
    asked: Notify,
}

impl Issuer {
    /// One that has that key.
    pub(crate) async fn start(key: &Key) -> Self {
        let mut issuer = Self::dead(key).await;
        issuer.revive().await;
        issuer
    }

    /// One that nobody reaches yet.
    pub(crate) async fn dead(key: &Key) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/realm");
        Self {
            address,
            desk: Arc::new(Desk {
                url: url.clone(),
                keys: Mutex::new(vec![key.jwk()]),
                mood: Mutex::new(Mood::Well),
                discoveries: AtomicUsize::new(0),
                fetches: AtomicUsize::new(0),
                asked: Notify::new(),
            }),
            url,
            server: None,
        }
    }

    pub(crate) async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new()
            .route("/realm/.well-known/openid-configuration", get(discovery))
            .route("/realm/keys", get(keys))
            .route("/elsewhere", get(keys))
            .with_state(Arc::clone(&self.desk));
        let server = async move { axum::serve(listener, router).await.unwrap() };
        self.server = Some(tokio::spawn(server));
    }

    /// Nobody reaches it any longer.
    pub(crate) async fn die(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        // Connections that are open end by themselves; what matters is that the next question fails.
        self.feel(Mood::Failing);
    }

    pub(crate) fn feel(&self, mood: Mood) {
        *self.desk.mood.lock().unwrap() = mood;
    }

    /// It has these keys from now on.
    pub(crate) fn publish(&self, keys: &[Value]) {
        *self.desk.keys.lock().unwrap() = keys.to_vec();
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.desk.fetches.load(Ordering::Relaxed)
    }

    /// How often it was asked for anything.
    pub(crate) fn questions(&self) -> usize {
        self.fetches() + self.desk.discoveries.load(Ordering::Relaxed)
    }

    /// Waits until it has been asked so often.
    pub(crate) async fn asked(&self, times: usize) {
        within("the issuer to be asked", async {
            while self.questions() < times {
                self.desk.asked.notified().await;
            }
        })
        .await;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn discovery(State(desk): State<Arc<Desk>>) -> Response {
    desk.discoveries.fetch_add(1, Ordering::Relaxed);
    desk.asked.notify_one();
    let url = &desk.url;
    let mood = *desk.mood.lock().unwrap();
    let document = match mood {
        Mood::Another => json!({"issuer": format!("{url}/"), "jwks_uri": format!("{url}/keys")}),
        Mood::Unsafe => json!({"issuer": url, "jwks_uri": "http://192.0.2.1/keys"}),
        _ => json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
    };
    answer(mood, &document).await
}

async fn keys(State(desk): State<Arc<Desk>>) -> Response {
    desk.fetches.fetch_add(1, Ordering::Relaxed);
    desk.asked.notify_one();
    let mood = *desk.mood.lock().unwrap();
    let keys = desk.keys.lock().unwrap().clone();
    let document = match mood {
        Mood::NoKeys => json!({"keys": [{"kty": "oct", "k": "AAAA"}, {"kid": 7}, null]}),
        _ => json!({"keys": keys}),
    };
    answer(mood, &document).await
}

async fn answer(mood: Mood, document: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Garbage => "<html>We are moving house.</html>".into_response(),
        Mood::Failing => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Redirecting => {
            (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response()
        }
        Mood::Endless => (json, " ".repeat(2 * 1024 * 1024)).into_response(),
        Mood::Well | Mood::NoKeys | Mood::Another | Mood::Unsafe => {
            (json, document.to_string()).into_response()
        }
    }
}
