//! What a provider's refusal means, in our words.
//!
//! `OpenAI` and Anthropic send `{"error": {"type", "message", "code"?}}` (Anthropic with an outer `"type": "error"`); compatible
//! servers send the same, a bare string, or the inner object alone, whose message may be a list of what is wrong (Mistral, and all that
//! answer `{"detail": [{"loc", "msg"}]}`). Gemini has `{"error": {"code", "message", "status", "details"}}`,
//! sometimes as the one element of an array.

use std::{
    borrow::Cow,
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;

use super::secret::Secret;
use crate::conversation::{AttemptFailure, Charge, FailureCode};

/// How much of an error's body is read, in bytes: more is no message.
const MAX_BODY: usize = 64 * 1024;
/// How much of a provider's message is passed on, in characters.
const MAX_MESSAGE: usize = 500;
/// How long the body of an error may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A provider's error object, however it is wrapped. Every field may be missing.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct ErrorObject {
    #[serde(default)]
    pub(super) r#type: Option<Value>,
    #[serde(default)]
    pub(super) code: Option<Value>,
    #[serde(default)]
    pub(super) message: Option<Value>,
    /// Gemini's word for the kind of error.
    #[serde(default)]
    pub(super) status: Option<Value>,
    /// What Gemini says besides: reasons, and when to come back.
    #[serde(default)]
    pub(super) details: Option<Value>,
    /// Stands for the message where a server checks fields by their types.
    #[serde(default)]
    pub(super) detail: Option<Value>,
}

impl ErrorObject {
    /// The object in a body or frame: under `error`, or the body itself; a bare string is a message.
    pub(super) fn find(body: &Value) -> Option<Self> {
        match body.get("error").unwrap_or(body) {
            Value::String(message) => Some(Self {
                message: Some(Value::from(message.as_str())),
                ..Self::default()
            }),
            object @ Value::Object(_) => serde_json::from_value(object.clone()).ok(),
            Value::Array(all) => all.first().and_then(Self::find),
            _ => None,
        }
    }

    /// What is more exact comes first.
    fn words(&self) -> impl Iterator<Item = &str> {
        let reasons = self.details().filter_map(|detail| detail.get("reason"));
        let words = [&self.code, &self.r#type, &self.status];
        reasons
            .chain(words.into_iter().flatten())
            .filter_map(Value::as_str)
    }

    fn details(&self) -> impl Iterator<Item = &Value> {
        let details = self.details.as_ref().and_then(Value::as_array);
        details.into_iter().flatten()
    }

    /// Gemini's `retryDelay`, such as `37.5s`.
    fn retry_delay(&self) -> Option<Duration> {
        let delay = self.details().find_map(|detail| detail.get("retryDelay"))?;
        let seconds = delay.as_str()?.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The message; where it is no text, its JSON, which names the field that is wrong. What of the request it repeats is left out.
    fn text(&self) -> Cow<'_, str> {
        let said = |value: &&Value| !matches!(value, Value::Null | Value::Bool(_));
        match self.message.as_ref().filter(said).or(self.detail.as_ref()) {
            Some(Value::String(text)) => {
                let mut told = serde_json::from_str(text).unwrap_or(Value::Null);
                match without_echo(&mut told) {
                    true => Cow::Owned(told.to_string()),
                    false => Cow::Borrowed(text),
                }
            }
            None | Some(Value::Null) => Cow::Borrowed(""),
            Some(value) => {
                let mut told = value.clone();
                without_echo(&mut told);
                Cow::Owned(told.to_string())
            }
        }
    }

    /// A code that is a number is an HTTP status (`OpenRouter`, vLLM).
    fn status(&self) -> Option<StatusCode> {
        let number = self.code.as_ref()?.as_u64()?;
        StatusCode::from_u16(u16::try_from(number).ok()?).ok()
    }

    /// The failure that the object tells of.
    pub(super) fn failure(&self, status: Option<StatusCode>) -> AttemptFailure {
        let code = self.code(status.or_else(|| self.status()));
        let text = self.text();
        let message = match (text.is_empty(), status) {
            (false, _) => text.into_owned(),
            (true, Some(status)) => format!("the provider answered with status {status}"),
            (true, None) => "the provider reported an error without a message".to_owned(),
        };
        let mut failure = AttemptFailure::new(code, message);
        failure.retry_after = self.retry_delay();
        // A 429 that no waiting mends.
        failure.retryable &= !self
            .words()
            .any(|word| matches!(word, "insufficient_quota" | "credit_balance_exhausted"));
        failure
    }

    fn code(&self, status: Option<StatusCode>) -> FailureCode {
        if self.is_about_length() {
            return FailureCode::ContextExceeded;
        }
        let known = self.words().find_map(|word| match word {
            "authentication_error" | "invalid_api_key" | "UNAUTHENTICATED" | "API_KEY_INVALID" => {
                Some(FailureCode::Auth)
            }
            // Gemini's precondition is a billing account, where there is no free use.
            "permission_error"
            | "billing_error"
            | "insufficient_quota"
            | "credit_balance_exhausted"
            | "PERMISSION_DENIED"
            | "FAILED_PRECONDITION" => Some(FailureCode::Permission),
            "not_found_error" | "model_not_found" | "NOT_FOUND" => Some(FailureCode::NotFound),
            "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => {
                Some(FailureCode::RateLimited)
            }
            "overloaded_error" | "overloaded" | "UNAVAILABLE" => Some(FailureCode::Overloaded),
            "timeout_error" | "DEADLINE_EXCEEDED" => Some(FailureCode::Timeout),
            "INVALID_ARGUMENT" => Some(FailureCode::InvalidRequest),
            "api_error" | "server_error" | "provider_unavailable" => Some(FailureCode::Server),
            _ => None,
        });
        known.or_else(|| status.map(of_status)).unwrap_or_else(|| {
            // A policy says the same of the same prompt each time.
            let refused = |word: &str| word.starts_with("invalid_") || word.contains("_policy");
            if self.words().any(refused) {
                FailureCode::InvalidRequest
            } else {
                FailureCode::Server
            }
        })
    }

