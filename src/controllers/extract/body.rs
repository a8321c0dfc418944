//! Bodies: JSON, and of one route a form; no longer than the limit, and in good time.
//!
//! What a request says of its body by its headers is judged before a byte of it is read: who is refused for its type or its length need
//! not send it.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use base64::Engine as _;
use http_body_util::BodyExt as _;
use loco_rs::app::AppContext;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::Door;
use crate::{
    conversation::{IdempotencyKey, Object, Violation},
    views::problem::Problem,
};

/// What bounds a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Its most bytes.
    pub bytes: usize,
    /// How long it may stand still.
    pub idle: Duration,
    /// How long it may take as a whole.
    pub whole: Duration,
}

/// Media types that JSON bodies may have.
const JSON: &[&str] = &["application/json"];
const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Of forms.
const FORM: &[&str] = &["application/x-www-form-urlencoded"];

/// The body of a form, as it is.
pub struct FormBody(pub Bytes);

impl FromRequest<AppContext> for FormBody {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let (_, bytes) = whole(request, ctx, FORM).await?;
        Ok(Self(bytes))
    }
}

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
        let (headers, bytes) = whole(request, ctx, JSON).await?;
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
        let (_, bytes) = whole(request, ctx, JSON).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be absent: then its type's default. Without a body, no content type is asked for.
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppContext> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let limits = Door::find(ctx)?.bodies;
        let (parts, body) = request.into_parts();
        // One of unknown length may turn out to be empty.
        let announced = body.size_hint().lower() > 0;
        if announced {
            require_type(&parts.headers, JSON)?;
        }
        let bytes = read(body, limits).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        require_type(&parts.headers, JSON)?;
        parse(&bytes).map(Self)
    }
}

/// A JSON merge patch (RFC 7396) of an object.
pub struct MergePatch(pub serde_json::Map<String, serde_json::Value>);

impl FromRequest<AppContext> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, Problem> {
        let (_, bytes) = whole(request, ctx, MERGE_PATCH).await?;
        parse(&bytes).map(Self)
    }
}

/// A body of one of those types, read to its end.
async fn whole(
    request: Request,
    ctx: &AppContext,
    types: &[&str],
) -> Result<(HeaderMap, Bytes), Problem> {
    let limits = Door::find(ctx)?.bodies;
    let (parts, body) = request.into_parts();
    require_type(&parts.headers, types)?;
    Ok((parts.headers, read(body, limits).await?))
}

/// Reads a body within its limits. What is left of one that breaks them, the server throws away.
async fn read(mut body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    // What `Content-Length` says.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large(limits.bytes));
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = tokio::time::timeout(limits.idle, body.frame())
            .await
            .map_err(|_| too_slow("stood still", limits.idle))?
        {
            let frame = frame.map_err(|_| broken_off())?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if bytes.len() > limits.bytes {
                return Err(too_large(limits.bytes));
            }
        }
        Ok(bytes.into())
    };
    let read = tokio::time::timeout(limits.whole, reading).await;
    read.unwrap_or_else(|_| Err(too_slow("was not there", limits.whole)))
}

fn broken_off() -> Problem {
    let detail = "the body broke off before its end";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "incomplete-body",
        "Incomplete body",
        detail,
    )
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is over the limit of {limit} bytes");
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "Body too large",
        detail,
    )
}

/// On such a connection nothing more is waited for. HTTP/2 ends the request alone.
fn too_slow(what: &str, patience: Duration) -> Problem {
    let detail = format!("the body {what} for {} ms", patience.as_millis());
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request-timeout",
        "Request timeout",
        detail,
    )
    .with_header(header::CONNECTION, HeaderValue::from_static("close"))
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::IntoResponse as _;
    use futures_util::stream;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        bytes: 100,
        idle: Duration::from_secs(10),
        whole: Duration::from_secs(60),
    };

    /// A body of so many bytes, each of which comes after so long, and which never ends.
    fn trickle(bytes: usize, every: Duration) -> Body {
        Body::from_stream(stream::unfold(bytes, move |left| async move {
            match left {
                0 => std::future::pending().await,
                left => {
                    tokio::time::sleep(every).await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), left - 1))
                }
            }
        }))
    }

    async fn refused(body: Body) -> (StatusCode, Duration) {
        let started = tokio::time::Instant::now();
        let problem = read(body, LIMITS).await.unwrap_err();
        (problem.into_response().status(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_its_time_between_bytes_and_as_a_whole() {
        let (slow, quick) = (Duration::from_secs(9), Duration::from_secs(1));
        let timeout = StatusCode::REQUEST_TIMEOUT;
        assert_eq!(
            refused(trickle(0, quick)).await,
            (timeout, Duration::from_secs(10))
        );
        assert_eq!(
            refused(trickle(3, slow)).await,
            (timeout, Duration::from_secs(37))
        );
        assert_eq!(
            refused(trickle(99, quick)).await,
            (timeout, Duration::from_secs(60))
        );
        // Too long comes first where it is seen first.
        let large = StatusCode::PAYLOAD_TOO_LARGE;
        let millisecond = Duration::from_millis(1);
        assert_eq!(refused(trickle(101, millisecond)).await.0, large);
    }
}
