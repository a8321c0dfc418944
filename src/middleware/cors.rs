//! Which pages of other origins may call the API and read its answers (CORS, as in the Fetch standard).
//!
//! The list is the one by which `cross_site` admits unsafe requests: an origin that may change something may also read. Empty, as it
//! is by default, nothing is sent and no page of another origin reads anything.
//!
//! Only a preflight of a listed origin is answered here; any other `OPTIONS` is a request like others.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::{AllowedOrigins, Guards};

/// What a page may send. `Authorization` is never meant by a `*`; the others are named with it.
const REQUEST_HEADERS: &str = "accept, authorization, cache-control, content-type, if-match, if-none-match, idempotency-key, \
                               last-event-id, traceparent, tracestate, x-request-id";

/// What a page may read beside what browsers show to everybody.
const ANSWER_HEADERS: &str = "content-disposition, etag, link, location, retry-after, www-authenticate, ratelimit, ratelimit-policy, \
                              x-request-id";

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// How long a browser may remember what a preflight was told, in seconds: the most that Chromium keeps.
const MAX_AGE: &str = "7200";

/// By what the answers differ.
const VARY: &str = "origin, access-control-request-method, access-control-request-headers";

pub(super) struct Cors {
    guards: Arc<Guards>,
}

impl Cors {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for Cors {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn is_enabled(&self) -> bool {
        !self.guards.origins.list.is_empty()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let origins = &self.guards.origins.list;
        Ok(serde_json::json!({"enable": self.is_enabled(), "allowed_origins": origins}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(Arc::clone(&self.guards), share)))
    }
}

async fn share(State(guards): State<Arc<Guards>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = guards.origins.listed(headers);
    let asks_first = *request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if origin.is_some() && asks_first {
        let told = &[
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        return shared(StatusCode::NO_CONTENT.into_response(), origin, told);
    }
    guards.origins.share(next.run(request).await, origin)
}

fn shared(
    mut answer: Response,
    origin: Option<HeaderValue>,
    told: &[(HeaderName, &'static str)],
) -> Response {
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static(VARY));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let yes = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        for (name, value) in told {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    answer
}

impl AllowedOrigins {
    /// The `Origin` of a request with these headers, if the list has it.
    #[must_use]
    pub fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN);
        origin.filter(|origin| self.lists(origin)).cloned()
    }

    /// The answer to a request of that origin, so that its page may read it: by the layer, and by who refuses before it.
    #[must_use]
    pub fn share(&self, answer: Response, origin: Option<HeaderValue>) -> Response {
        if self.list.is_empty() {
            return answer;
        }
        let told = &[(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS)];
        shared(answer, origin, told)
    }
}