    fn is_about_length(&self) -> bool {
        let coded = self.words().any(|word| {
            matches!(
                word,
                "context_length_exceeded" | "exceed_context_size_error"
            )
        });
        let text = self.text().to_ascii_lowercase();
        coded
            || text.contains("prompt is too long")
            || text.contains("maximum context length")
            // Anthropic, where prompt and `max_tokens` together do not fit.
            || text.contains("exceed context limit")
            || text.contains("exceeds the maximum number of tokens allowed")
            // llama.cpp before it had a word for it.
            || text.contains("exceeds the available context size")
    }
}

/// Takes out of what is wrong (`[{"loc", "msg", "input"}]`) what was sent: true if there was any.
fn without_echo(told: &mut Value) -> bool {
    match told {
        Value::Object(members) => {
            let before = members.len();
            members.retain(|name, _| !matches!(name.as_str(), "input" | "ctx" | "value"));
            let mut found = members.len() < before;
            for member in members.values_mut() {
                found |= without_echo(member);
            }
            found
        }
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |found, item| without_echo(item) | found),
        _ => false,
    }
}

fn of_status(status: StatusCode) -> FailureCode {
    match status.as_u16() {
        401 => FailureCode::Auth,
        402 | 403 => FailureCode::Permission,
        404 => FailureCode::NotFound,
        408 | 504 => FailureCode::Timeout,
        429 => FailureCode::RateLimited,
        503 | 529 => FailureCode::Overloaded,
        // 409 and 425 are worth another try, as the providers' own clients hold it.
        409 | 425 | 500.. => FailureCode::Server,
        _ => FailureCode::InvalidRequest,
    }
}

