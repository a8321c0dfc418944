//! Which pages of other origins may call the API and read its answers (CORS, as in the Fetch standard).
//!
//! The list is the one by which `cross_site` admits unsafe requests: an origin that may change something may also read. Empty, as it
//! is by default, nothing is sent and no page of another origin reads anything.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Guards;

/// What a page may send. `Authorization` is never meant by a `*`; the others are named with it.
const REQUEST_HEADERS: [HeaderName; 10] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-request-id"),
];

/// What a page may read beside what browsers show to everybody.
const ANSWER_HEADERS: [HeaderName; 9] = [
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// How long a browser may remember what a preflight was told: the most that Chromium keeps.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

pub(super) struct Cors {
    guards: Guards,
}

impl Cors {
    pub(super) fn new(guards: Guards) -> Self {
        Self { guards }
    }

    fn origins(&self) -> &[String] {
        &self.guards.origins.list
    }
}

impl MiddlewareLayer for Cors {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn is_enabled(&self) -> bool {
        !self.origins().is_empty()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": self.is_enabled(), "allowed_origins": self.origins()}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        let origins = self.origins().iter();
        let origins = origins.filter_map(|origin| HeaderValue::from_str(origin).ok());
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_credentials(true)
            .allow_methods(METHODS)
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(ANSWER_HEADERS)
            .max_age(MAX_AGE);
        Ok(app.layer(layer))
    }
}
