//! Every error answer as problem+json with the request's id, and one log line a request.

use std::time::Instant;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{
    Result,
    app::AppContext,
    controller::middleware::{MiddlewareLayer, request_id::LocoRequestId},
};
use serde_json::Value;
use tracing::Instrument as _;

use super::auth;
use crate::{
    conversation::{Attribute, Beginning, Span, SpanKind, TraceContext, Tracing},
    views::problem::{self, Cause, Problem},
};

pub(super) struct ProblemLayer {
    tracing: Tracing,
}

impl ProblemLayer {
    pub(super) fn new(tracing: Tracing) -> Self {
        Self { tracing }
    }
}

impl MiddlewareLayer for ProblemLayer {
    fn name(&self) -> &'static str {
        "problem"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": true}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(self.tracing.clone(), tell)))
    }
}

async fn tell(State(tracing): State<Tracing>, mut request: Request, next: Next) -> Response {
    let id = request
        .extensions()
        .get::<LocoRequestId>()
        .map(|id| id.get().to_owned())
        .unwrap_or_default();
    // The path alone: a query may hold a ticket.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Those who ask all the time are of no interest.
    let quiet = auth::OPEN.contains(&path.as_str()) || path == auth::METRICS;
    let mut way = if quiet {
        Span::default()
    } else {
        begin(&tracing, &request)
    };
    let context = way.context().cloned();
    // Of the level that no filter takes away: whatever is said in it has the request's id.
    let span = tracing::error_span!(
        "request",
        %method,
        path,
        request_id = id,
        run_id = tracing::field::Empty,
        trace_id = context.as_ref().map(TraceContext::trace_id)
    );
    if let Some(context) = context {
        request.extensions_mut().insert(context);
    }
    let started = Instant::now();
    async {
        let response = next.run(request).await;
        log(&response, started, quiet);
        end(&mut way, response.status());
        if response.status().is_client_error() || response.status().is_server_error() {
            return with_id(response, &id);
        }
        response
    }
    .instrument(span)
    .await
}

/// The request's span, by OpenTelemetry's conventions for HTTP (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>): it names
/// the route, and neither ids nor what stands in a query.
fn begin(tracing: &Tracing, request: &Request) -> Span {
    let lines = |name: &str| {
        let lines = request.headers().get_all(name).iter();
        let lines: Option<Vec<&str>> = lines.map(|value| value.to_str().ok()).collect();
        lines.unwrap_or_default()
    };
    // A place can be one only; the list of what others say may come in several lines.
    let parent = match lines("traceparent")[..] {
        [traceparent] => TraceContext::read(traceparent, &lines("tracestate").join(",")),
        _ => None,
    };
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "_OTHER",
    };
    let attributes = [
        ("http.request.method", Attribute::Text(method)),
        ("url.scheme", Attribute::Text("http")),
        ("http.route", Attribute::Text(route)),
    ];
    let known = if route.is_empty() { 2 } else { 3 };
    tracing.begin(Beginning {
        name: [if method == "_OTHER" { "HTTP" } else { method }, route],
        kind: SpanKind::Server,
        parent: parent.as_ref(),
        attributes: attributes.get(..known).unwrap_or(&attributes),
    })
}

/// The head of the answer is there. A stream goes on, but the request has been answered.
fn end(way: &mut Span, status: StatusCode) {
    let code = status.as_u16();
    way.note("http.response.status_code", Attribute::Number(code.into()));
    if status.is_server_error() {
        way.fail(status.as_str());
    }
    *way = Span::default();
}

fn log(response: &Response, started: Instant, quiet: bool) {
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some(Cause(cause)) = response.extensions().get::<Cause>() {
        let cause = problem::with_causes(cause);
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            // It passes by itself, and the client was told to come back.
            tracing::warn!(status, duration_ms, cause, "request put off");
        } else {
            tracing::error!(status, duration_ms, cause, "request failed");
        }
    } else if quiet {
        tracing::debug!(status, duration_ms, "request answered");
    } else {
        tracing::info!(status, duration_ms, "request answered");
    }
}

/// The answer as a problem that names its request.
fn with_id(response: Response, id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let (mut value, body) = match parts.extensions.remove::<problem::Body>() {
        Some(problem::Body(value)) => (value, body),
        // The framework's own answer: only its status and its `Allow` say more than the status alone.
        None => {
            let bare = Problem::of_status(parts.status).into_response();
            let (bare_parts, bare_body) = bare.into_parts();
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.extend(bare_parts.headers);
            let value = bare_parts
                .extensions
                .get::<problem::Body>()
                .map(|body| body.0.clone())
                .unwrap_or_default();
            (value, bare_body)
        }
    };
    let Value::Object(members) = &mut value else {
        return Response::from_parts(parts, body);
    };
    members.insert("request_id".to_owned(), Value::from(id));
    let text = value.to_string();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(parts, Body::from(text))
}
