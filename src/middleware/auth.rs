//! Nobody gets past without credentials, but to the health routes.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::{Guards, seconds};
use crate::{
    conversation::{Happening, LoginRefusal},
    identity::{Denied, Subject},
    views::problem::Problem,
};

/// The paths that anybody may ask. All others need a login.
pub(super) const OPEN: [&str; 3] = ["/_ping", "/_health", "/_readiness"];

/// The one that the settings may open, too.
pub(super) const METRICS: &str = "/metrics";

pub(super) struct BasicAuth {
    guards: Guards,
}

impl BasicAuth {
    pub(super) fn new(guards: Guards) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for BasicAuth {
    fn name(&self) -> &'static str {
        "basic_auth"
    }

    fn is_enabled(&self) -> bool {
        self.guards.authenticator.is_some()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let metrics = self.guards.public_metrics.then_some(METRICS);
        let open: Vec<&str> = OPEN.into_iter().chain(metrics).collect();
        Ok(serde_json::json!({"enable": self.is_enabled(), "open": open}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(self.guards.clone(), authenticate)))
    }
}

async fn authenticate(State(guards): State<Guards>, mut request: Request, next: Next) -> Response {
    let Some(authenticator) = &guards.authenticator else {
        request.extensions_mut().insert(Subject::default());
        return next.run(request).await;
    };
    let path = request.uri().path();
    if OPEN.contains(&path) || (guards.public_metrics && path == METRICS) {
        return next.run(request).await;
    }
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    match authenticator.check(given, guards.client(&request)).await {
        Ok(subject) => {
            request.extensions_mut().insert(subject);
            next.run(request).await
        }
        Err(denied) => {
            guards.meter.tell(Happening::LoginRefused(match denied {
                Denied::NoCredentials => LoginRefusal::NoCredentials,
                Denied::Wrong => LoginRefusal::WrongCredentials,
                Denied::TooMany { .. } => LoginRefusal::TooMany,
            }));
            refusal(denied, asks_for_login(&request)).into_response()
        }
    }
}

/// Whether a login dialog makes sense: for navigations and for programs. A `fetch` or an `EventSource` would hang behind it.
fn asks_for_login(request: &Request) -> bool {
    request
        .headers()
        .get("sec-fetch-mode")
        .is_none_or(|mode| mode == "navigate")
}

fn refusal(denied: Denied, asks_for_login: bool) -> Problem {
    let detail = match denied {
        Denied::NoCredentials => "this needs a login: Basic auth",
        Denied::Wrong => "these credentials are wrong",
        Denied::TooMany { retry_after } => {
            let detail = "too many wrong credentials came from there";
            return Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-failed-logins",
                "Too many failed logins",
                detail,
            )
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after)));
        }
    };
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "Unauthorized",
        detail,
    );
    if !asks_for_login {
        return problem;
    }
    let challenge = HeaderValue::from_static("Basic realm=\"parley\", charset=\"UTF-8\"");
    problem.with_header(header::WWW_AUTHENTICATE, challenge)
}
