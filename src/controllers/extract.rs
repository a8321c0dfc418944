//! What handlers are given: the door, checked paths, checked bodies. Every rejection is a problem.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::Engine as _;
use http_body_util::BodyExt as _;
use loco_rs::{app::AppContext, controller::middleware::request_id::LocoRequestId};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::{
    conversation::{Asker, IdempotencyKey, Object, RunId, TraceContext, Violation},
    identity::{Caller, ClientAddress, ClientKey, Login, Places, Scope, Tickets},
    orchestrator::Runs,
    views::{problem::Problem, protected_resource::ProtectedResource, stream::StreamSettings},
};

/// What the handlers stand on. The composition root puts it into the application's store: this is the one place that looks.
#[derive(Clone)]
pub struct Door {
    /// The door to all runs.
    pub runs: Runs,
    /// What goes for open streams.
    pub stream: StreamSettings,
    /// Cancelled when the process is to end: open streams end then.
    pub shutdown: tokio_util::sync::CancellationToken,
    /// The most bytes of a body.
    pub body_limit: usize,
    /// What clients are told that need a token; `None` where none are taken.
    pub protected_resource: Option<Arc<ProtectedResource>>,
    /// Makes tickets; `None` where no login is asked for.
    pub tickets: Option<Arc<Tickets>>,
    /// Who may open a stream.
    pub places: Places,
    /// Writes the metrics as they are now.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Door {
    fn find(ctx: &AppContext) -> Result<Self, Problem> {
        ctx.shared_store
            .get::<Self>()
            .ok_or_else(|| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

impl FromRequestParts<AppContext> for Door {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        Self::find(ctx)
    }
}

/// Somebody who may look at runs, and the door to them.
pub struct Reader {
    /// The door.
    pub door: Door,
    /// Who is asking.
    pub caller: Caller,
    /// Where from, as limits count.
    pub client: ClientKey,
    /// Who it is if something is done.
    pub asker: Asker,
}

/// Somebody who may start and change runs, and the door to them.
pub struct Writer {
    /// The door.
    pub door: Door,
    /// Who is asking.
    pub caller: Caller,
    /// Who it is if something is done.
    pub asker: Asker,
}

/// Somebody who may do all, and the door to it.
pub struct Admin {
    /// The door.
    pub door: Door,
}

impl FromRequestParts<AppContext> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        let (caller, address) = allowed(parts, Scope::Read)?;
        let door = Door::find(ctx)?;
        Ok(Self {
            door,
            asker: asker(parts, &caller, address),
            caller,
            client: address.into(),
        })
    }
}

impl FromRequestParts<AppContext> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        let (caller, address) = allowed(parts, Scope::Write)?;
        let door = Door::find(ctx)?;
        Ok(Self {
            door,
            asker: asker(parts, &caller, address),
            caller,
        })
    }
}

impl FromRequestParts<AppContext> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        allowed(parts, Scope::Admin)?;
        let door = Door::find(ctx)?;
        Ok(Self { door })
    }
}

/// Who is asking, and where from, if it may do that.
fn allowed(parts: &Parts, scope: Scope) -> Result<(Caller, IpAddr), Problem> {
    // The login layer leaves nobody out: without a caller, nothing is allowed.
    let caller = parts.extensions.get::<Caller>();
    let both = caller.zip(parts.extensions.get::<ClientAddress>());
    let (caller, ClientAddress(address)) =
        both.ok_or_else(|| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    if caller.scopes.allow(scope) {
        Ok((caller.clone(), *address))
    } else {
        Err(Problem::insufficient_scope(scope.as_str()))
    }
}

/// That caller as somebody who does something.
fn asker(parts: &Parts, caller: &Caller, address: IpAddr) -> Asker {
    let request_id = parts.extensions.get::<LocoRequestId>();
    Asker {
        owner: caller.owner.clone(),
        login: parts.extensions.get::<Login>().map(|login| login.as_str()),
        client: ClientKey::from(address).to_string(),
        address: Some(address),
        request_id: request_id.map_or_else(String::new, |id| id.get().to_owned()),
    }
}

/// From where the request goes on in a trace, where traces are kept.
pub struct Traced(pub Option<TraceContext>);

impl<S: Sync> FromRequestParts<S> for Traced {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<TraceContext>().cloned()))
    }
}

/// The run in the path.
pub struct RunPath(pub RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| undecodable())?;
        Ok(Self(run_id(&id)?))
    }
}

/// The run and the bot in the path.
pub struct BotPath(pub RunId, pub u32);

impl<S: Send + Sync> FromRequestParts<S> for BotPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, index)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| undecodable())?;
        let bad_index = || {
            let detail = "a bot is named by its place in the run's list: 0, 1, 2 …";
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-bot-index",
                "Invalid bot index",
                detail,
            )
        };
        let digits = !index.is_empty()
            && index.len() <= 9
            && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = if digits {
            index.parse().map_err(|_| bad_index())?
        } else {
            return Err(bad_index());
        };
        Ok(Self(run_id(&id)?, index))
    }
}