/// The request did not get there, or nothing came back.
pub(super) fn unreachable(error: &reqwest::Error) -> AttemptFailure {
    if error.is_builder() {
        return AttemptFailure::new(
            FailureCode::InvalidRequest,
            "the provider's base URL is not one",
        );
    }
    if error.is_connect() {
        let reason = no_connection(error);
        let message = format!("the provider cannot be reached: {reason}");
        let mut failure = AttemptFailure::new(FailureCode::Timeout, message);
        failure.charge = Charge::Nothing;
        return failure;
    }
    if error.is_timeout() {
        let message = "the connection to the provider took too long";
        return AttemptFailure::new(FailureCode::Timeout, message);
    }
    match causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        Some(error) if error.is_parse_too_large() => AttemptFailure::new(
            FailureCode::Malformed,
            "the head of the provider's answer is too large",
        ),
        Some(error) if error.is_parse() => {
            AttemptFailure::new(FailureCode::Malformed, "the provider's answer is not HTTP")
        }
        _ => AttemptFailure::new(
            FailureCode::Truncated,
            "the provider closed the connection before it answered",
        ),
    }
}

/// Why there is no connection, as far as that helps somebody to mend it.
fn no_connection(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "connecting took too long".to_owned();
    }
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(reason) => {
                    format!("its certificate is not trusted ({reason:?})")
                }
                _ => "it does not speak TLS as it should".to_owned(),
            };
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return "it refuses the connection".to_owned();
        }
        // The connector's error has a text and no kind.
        if cause.to_string().starts_with("dns error") {
            return "its name has no address".to_owned();
        }
    }
    "the connection broke off".to_owned()
}

/// An error and what caused it, one by one. An I/O error hides the one that it was made of from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The answer is packed in a way that was not asked for. It stays so: nobody knows how large it would become.
pub(super) fn packed(coding: &str) -> AttemptFailure {
    let message =
        format!("the provider sends its answer packed ({coding}), which it was not asked for");
    AttemptFailure::new(FailureCode::Malformed, message)
}

/// The provider answered with an error status.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> AttemptFailure {
    let object = serde_json::from_slice(body)
        .ok()
        .as_ref()
        .and_then(ErrorObject::find)
        .unwrap_or_default();
    let mut failure = object.failure(Some(status));
    if status.is_client_error() {
        failure.charge = Charge::Nothing;
    }
    if status.is_redirection() {
        failure.failure.message = format!(
            "the provider's address answers with a redirect ({status}); set base_url to where it leads"
        );
    }
    failure.retry_after = retry_after(headers).or(failure.retry_after);
    match headers
        .get("x-should-retry")
        .map(reqwest::header::HeaderValue::as_bytes)
    {
        Some(b"true") => failure.retryable = true,
        Some(b"false") => failure.retryable = false,
        _ => {}
    }
    failure
}

/// The provider answered 200 with something that is no stream.
pub(super) fn no_stream(content_type: &str, body: &[u8]) -> AttemptFailure {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let object = value
        .filter(|value| value.get("error").is_some())
        .as_ref()
        .and_then(ErrorObject::find);
    object
        .map(|object| object.failure(None))
        .unwrap_or_else(|| {
            let message = format!("the provider answered with {content_type} instead of a stream");
            AttemptFailure::new(FailureCode::Malformed, message)
        })
}

/// The body of an error, as far as it is worth reading.
pub(super) async fn read_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                return;
            }
        }
    };
    // What did not come in time is left: the status says enough.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    body
}

/// The failure as it may be told: whatever the provider repeats of the key it was sent is taken out, before the message is cut and
/// after it, so that no half of it is left.
pub(super) fn told(mut failure: AttemptFailure, secret: Option<&Secret>) -> AttemptFailure {
    let message = &mut failure.failure.message;
    *message = match secret {
        Some(secret) => shortened(&secret.parts_hidden(&shortened(&secret.hidden(message)))),
        None => shortened(message),
    };
    failure
}

/// The message on one line, without control characters, cut to a bearable length.
pub(super) fn shortened(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(MAX_MESSAGE).collect();
    if clean.count() > MAX_MESSAGE {
        short.push('…');
    }
    short
}

/// `retry-after-ms`, or `Retry-After` as seconds (also fractions) or as an HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let seconds = |number: f64| Duration::try_from_secs_f64(number).ok();
    if let Some(millis) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return seconds(millis / 1000.0);
    }
    let after = text("retry-after")?;
    match after.parse::<f64>() {
        Ok(number) => seconds(number),
        Err(_) => {
            let date = httpdate::parse_http_date(after).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests;
