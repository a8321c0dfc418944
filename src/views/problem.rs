//! Errors for callers: RFC 9457 `application/problem+json`.

use std::{error::Error, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToResponse, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use super::rate_limit::{Item, whole_seconds};
use crate::conversation::{OverQuota, Quota, RunError, Standing, Violation};

/// The media type of every error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How long a client is asked to wait when the database is away, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// An error answer in the making. A layer around all handlers adds the request's id and writes the log line.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<Violation>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Cause>,
}

/// When to come back for what is over a limit; soon where nobody knows when there is more.
fn retry_after(reset: Option<Duration>) -> HeaderValue {
    reset.map_or(RETRY_AFTER, |reset| whole_seconds(reset).into())
}

/// An error with all that is behind it, for the log.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        // Writing into a string cannot fail.
        let _ = write!(text, ": {deeper}");
        source = deeper.source();
    }
    text
}

/// What is behind a 5xx: rides in the response's extensions to the layer that logs it, and never in the body.
#[derive(Debug, Clone)]
pub struct Cause(pub Arc<dyn Error + Send + Sync>);

impl Problem {
    /// A problem of that kind. `slug` is its stable name: its `type` is `/problems/SLUG`.
    #[must_use]
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            slug,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// The process cannot do its work now; `failing` names the parts.
    #[must_use]
    pub fn not_ready(failing: &[&str]) -> Self {
        let detail = format!("failing: {}", failing.join(", "));
        Self::put_off("not-ready", "Not ready", detail)
    }

    /// The database is away.
    #[must_use]
    pub fn database_unavailable(detail: impl Into<String>) -> Self {
        Self::put_off("database-unavailable", "Database unavailable", detail)
    }

    /// There is too much to do for this now.
    #[must_use]
    pub fn busy(detail: &str) -> Self {
        Self::put_off("busy", "Busy", detail)
    }

    /// There is no place for another connection.
    #[must_use]
    pub fn too_many_connections(detail: &str) -> Self {
        Self::put_off("too-many-connections", "Too many connections", detail)
    }