/// Reads a run's id.
///
/// # Errors
/// A 400 that says how one looks.
pub fn run_id(text: &str) -> Result<RunId, Problem> {
    let invalid = |error: crate::conversation::InvalidRunId| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-run-id",
            "Invalid run id",
            error.to_string(),
        )
    };
    let id = text.parse().map_err(invalid)?;
    // Whatever is said of this request is said of the run, too.
    tracing::Span::current().record("run_id", tracing::field::display(id));
    Ok(id)
}

/// The answer to a path that is no text.
#[must_use]
pub fn undecodable() -> Problem {
    let detail = "the path is not UTF-8 after percent-decoding";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-path",
        "Invalid path",
        detail,
    )
}

/// The answer to a query that breaks rules.
#[must_use]
pub fn invalid_query(mistakes: Vec<Violation>) -> Problem {
    let detail = format!("the query has {} mistake(s)", mistakes.len());
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-query",
        "Invalid query",
        detail,
    )
    .with_errors(mistakes)
}

/// Media types that JSON bodies may have.
const JSON: &[&str] = &["application/json"];
const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// The JSON body of a request that makes something, checked for form (its rules are the domain's), and the key under which it does so once, if it has one.
pub struct KeyedJsonBody<T> {
    /// The body.
    pub body: T,
    /// `Idempotency-Key`.
    pub key: Option<IdempotencyKey>,
}

impl<T: DeserializeOwned> FromRequest<AppContext> for KeyedJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let route = format!("{} {}", request.method(), request.uri().path());
        let (headers, bytes) = whole(request, ctx).await?;
        require_type(&headers, JSON)?;
        let body = parse(&bytes)?;
        let invalid = |detail: String| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-idempotency-key",
                "Invalid Idempotency-Key",
                detail,
            )
        };
        let mut sent = headers.get_all("idempotency-key").iter();
        let key = match (sent.next(), sent.next()) {
            (None, _) => None,
            (Some(_), Some(_)) => return Err(invalid("there is more than one".to_owned())),
            (Some(key), None) => Some(
                IdempotencyKey::read(route, key.as_bytes(), hash(&bytes)?)
                    .map_err(|error| invalid(error.to_string()))?,
            ),
        };
        Ok(Self { body, key })
    }
}

/// What tells a JSON body from others: neither blanks nor the order of members count.
fn hash(bytes: &[u8]) -> Result<String, Problem> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| not_json(error.to_string()))?;
    Ok(base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(value.to_string())))
}

/// The JSON body of a request, checked for form (its rules are the domain's).
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppContext> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let (headers, bytes) = whole(request, ctx).await?;
        require_type(&headers, JSON)?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be absent: then its type's default. Without a body, no content type is asked for.
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppContext> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let (headers, bytes) = whole(request, ctx).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        require_type(&headers, JSON)?;
        parse(&bytes).map(Self)
    }
}

/// A JSON merge patch (RFC 7396) of an object.
pub struct MergePatch(pub serde_json::Map<String, serde_json::Value>);

impl FromRequest<AppContext> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let (headers, bytes) = whole(request, ctx).await?;
        require_type(&headers, MERGE_PATCH)?;
        parse(&bytes).map(Self)
    }
}

async fn whole(request: Request, ctx: &AppContext) -> Result<(HeaderMap, Bytes), Problem> {
    let limit = Door::find(ctx)?.body_limit;
    let (parts, body) = request.into_parts();
    Ok((parts.headers, read(body, limit).await?))
}

/// Reads a body up to the limit. What is left of one that is over it, the server throws away.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            let detail = "the body broke off before its end";
            Problem::new(
                StatusCode::BAD_REQUEST,
                "incomplete-body",
                "Incomplete body",
                detail,
            )
        })?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > limit {
            let detail = format!("the body is over the limit of {limit} bytes");
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Body too large",
                detail,
            ));
        }
    }
    Ok(bytes.into())
}

/// Only JSON: a form's types pass without a preflight, and nothing else is understood.
fn require_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("nothing");
    let essence = given.split(';').next().unwrap_or_default().trim();
    if allowed
        .iter()
        .any(|kind| essence.eq_ignore_ascii_case(kind))
    {
        return Ok(());
    }
    let detail = format!("the body must be {}, not {given}", allowed.join(" or "));
    let slug = "unsupported-media-type";
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        slug,
        "Unsupported media type",
        detail,
    ))
}

fn not_json(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "not-json", "Not JSON", detail)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| not_json(format!("the body is not UTF-8: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed: Result<Object<T>, _> = serde_path_to_error::deserialize(&mut deserializer);
    match parsed {
        Ok(Object(value)) => {
            deserializer
                .end()
                .map_err(|error| not_json(format!("something follows the JSON value: {error}")))?;
            Ok(value)
        }
        // A value of the wrong shape may stand in a text that is no JSON at all: that comes first.
        Err(error) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Err(broken) => Err(not_json(format!("the body is no JSON: {broken}"))),
            Ok(_) => {
                let detail = "the body breaks a rule";
                let slug = "validation-failed";
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    slug,
                    "Validation failed",
                    detail,
                )
                .with_errors(vec![Violation::from_serde(&error)]))
            }
        },
    }
}
