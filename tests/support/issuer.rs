//! An OpenID Connect issuer: its discovery document and its keys, which can be changed, its logins, and every way to be in trouble.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Form, Router,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use super::{free_port, keys::Key, within};

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

/// Makes the ID token of a login out of its nonce.
type Vouch = Box<dyn Fn(&str) -> String + Send>;

/// A login that was granted, and whose code is not redeemed.
struct Granted {
    code: String,
    asked: HashMap<String, String>,
}

struct Desk {
    url: String,
    vouch: Mutex<Option<Vouch>>,
    granted: Mutex<Vec<Granted>>,
    /// What it says was given; `None`: it says nothing.
    scope: Mutex<Option<String>>,
    /// What it says of tokens that say nothing by themselves.
    opaque: Mutex<HashMap<String, Value>>,
    questions: AtomicUsize,
    redemptions: AtomicUsize,
    /// `client_secret` of the client; `None`: a public one.
    secret: Mutex<Option<String>>,
    keys: Mutex<Vec<Value>>,
    mood: Mutex<Mood>,
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
    asked: Notify,
}

impl Issuer {
    /// One that has that key.
    pub(crate) async fn start(key: &Key) -> Self {
        let mut issuer = Self::dead(key);
        issuer.revive().await;
        issuer
    }

    /// One that nobody reaches yet.
    pub(crate) fn dead(key: &Key) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let url = format!("http://{address}/realm");
        Self {
            address,
            desk: Arc::new(Desk {
                url: url.clone(),
                vouch: Mutex::new(None),
                granted: Mutex::default(),
                scope: Mutex::new(None),
                opaque: Mutex::default(),
                questions: AtomicUsize::new(0),
                redemptions: AtomicUsize::new(0),
                secret: Mutex::new(None),
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
            .route("/realm/authorize", get(authorize))
            .route("/realm/token", post(redeem))
            .route("/realm/introspect", post(introspect))
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

    /// Everybody who comes is logged in at once, with that ID token.
    pub(crate) fn vouch(&self, token: impl Fn(&str) -> String + Send + 'static) {
        *self.desk.vouch.lock().unwrap() = Some(Box::new(token));
    }

    /// What it says that it gives.
    pub(crate) fn give(&self, scope: Option<&str>) {
        *self.desk.scope.lock().unwrap() = scope.map(str::to_owned);
    }

    /// What it says of that token from now on.
    pub(crate) fn say(&self, token: &str, said: Value) {
        self.desk
            .opaque
            .lock()
            .unwrap()
            .insert(token.to_owned(), said);
    }

    /// How often it was asked what a token is.
    pub(crate) fn introspections(&self) -> usize {
        self.desk.questions.load(Ordering::Relaxed)
    }

    /// How often a code was to be redeemed.
    pub(crate) fn redemptions(&self) -> usize {
        self.desk.redemptions.load(Ordering::Relaxed)
    }

    /// Its client has that secret.
    pub(crate) fn expect(&self, secret: &str) {
        *self.desk.secret.lock().unwrap() = Some(secret.to_owned());
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
        _ => json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "end_session_endpoint": format!("{url}/logout"),
            "introspection_endpoint": format!("{url}/introspect"),
            "authorization_response_iss_parameter_supported": true,
        }),
    };
    answer(mood, &document).await
}

/// Sends the browser back at once.
async fn authorize(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let code = format!("code-{}", desk.granted.lock().unwrap().len());
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"])
        .append_pair("iss", &desk.url);
    desk.granted.lock().unwrap().push(Granted { code, asked });
    (StatusCode::FOUND, [(header::LOCATION, String::from(back))]).into_response()
}

/// Whether that is Basic auth by a client's id and secret, each encoded as in a form (RFC 6749, section 2.3.1).
fn knows(basic: Option<&HeaderValue>, id: &str, secret: &str) -> bool {
    let given = basic.and_then(|basic| basic.to_str().ok()?.strip_prefix("Basic "));
    let given = given.and_then(|given| BASE64_STANDARD.decode(given).ok());
    let given = given.and_then(|given| String::from_utf8(given).ok());
    let Some((left, right)) = given.as_ref().and_then(|given| given.split_once(':')) else {
        return false;
    };
    let decoded = |text: &str| {
        let mut pairs = url::form_urlencoded::parse(text.as_bytes());
        pairs.next().map(|(text, _)| text.into_owned())
    };
    decoded(left).as_deref() == Some(id) && decoded(right).as_deref() == Some(secret)
}

/// Says what a token is, to whom it knows.
async fn introspect(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    desk.questions.fetch_add(1, Ordering::Relaxed);
    let secret = desk.secret.lock().unwrap().clone().unwrap_or_default();
    if !knows(headers.get(header::AUTHORIZATION), "parley", &secret) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let known = desk.opaque.lock().unwrap().get(&form["token"]).cloned();
    let said = known.unwrap_or_else(|| json!({"active": false}));
    let mood = *desk.mood.lock().unwrap();
    answer(mood, &said).await
}

/// Redeems a code, once, for who has the verifier and is the client.
async fn redeem(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    desk.redemptions.fetch_add(1, Ordering::Relaxed);
    if *desk.mood.lock().unwrap() == Mood::Failing {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let refusal = |error: &str| {
        let body = axum::Json(json!({"error": error}));
        (StatusCode::BAD_REQUEST, body).into_response()
    };
    let mut granted = desk.granted.lock().unwrap();
    let place = granted.iter().position(|login| login.code == form["code"]);
    let Some(place) = place else {
        return refusal("invalid_grant");
    };
    let asked = granted[place].asked.clone();
    // It is redeemed, whatever comes of it; the number of codes stays.
    granted[place].code.clear();
    let basic = headers.get(header::AUTHORIZATION).cloned();
    let right = match desk.secret.lock().unwrap().as_deref() {
        None => form.get("client_id") == Some(&asked["client_id"]) && basic.is_none(),
        Some(secret) => knows(basic.as_ref(), &asked["client_id"], secret),
    };
    let challenge = super::keys::base64url(Sha256::digest(&form["code_verifier"]));
    let same = form["redirect_uri"] == asked["redirect_uri"]
        && asked["code_challenge"] == challenge
        && asked["code_challenge_method"] == "S256";
    if !right {
        return refusal("invalid_client");
    }
    if !same {
        return refusal("invalid_grant");
    }
    let vouch = desk.vouch.lock().unwrap();
    let mut body = json!({"access_token": "a", "token_type": "Bearer"});
    if let Some(vouch) = vouch.as_ref() {
        body["id_token"] = json!(vouch(&asked["nonce"]));
    }
    if let Some(scope) = desk.scope.lock().unwrap().as_ref() {
        body["scope"] = json!(scope);
    }
    axum::Json(body).into_response()
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
