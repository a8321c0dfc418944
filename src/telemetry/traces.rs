//! Spans, as OpenTelemetry keeps and sends them: by OTLP over HTTP, in the background.
//!
//! Nothing of it is the process's: each application has a tracer of its own, and no span is ever "the current one".

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{
    Array, Context, Key, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{
        Span as _, SpanContext, SpanKind as OtelKind, Status, TraceContextExt as _, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as Exports},
};

use crate::conversation::{Attribute, Beginning, OpenSpan, SpanKind, TraceContext, Traces};

/// How long a collector may take to take what it is sent.
const EXPORT: Duration = Duration::from_secs(10);

/// How long the end of the process may wait for it.
const FLUSH: Duration = Duration::from_secs(3);

/// How often a collector that takes nothing is told of.
const QUIET: Duration = Duration::from_secs(60);

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// The whole address of the collector for traces.
    pub endpoint: String,
    /// The service's name; `None`: what the resource attributes of the environment say, or else `parley`.
    pub service_name: Option<String>,
    /// Whether what is said may stand in spans.
    pub record_content: bool,
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {reason}")]
pub struct TraceError {
    endpoint: String,
    reason: String,
}

/// Keeps spans and sends them.
#[derive(Debug)]
pub struct Tracer {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    record_content: bool,
}

impl Tracer {
    /// Sends spans there, some at a time. Whatever else the standard names of the environment say (headers, sampler, attributes of
    /// the resource, size and pace of the batches) is read by OpenTelemetry itself.
    ///
    /// # Errors
    /// When the address is none, or an HTTP client cannot be made.
    pub fn new(options: &TraceOptions) -> Result<Self, TraceError> {
        let failed = |reason: String| TraceError {
            endpoint: options.endpoint.clone(),
            reason,
        };
        let client = client(options.endpoint.starts_with("http://")).map_err(failed)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&options.endpoint)
            .with_timeout(EXPORT)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(options.service_name.as_deref()))
            .with_batch_exporter(Watched::new(exporter, &options.endpoint))
            .build();
        Ok(Self {
            tracer: provider.tracer("parley"),
            provider,
            record_content: options.record_content,
        })
    }

    /// Sends what is left, for a few seconds at most, and keeps nothing more. Blocks.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

impl Traces for Tracer {
    fn begin(&self, beginning: Beginning<'_>) -> Box<dyn OpenSpan> {
        let Beginning {
            name: [name, rest],
            kind,
            parent,
            attributes,
        } = beginning;
        let name = match rest {
            "" => name.to_owned(),
            rest => format!("{name} {rest}"),
        };
        let attributes = attributes
            .iter()
            .map(|(name, value)| KeyValue::new(*name, read(*value)));
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(match kind {
                SpanKind::Server => OtelKind::Server,
                SpanKind::Internal => OtelKind::Internal,
                SpanKind::Client => OtelKind::Client,
            })
            .with_attributes(attributes);
        let parent = parent.and_then(place).map_or_else(Context::new, |place| {
            Context::new().with_remote_span_context(place)
        });
        let span = self.tracer.build_with_context(builder, &parent);
        Box::new(Kept {
            context: told(span.span_context()),
            span,
        })
    }

    fn records_content(&self) -> bool {
        self.record_content
    }
}

/// A span, and its place as others are told of it.
#[derive(Debug)]
struct Kept {
    span: Span,
    context: TraceContext,
}

impl OpenSpan for Kept {
    fn context(&self) -> &TraceContext {
        &self.context
    }

    fn note(&mut self, name: &'static str, value: Attribute<'_>) {
        self.span.set_attribute(KeyValue::new(name, read(value)));
    }

    fn fail(&mut self, error_type: &str) {
        self.span
            .set_attribute(KeyValue::new("error.type", error_type.to_owned()));
        self.span.set_status(Status::error(""));
    }
}

/// Who is telling.
fn resource(service_name: Option<&str>) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let told = Resource::builder().with_attribute(version.clone()).build();
    let name = told.get_ref(&Key::from_static_str("service.name"));
    let unknown = name.is_none_or(|name| name.as_str().starts_with("unknown_service"));
    match service_name.or_else(|| unknown.then_some("parley")) {
        Some(name) => Resource::builder()
            .with_attribute(version)
            .with_service_name(name.to_owned())
            .build(),
        None => told,
    }
}

fn read(value: Attribute<'_>) -> Value {
    match value {
        Attribute::Text(text) => text.to_owned().into(),
        Attribute::Number(number) => i64::try_from(number).unwrap_or(i64::MAX).into(),
        Attribute::Seconds(seconds) => seconds.into(),
        Attribute::Words(words) => {
            let words = words
                .iter()
                .map(|word| StringValue::from((*word).to_owned()));
            Value::Array(Array::String(words.collect()))
        }
    }
}

/// The place that the headers name.
fn place(context: &TraceContext) -> Option<SpanContext> {
    let mut parts = context.traceparent().split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let state = context.tracestate().parse::<TraceState>();
    Some(SpanContext::new(
        trace,
        span,
        TraceFlags::new(flags),
        true,
        state.unwrap_or_default(),
    ))
}

/// The headers that name the place.
fn told(place: &SpanContext) -> TraceContext {
    let traceparent = format!(
        "00-{}-{}-0{}",
        place.trace_id(),
        place.span_id(),
        u8::from(place.is_sampled())
    );
    TraceContext::read(&traceparent, &place.trace_state().header()).unwrap_or_default()
}

/// The client that brings spans to the collector: on a thread of its own, so it blocks. Made on another, since it may not be made
/// where others wait.
fn client(plain: bool) -> Result<reqwest::blocking::Client, String> {
    let made = std::thread::spawn(move || {
        // reqwest takes the process's provider. An error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::blocking::Client::builder()
            .user_agent(concat!("parley/", env!("CARGO_PKG_VERSION")))
            .timeout(EXPORT)
            .redirect(reqwest::redirect::Policy::none());
        if plain {
            // Without TLS, a machine without root certificates is no obstacle.
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|error| error.to_string())
    });
    made.join()
        .map_err(|_| "the thread broke down".to_owned())?
}

/// An exporter whose failures are told of, now and then: nobody else hears of them.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    endpoint: String,
    /// When a failure was told of last.
    told: Mutex<Option<Instant>>,
}

impl<E> Watched<E> {
    fn new(exporter: E, endpoint: &str) -> Self {
        Self {
            exporter,
            endpoint: endpoint.to_owned(),
            told: Mutex::default(),
        }
    }

    fn failed(&self, spans: usize, error: &dyn std::fmt::Display) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            let endpoint = self.endpoint.as_str();
            tracing::warn!(endpoint, spans, %error, "the collector of traces does not take them; more of this is not told for a minute");
        }
    }
}

impl<E: Exports> Exports for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        if let Err(error) = &exported {
            self.failed(spans, error);
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
