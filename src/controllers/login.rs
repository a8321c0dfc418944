//! `/auth`: people log in by a browser, at their issuer, and out again. Open to everybody: who comes here has no login yet.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, RawQuery},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{
    controller::Routes,
    prelude::{get, post},
};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::extract::{Door, FormBody, invalid_query};
use crate::{
    conversation::{RunError, Violation},
    identity::{
        Answer, ClientAddress, LocalPath, LoginError, NotEnded, Redirect, Sessions, TokenError,
        cookies,
    },
    views::{problem::Problem, rate_limit::whole_seconds},
};

/// Log in by a browser
///
/// Sends the browser to the issuer; with a login there it comes back and has a session. `return_to` is the path of this server that it
/// goes to then.
#[utoipa::path(
    get,
    path = "/auth/login",
    tag = "login",
    params(
        ("issuer" = Option<String>, Query, description = "Whose login; the first one of the settings if it is absent"),
        ("return_to" = Option<String>, Query, description = "A path of this server to go to afterwards"),
    ),
    responses(
        (status = 303, description = "To the issuer", headers(("Location" = String, description = "The issuer's login"))),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 503, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn begin_login(
    door: Door,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let sessions = sessions(&door)?;
    let (mut issuer, mut return_to) = (None, None);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "issuer" => issuer = Some(value.into_owned()),
            "return_to" => return_to = Some(local_path(&value)?),
            _ => {}
        }
    }
    let cookies = cookies(&headers);
    let begun = sessions.begin(issuer.as_deref(), return_to.as_ref(), &cookies);
    begun.await.map(see_other).map_err(|error| refused(&error))
}

fn local_path(text: &str) -> Result<LocalPath, Problem> {
    let wrong = |error: crate::identity::NotLocal| {
        let mistake = Violation::new("/return_to", error.to_string());
        invalid_query(vec![mistake])
    };
    text.parse().map_err(wrong)
}

/// Come back from the issuer
///
/// The issuer sends the browser here. It gets a session, as a cookie that no script can read, and goes to where its login was to lead.
#[utoipa::path(
    get,
    path = "/auth/callback",
    tag = "login",
    params(
        ("state" = Option<String>, Query, description = "Of the login that was begun"),
        ("code" = Option<String>, Query, description = "What the issuer redeems"),
        ("error" = Option<String>, Query, description = "Why there is none"),
        ("iss" = Option<String>, Query, description = "The issuer (RFC 9207)"),
    ),
    responses(
        (status = 303, description = "The browser has a session", headers(
            ("Location" = String, description = "Where the login was to lead"),
            ("Set-Cookie" = String, description = "The session"),
        )),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 429, response = Problem),
        (status = 503, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn complete_login(
    door: Door,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let sessions = sessions(&door)?;
    let Query(answer) = answer.map_err(|_| refused(&LoginError::NotBegun))?;
    let cookies = cookies(&headers);
    let completed = sessions.complete(&answer, &cookies, address.into()).await;
    completed.map(see_other).map_err(|error| refused(&error))
}

/// Log out
///
/// Ends the browser's session. A navigation goes on to the issuer's logout, if it has one; any other request is answered 204.
#[utoipa::path(
    post,
    path = "/auth/logout",
    tag = "login",
    responses(
        (status = 204, description = "The session is over"),
        (status = 303, description = "The session is over, and the browser goes on to the issuer's logout", headers(("Location" = String, description = "The issuer's logout"))),
        (status = 404, response = Problem),
        (status = 503, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn log_out(door: Door, headers: HeaderMap) -> Result<Response, Problem> {
    let sessions = sessions(&door)?;
    let ended = sessions.end(&cookies(&headers)).await;
    let ended = ended.map_err(|error| Problem::from(RunError::from(error)))?;
    let mut answer = see_other(ended);
    let mode = headers.get("sec-fetch-mode");
    if mode.is_none_or(|mode| mode != "navigate") {
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().remove(header::LOCATION);
    }
    Ok(answer)
}

/// The form as the document of the API has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema alone")]
pub(super) struct LogoutForm {
    /// The token by which the issuer says whose logins are over.
    logout_token: String,
}

/// The issuer ends logins
///
/// For the issuer (OpenID Connect Back-Channel Logout 1.0): ends the sessions that its logout token names.
#[utoipa::path(
    post,
    path = "/auth/backchannel-logout",
    tag = "login",
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "They are over"),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 503, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn end_logins(
    door: Door,
    FormBody(form): FormBody,
) -> Result<StatusCode, Problem> {
    let sessions = sessions(&door)?;
    let tokens = form_urlencoded::parse(&form);
    let mut tokens = tokens.filter(|(name, _)| name == "logout_token");
    let token = tokens.next().map(|(_, token)| token.into_owned());
    let token = token.ok_or_else(|| not_ended("the body has no logout_token"))?;
    match sessions.end_by(&token).await {
        Ok(ended) => {
            tracing::info!(ended, "an issuer has ended sessions");
            Ok(StatusCode::OK)
        }
        Err(NotEnded::Token(TokenError::Unavailable { retry_after })) => {
            Err(Problem::issuer_unavailable(whole_seconds(retry_after)))
        }
        Err(NotEnded::Token(error)) => Err(not_ended(&error.to_string())),
        Err(NotEnded::Store(error)) => Err(RunError::from(error).into()),
    }
}

fn sessions(door: &Door) -> Result<Arc<Sessions>, Problem> {
    let none = || Problem::of_status(StatusCode::NOT_FOUND);
    door.sessions.clone().ok_or_else(none)
}

fn see_other(redirect: Redirect) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let headers = answer.headers_mut();
    // Addresses as `url` writes them, and cookies of our own making, have no characters that a header cannot.
    if let Ok(to) = HeaderValue::from_str(&redirect.to) {
        headers.insert(header::LOCATION, to);
    }
    for cookie in redirect.cookies {
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    answer
}

fn refused(error: &LoginError) -> Problem {
    match error {
        LoginError::NoIssuer => Problem::of_status(StatusCode::NOT_FOUND),
        LoginError::Unavailable { retry_after }
        | LoginError::IdToken(TokenError::Unavailable { retry_after }) => {
            Problem::issuer_unavailable(whole_seconds(*retry_after))
        }
        LoginError::NotKept => Problem::database_unavailable(error.to_string()),
        LoginError::TooMany { retry_after } => Problem::too_many_logins(*retry_after),
        LoginError::Refused(_)
        | LoginError::NotBegun
        | LoginError::NotRedeemed(_)
        | LoginError::IdToken(_) => Problem::new(
            StatusCode::BAD_REQUEST,
            "login-failed",
            "Login failed",
            error.to_string(),
        ),
    }
}

fn not_ended(detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-logout-token",
        "Invalid logout token",
        detail,
    )
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("auth")
        .add("/login", get(begin_login))
        .add("/callback", get(complete_login))
        .add("/logout", post(log_out))
        .add("/backchannel-logout", post(end_logins))
}
