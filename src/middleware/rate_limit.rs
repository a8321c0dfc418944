//! How many runs a client may create in a minute.
//!
//! Fields: `RateLimit` and `RateLimit-Policy` of the IETF's draft-ietf-httpapi-ratelimit-headers-10.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::{Guards, seconds};
use crate::{
    conversation::Happening,
    identity::{Claim, Verdict},
    views::problem::Problem,
};

pub(super) struct RateLimit {
    guards: Guards,
}

impl RateLimit {
    pub(super) fn new(guards: Guards) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn is_enabled(&self) -> bool {
        self.guards.run_creations.is_some()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let limit = self
            .guards
            .run_creations
            .as_ref()
            .map(|limiter| limiter.limit());
        Ok(serde_json::json!({"enable": self.is_enabled(), "run_creations_per_minute": limit}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(self.guards.clone(), limit)))
    }
}

async fn limit(State(guards): State<Guards>, mut request: Request, next: Next) -> Response {
    let creates_a_run = request.method() == Method::POST && request.uri().path() == "/api/run";
    let Some(limiter) = guards.run_creations.as_ref().filter(|_| creates_a_run) else {
        return next.run(request).await;
    };
    let claim = Claim::new(Arc::clone(limiter), guards.client(&request));
    // A request that comes again under its key makes nothing. Whether it does, the handler knows first.
    let later = request.headers().contains_key("idempotency-key");
    if !later && let Some(Verdict::Refused { retry_after }) = claim.count() {
        return refuse(&guards, limiter.limit(), retry_after);
    }
    request.extensions_mut().insert(claim.clone());
    let limit = limiter.limit();
    let answer = next.run(request).await;
    match claim.count() {
        None => answer,
        Some(Verdict::Allowed { remaining }) => {
            let used = limit.saturating_sub(remaining);
            tell(answer, limit, remaining, u64::from(used * 60 / limit))
        }
        Some(Verdict::Refused { retry_after }) => refuse(&guards, limit, retry_after),
    }
}

fn refuse(guards: &Guards, limit: u32, retry_after: Duration) -> Response {
    guards.meter.tell(Happening::RateLimited);
    let wait = seconds(retry_after);
    let detail = format!("this client may create {limit} runs a minute; try again in {wait} s");
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        "Too many runs",
        detail,
    )
    .with_header(header::RETRY_AFTER, HeaderValue::from(wait));
    tell(problem.into_response(), limit, 0, wait)
}

fn tell(mut answer: Response, limit: u32, remaining: u32, reset: u64) -> Response {
    let fields = [
        (
            "ratelimit-policy",
            format!("\"run-creations\";q={limit};w=60"),
        ),
        (
            "ratelimit",
            format!("\"run-creations\";r={remaining};t={reset}"),
        ),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    answer
}
