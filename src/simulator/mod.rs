//! A stand-in for the providers: a server of literal JSON that speaks sensibly in a demonstration, and does in tests what a
//! script says, faults included.
//!
//! **Invariant:** it knows nothing of our side. What it sends is written from the providers' documents, not from our types: if
//! both sides shared a struct, a misspelt field would agree with itself.
//!
//! **May import:** nothing of ours.

mod anthropic;
mod dialogue;
mod gemini;
mod openai;
mod reply;
mod responses;
mod script;
mod seen;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::post,
    serve::ListenerExt as _,
};
use bytes::Bytes;
use reply::{Api, Reply, prompt_tokens};
pub use script::{Gate, Script};
use script::{Speech, error_body, too_long};
use seen::Seen;
pub use seen::{Activity, SeenRequest};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A running simulator. Dropping it breaks all of its connections.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    default: Script,
    /// Plans for the requests to come. Held for a moment only.
    queue: Mutex<Queue>,
    seen: Seen,
    cancelled: CancellationToken,
}

#[derive(Default)]
struct Queue {
    any: VecDeque<Script>,
    by_model: HashMap<String, VecDeque<Script>>,
}

impl Simulator {
    /// Starts to listen; port 0 takes any. `script` is the plan for each request that has none of its own.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr, script: Script) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            default: script,
            queue: Mutex::default(),
            seen: Seen::default(),
            cancelled: CancellationToken::new(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(chat_completions))
            .route("/v1/responses", post(create_response))
            .route("/v1/messages", post(messages))
            .route("/v1beta/models/{model_and_verb}", post(generate_content))
            .fallback(unknown)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let listener = listener.tap_io(|stream| {
            // Without it deltas wait for the client's acknowledgements; a socket that cannot is served all the same.
            let _ = stream.set_nodelay(true);
        });
        let tasks = TaskTracker::new();
        let ended = shared.cancelled.clone().cancelled_owned();
        tasks.spawn(
            axum::serve(listener, router)
                .with_graceful_shutdown(ended)
                .into_future(),
        );
        tasks.close();
        Ok(Self {
            address,
            shared,
            tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `OPENAI_BASE_URL` is for it.
    #[must_use]
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What `ANTHROPIC_BASE_URL` is for it.
    #[must_use]
    pub fn anthropic_base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `GEMINI_BASE_URL` is for it.
    #[must_use]
    pub fn gemini_base_url(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }

    /// Plans the next request that has no plan for its model.
    pub fn enqueue(&self, script: Script) {
        self.queue(|queue| queue.any.push_back(script));
    }

    /// Plans the next request for that model.
    pub fn enqueue_for(&self, model: &str, script: Script) {
        self.queue(|queue| {
            queue
                .by_model
                .entry(model.to_owned())
                .or_default()
                .push_back(script);
        });
    }

    fn queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(
            &mut self
                .shared
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The requests that came in, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.seen.requests()
    }

    /// How many requests are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.seen.activity().borrow().open
    }

    /// Waits until the counts fit; the caller bounds the wait.
    pub async fn wait_for(&self, fits: impl FnMut(&Activity) -> bool) {
        // The sender lives as long as the simulator.
        let _ = self.shared.seen.activity().wait_for(fits).await;
    }

    /// Breaks all connections and waits until the server is gone.
    pub async fn stop(self) {
        self.shared.cancelled.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.cancelled.cancel();
    }
}

impl Shared {
    /// The plan for a request.
    fn script(&self, model: &str) -> Script {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = queue.by_model.get_mut(model).and_then(VecDeque::pop_front);
        planned
            .or_else(|| queue.any.pop_front())
            .unwrap_or_else(|| self.default.clone())
    }

    async fn answer(&self, api: Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
        let mut body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let headers: BTreeMap<String, String> = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let open = self.seen.note(SeenRequest {
            path: uri.path().to_owned(),
            headers,
            body: body.clone(),
        });
        let checked = match api {
            Api::OpenAi => openai::check(&body),
            Api::Responses => responses::check(&body),
            Api::Anthropic => anthropic::check(&body),
            Api::Gemini => gemini::check(uri, &body),
        };
        if api == Api::Gemini {
            // From here on the model is where the other APIs have it.
            gemini::name_model(uri, &mut body);
        }
        let script = self.script(body["model"].as_str().unwrap_or_default());
        let tokens = prompt_tokens(api, &body);
        let content_type = match (&script.speech, checked) {
            (Speech::Silence, _) => {
                self.cancelled.cancelled().await;
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            (Speech::Status(status, headers, said), _) => {
                return refusal(api, *status, headers, said.clone());
            }
            (_, Err(message)) => {
                return refusal(api, 400, &[], Some(error_body(api, 400, &message)));
            }
            (_, Ok(())) if script.window.is_some_and(|most| tokens > most) => {
                let most = script.window.unwrap_or_default();
                return refusal(api, 400, &[], Some(too_long(api, tokens, most)));
            }
            (Speech::Raw(_, content_type), Ok(())) => content_type.clone(),
            (Speech::Dialogue | Speech::Deltas(_) | Speech::Endless(_), Ok(())) => {
                "text/event-stream; charset=utf-8".to_owned()
            }
        };
        let reply = Reply::new(&script, api, &body, self.cancelled.clone(), open);
        (
            [("content-type", content_type)],
            Body::from_stream(reply.into_stream()),
        )
            .into_response()
    }
}

fn refusal(api: Api, status: u16, headers: &[(String, String)], body: Option<Value>) -> Response {
    let body = body.unwrap_or_else(|| error_body(api, status, "simulated"));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn chat_completions(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.answer(Api::OpenAi, &uri, &headers, &body).await
}

async fn create_response(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.answer(Api::Responses, &uri, &headers, &body).await
}

async fn messages(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.answer(Api::Anthropic, &uri, &headers, &body).await
}

async fn generate_content(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.answer(Api::Gemini, &uri, &headers, &body).await
}

async fn unknown(uri: Uri) -> Response {
    (
        StatusCode::NOT_FOUND,
        Json(error_body(
            Api::OpenAi,
            404,
            &format!("Invalid URL ({})", uri.path()),
        )),
    )
        .into_response()
}