    /// Who asks may not do this: it takes that scope.
    #[must_use]
    pub fn insufficient_scope(scope: &'static str) -> Self {
        let detail = format!("this takes the scope {scope}, which these credentials do not have");
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "Insufficient scope",
            detail,
        )
        .with_member("scope", json!(scope))
    }

    /// Nobody can know whether a token is right: who made it is down.
    #[must_use]
    pub fn issuer_unavailable(seconds: u64) -> Self {
        let detail = "who issued the token is down, and its key is not known here yet; the same request may succeed later";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "issuer-unavailable",
            "Issuer unavailable",
            detail,
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// All the places that there are for streams are taken by their client, or their owner: that limit, of so many.
    #[must_use]
    pub fn too_many_streams(limit: &'static str, most: usize, detail: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        let item = Item {
            name: limit,
            limit: u64::try_from(most).unwrap_or(u64::MAX),
            window: None,
            unit: Some("streams"),
            remaining: 0,
            // When one ends, nobody knows.
            reset: None,
        };
        item.tell(&mut headers);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-streams",
            "Too many streams",
            detail,
        )
        .with_header(header::RETRY_AFTER, RETRY_AFTER)
        .with_headers(&headers)
    }

    /// Too much was wrong that came from there.
    #[must_use]
    pub fn too_many_logins(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failed-logins",
            "Too many failed logins",
            "too many wrong credentials came from there",
        )
        .with_header(header::RETRY_AFTER, whole_seconds(retry_after).into())
    }

    /// Something that passes by itself: the client is told when to come back.
    fn put_off(slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, title, detail)
            .with_header(header::RETRY_AFTER, RETRY_AFTER)
    }

    /// With the rules that the input breaks.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Violation>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// With where the client stands with its limits.
    #[must_use]
    pub fn with_limits(self, standings: &[Standing]) -> Self {
        let mut headers = HeaderMap::new();
        for standing in standings {
            Item::from(standing).tell(&mut headers);
        }
        self.with_headers(&headers)
    }

    fn with_headers(mut self, headers: &HeaderMap) -> Self {
        let named = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        self.0.headers.extend(named);
        self
    }

    /// With a member of its own.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// With what is behind it, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: Box<dyn Error + Send + Sync>) -> Self {
        self.0.cause = Some(Cause(cause.into()));
        self
    }

    /// The problem that a bare status stands for: what the framework answers by itself.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let (slug, title, detail) = match status {
            StatusCode::BAD_REQUEST => (
                "bad-request",
                "Bad request",
                "the request cannot be understood",
            ),
            StatusCode::NOT_FOUND => ("not-found", "Not found", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method-not-allowed",
                "Method not allowed",
                "this address takes only the methods that Allow names",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (
                "body-too-large",
                "Body too large",
                "the body is over the limit",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported-media-type",
                "Unsupported media type",
                "the body must be application/json",
            ),
            StatusCode::UNPROCESSABLE_ENTITY => (
                "validation-failed",
                "Validation failed",
                "the input breaks a rule",
            ),
            status if status.is_server_error() => (
                "internal-error",
                "Internal error",
                "something went wrong on our side",
            ),
            _ => (
                "request-refused",
                "Request refused",
                "the request was refused",
            ),
        };
        Self::new(status, slug, title, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts {
            status,
            slug,
            title,
            detail,
            errors,
            members: own,
            headers: extra,
            cause,
        } = *self.0;
        let mut body = json!({
            "type": format!("/problems/{}", slug),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
        });
        if let Value::Object(members) = &mut body {
            members.extend(own);
            if !errors.is_empty() {
                members.insert("errors".to_owned(), json!(errors));
            }
        }
        let mut response = (status, Json(&body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(extra);
        response.extensions_mut().insert(Body(body));
        if let Some(cause) = cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// A problem's body as a value, so that the outermost layer can add to it without reading it back.
#[derive(Debug, Clone)]
pub struct Body(pub Value);

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
        let slug = text()
            .pattern(Some("^/problems/[a-z-]+$"))
            .description(Some("A stable name of this kind of problem."));
        let status = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        let rules = Violation::schema();
        let rules = ArrayBuilder::new()
            .items(rules)
            .description(Some("The rules that the input breaks."));
        let version = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .description(Some("Of `version-mismatch`: the bot's version now."));
        let scope = text().description(Some("Of `insufficient-scope`: what it takes."));
        let last_event_id = text().description(Some("Of `cursor-ahead`: the run's last event."));
        ObjectBuilder::new()
            .description(Some("An error (RFC 9457)."))
            .property("type", slug)
            .required("type")
            .property("title", text())
            .required("title")
            .property("status", status.minimum(Some(400)).maximum(Some(599)))
            .required("status")
            .property("detail", text())
            .required("detail")
            .property("request_id", text())
            .required("request_id")
            .property("errors", rules)
            .property("version", version)
            .property("last_event_id", last_event_id)
            .property("scope", scope)
            .into()
    }
}

impl ToSchema for Problem {}

/// In the document of the API: `(status = 404, response = Problem)`.
impl<'r> ToResponse<'r> for Problem {
    fn response() -> (&'r str, RefOr<utoipa::openapi::Response>) {
        (
            "Problem",
            utoipa::openapi::Response::new("A problem").into(),
        )
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        let detail = error.to_string();
        match error {
            RunError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "run-not-found",
                "Run not found",
                detail,
            ),
            RunError::AlreadyEnded { .. } => Self::new(
                StatusCode::CONFLICT,
                "run-already-ended",
                "The run is over",
                detail,
            ),
            RunError::NotEnded { .. } => Self::new(
                StatusCode::CONFLICT,
                "run-not-ended",
                "The run is not over",
                detail,
            ),
            RunError::NoSuchBot { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "bot-not-found",
                "Bot not found",
                detail,
            ),
            RunError::Invalid(violations) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "validation-failed",
                "Validation failed",
                detail,
            )
            .with_errors(violations),
            RunError::OverQuota(OverQuota(standing)) => {
                let (slug, title) = match standing.quota {
                    Quota::RunsPerAddress | Quota::RunsPerOwner => {
                        ("rate-limited", "Too many runs")
                    }
                    Quota::LiveRuns => ("too-many-live-runs", "Too many live runs"),
                    Quota::TokensPerDay | Quota::CostPerDay => ("quota-used-up", "Quota used up"),
                };
                Self::new(StatusCode::TOO_MANY_REQUESTS, slug, title, detail)
                    .with_header(header::RETRY_AFTER, retry_after(standing.reset))
                    .with_limits(&[standing])
            }
            RunError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency key reused",
                detail,
            ),
            RunError::VersionMismatch { version } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version-mismatch",
                "The bot was changed",
                detail,
            )
            .with_member("version", json!(version)),
            RunError::CursorAhead { last, .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "cursor-ahead",
                "The cursor is ahead of the run",
                detail,
            )
            .with_member("last_event_id", json!(last.to_string())),
            RunError::Unavailable(cause) => Self::database_unavailable(
                "the database cannot be reached now; the same request may succeed later",
            )
            .caused_by(cause),
            RunError::StopNotRecorded(cause) => {
                let detail = format!("{detail}; ask again to be sure");
                Self::put_off("stop-not-recorded", "Stop not recorded", detail).caused_by(cause)
            }
            RunError::Leaving => Self::put_off("shutting-down", "Shutting down", detail),
            RunError::Internal(cause) => {
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR).caused_by(cause)
            }
        }
    }
}
