//! How many runs a client may create in a minute, and how many of whatever else is created by its routes.
//!
//! What is limited stands in one table, `CREATIONS`: each row counts by itself, all by the limit of the settings. Each process counts what
//! it is asked, before it reads it; what comes of runs, all processes on a database count together, where they are made.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::Guards;
use crate::{
    conversation::Happening,
    identity::{Claim, ClientAddress, RateLimiter, Verdict},
    views::{
        problem::Problem,
        rate_limit::{Item, whole_seconds},
    },
};

const MINUTE: Duration = Duration::from_mins(1);

/// A route whose POST makes something.
struct Creation {
    /// As the router has it.
    path: &'static str,
    /// What it makes.
    what: &'static str,
    /// Of the problem.
    title: &'static str,
    /// The name in `RateLimit-Policy`.
    policy: &'static str,
    /// Whether the handler takes an `Idempotency-Key` and counts by itself: it knows whether the request makes something.
    keyed: bool,
}

const CREATIONS: &[Creation] = &[
    Creation {
        path: "/api/run",
        what: "runs",
        title: "Too many runs",
        policy: "run-creations",
        keyed: true,
    },
    // rate-limit-inject (do not remove: generated POSTs are named above it)
];

pub(super) struct RateLimit {
    guards: Arc<Guards>,
}

impl RateLimit {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self { guards }
    }
}

/// What the layer works with.
#[derive(Clone)]
struct Limits {
    guards: Arc<Guards>,
    /// In the order of `CREATIONS`; empty where nothing is limited.
    limiters: Arc<[Arc<RateLimiter>]>,
}

impl Limits {
    /// The row of the request's route, and who counts for it.
    fn of(&self, request: &Request) -> Option<(&'static Creation, &Arc<RateLimiter>)> {
        if request.method() != Method::POST {
            return None;
        }
        let path = request.extensions().get::<MatchedPath>()?;
        let mut rows = CREATIONS.iter().zip(self.limiters.iter());
        rows.find(|(creation, _)| creation.path == path.as_str())
    }
}

impl MiddlewareLayer for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn is_enabled(&self) -> bool {
        self.guards.creations_per_minute.is_some()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let limit = self.guards.creations_per_minute;
        Ok(serde_json::json!({"enable": self.is_enabled(), "run_creations_per_minute": limit}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        let limit = self.guards.creations_per_minute;
        let limiters = limit.iter().flat_map(|limit| {
            let new = |_| Arc::new(RateLimiter::per_minute(*limit));
            CREATIONS.iter().map(new)
        });
        let limits = Limits {
            guards: Arc::clone(&self.guards),
            limiters: limiters.collect(),
        };
        Ok(app.layer(from_fn_with_state(limits, limit_creations)))
    }
}

async fn limit_creations(
    State(limits): State<Limits>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some((creation, limiter)) = limits.of(&request) else {
        return next.run(request).await;
    };
    // `auth` has said it to all behind it.
    let known = request.extensions().get::<ClientAddress>();
    let client = known.map_or_else(|| limits.guards.client(&request), |it| it.0);
    let claim = Claim::new(Arc::clone(limiter), client.into());
    // A request that comes again under its key makes nothing. Whether it does, the handler knows first.
    let later = creation.keyed && request.headers().contains_key("idempotency-key");
    if !later && let Some(Verdict::Refused { retry_after }) = claim.count() {
        return refuse(&limits.guards, creation, limiter.limit(), retry_after);
    }
    let limit = limiter.limit();
    request.extensions_mut().insert(claim.clone());
    let answer = next.run(request).await;
    match claim.count() {
        None => answer,
        Some(Verdict::Allowed { remaining }) => {
            // One comes after the other, and the next at the latest after the time that one takes.
            let next = MINUTE.as_secs().div_ceil(u64::from(limit));
            tell(creation, answer, limit, remaining, next)
        }
        Some(Verdict::Refused { retry_after }) => {
            refuse(&limits.guards, creation, limit, retry_after)
        }
    }
}

fn refuse(guards: &Guards, creation: &Creation, limit: u32, retry_after: Duration) -> Response {
    guards.meter.tell(Happening::RateLimited {
        policy: creation.policy,
    });
    let (wait, what) = (whole_seconds(retry_after), creation.what);
    let detail = format!("this client may create {limit} {what} a minute; try again in {wait} s");
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        creation.title,
        detail,
    )
    .with_header(header::RETRY_AFTER, HeaderValue::from(wait));
    tell(creation, problem.into_response(), limit, 0, wait)
}

fn tell(
    creation: &Creation,
    mut answer: Response,
    limit: u32,
    remaining: u32,
    reset: u64,
) -> Response {
    let item = Item {
        name: creation.policy,
        limit: limit.into(),
        window: Some(MINUTE),
        unit: None,
        remaining: remaining.into(),
        reset: Some(reset),
    };
    item.tell(answer.headers_mut());
    answer
}
