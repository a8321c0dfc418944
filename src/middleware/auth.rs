//! Nobody gets past without credentials, but to the health routes and to what clients must know before they have any.

use std::sync::Arc;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use url::form_urlencoded;

use super::{Guards, challenge, host::said_wrongly};
use crate::{
    conversation::{Happening, LoginRefusal, RunError},
    identity::{
        Admitted, Authenticator, Caller, ClientAddress, ClientKey, Denied, Login, TokenError,
        cookies,
    },
    views::{problem::Problem, rate_limit::whole_seconds, stream},
};

/// The paths that anybody may ask. All others need a login.
pub(super) const OPEN: [&str; 8] = [
    "/_ping",
    "/_health",
    "/_readiness",
    "/.well-known/oauth-protected-resource",
    "/auth/login",
    "/auth/callback",
    "/auth/logout",
    "/auth/backchannel-logout",
];

/// The one that a ticket is good for.
const WATCHED: &str = "/api/stream/{run_id}";

/// The one that the settings may open, too.
pub(super) const METRICS: &str = "/metrics";

/// Says who is asking, also where no login is asked for: then it is nobody, who may do all.
pub(super) struct Auth {
    guards: Arc<Guards>,
}

impl Auth {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let metrics = self.guards.public_metrics.then_some(METRICS);
        let open: Vec<&str> = OPEN.into_iter().chain(metrics).collect();
        let login = self.guards.authenticator.is_some();
        Ok(serde_json::json!({"enable": true, "login": login, "open": open}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(Arc::clone(&self.guards), authenticate)))
    }
}

async fn authenticate(
    State(guards): State<Arc<Guards>>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = guards.client(&request);
    request.extensions_mut().insert(ClientAddress(address));
    let Some(authenticator) = &guards.authenticator else {
        request.extensions_mut().insert(Caller::nobody());
        return next.run(request).await;
    };
    let path = request.uri().path();
    if OPEN.contains(&path) || (guards.public_metrics && path == METRICS) {
        return next.run(request).await;
    }
    let mut all = request.headers().get_all(header::AUTHORIZATION).iter();
    let given = all.next().map(HeaderValue::as_bytes);
    if all.next().is_some() {
        // Whoever stands in front may have looked at the other one.
        return said_wrongly("the request must have one Authorization header at most");
    }
    let client = ClientKey::from(address);
    let ticket = ticket(&request);
    let cookies = cookies(request.headers());
    let checked = match given {
        Some(_) => authenticator.check(given, client).await,
        // Whoever has opened an address with a ticket means that, whatever login its browser has.
        None => match ticket.map(|ticket| authenticator.check_ticket(&ticket, client)) {
            Some(Ok(admitted)) => Ok(admitted),
            refused => match session(&guards, &cookies).await {
                Ok(Some(caller)) => Ok(Admitted {
                    caller,
                    login: Login::Session,
                }),
                Ok(None) => refused.unwrap_or(Err(Denied::NoCredentials)),
                Err(problem) => return put_off(&guards, &request, problem),
            },
        },
    };
    match checked {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted.caller);
            request.extensions_mut().insert(admitted.login);
            let answer = next.run(request).await;
            match admitted.login {
                Login::Basic | Login::Ticket | Login::Session => answer,
                Login::Bearer => challenge::with_missing_scope(answer),
            }
        }
        Err(denied) => {
            guards.meter.tell(Happening::LoginRefused(reason(denied)));
            let dialog = asks_for_login(&request);
            let problem = refusal(&guards, authenticator, denied, dialog);
            match denied {
                Denied::Token(TokenError::Unavailable { .. })
                | Denied::Busy
                | Denied::TooMany { .. } => put_off(&guards, &request, problem),
                _ => problem.into_response(),
            }
        }
    }
}

/// Who is logged in by the browser that asks.
async fn session(guards: &Guards, cookies: &[&str]) -> Result<Option<Caller>, Problem> {
    let Some(sessions) = &guards.sessions else {
        return Ok(None);
    };
    let checked = Box::pin(sessions.check(cookies)).await;
    checked.map_err(|error| RunError::from(error).into())
}

/// Not now. A browser's stream would give up for good on an error status: it is told to come back.
fn put_off(guards: &Guards, request: &Request, problem: Problem) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let watches = route.is_some_and(|route| route.as_str() == WATCHED);
    if watches && request.method().is_safe() && stream::is_of_a_page(request.headers()) {
        return stream::come_back(guards.stream);
    }
    problem.into_response()
}

fn reason(denied: Denied) -> LoginRefusal {
    match denied {
        Denied::NoCredentials => LoginRefusal::NoCredentials,
        Denied::Wrong => LoginRefusal::WrongCredentials,
        Denied::Token(TokenError::Expired) => LoginRefusal::ExpiredToken,
        Denied::Token(TokenError::Unavailable { .. }) => LoginRefusal::IssuerUnavailable,
        Denied::Token(_) => LoginRefusal::WrongToken,
        Denied::Ticket => LoginRefusal::WrongTicket,
        Denied::Busy => LoginRefusal::Busy,
        Denied::TooMany { .. } => LoginRefusal::TooMany,
    }
}

/// The ticket in the query of a request that watches a run.
fn ticket(request: &Request) -> Option<String> {
    let route = request.extensions().get::<MatchedPath>()?;
    if !request.method().is_safe() || route.as_str() != WATCHED {
        return None;
    }
    let mut pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    let (_, ticket) = pairs.find(|(name, _)| name == "ticket")?;
    Some(ticket.into_owned())
}

/// Whether a login dialog makes sense: for navigations and for programs. A `fetch` or an `EventSource` would hang behind it.
fn asks_for_login(request: &Request) -> bool {
    request
        .headers()
        .get("sec-fetch-mode")
        .is_none_or(|mode| mode == "navigate")
}

fn refusal(
    guards: &Guards,
    authenticator: &Authenticator,
    denied: Denied,
    asks_for_login: bool,
) -> Problem {
    let (basic, bearer) = (
        authenticator.takes(Login::Basic),
        authenticator.takes(Login::Bearer),
    );
    let (detail, wrong) = match denied {
        Denied::NoCredentials if guards.sessions.is_some() => (
            "this needs a login: in a browser at /auth/login, or a bearer token".to_owned(),
            None,
        ),
        Denied::NoCredentials if basic && bearer => (
            "this needs a login: Basic auth, or a bearer token".to_owned(),
            None,
        ),
        Denied::NoCredentials if bearer => ("this needs a login: a bearer token".to_owned(), None),
        Denied::NoCredentials => ("this needs a login: Basic auth".to_owned(), None),
        Denied::Wrong => ("these credentials are wrong".to_owned(), None),
        Denied::Ticket => {
            let detail = "this ticket is wrong, or its time is over: get another one";
            (detail.to_owned(), None)
        }
        Denied::Token(TokenError::Unavailable { retry_after }) => {
            return Problem::issuer_unavailable(whole_seconds(retry_after));
        }
        Denied::Token(error) => (error.to_string(), Some(error)),
        Denied::Busy => {
            return Problem::busy("too many logins are being looked at");
        }
        Denied::TooMany { retry_after } => {
            return Problem::too_many_logins(retry_after);
        }
    };
    let mut problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "Unauthorized",
        detail,
    );
    // It makes no dialog, so it goes to those, too, that would hang behind one.
    if bearer {
        let challenge = challenge::bearer(wrong, &guards.resource_metadata);
        problem = problem.with_header(header::WWW_AUTHENTICATE, challenge);
    }
    if basic && asks_for_login {
        problem = problem.with_header(header::WWW_AUTHENTICATE, challenge::BASIC);
    }
    problem
}
