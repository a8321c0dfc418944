//! Spans, as OpenTelemetry keeps and sends them: by OTLP over HTTP, in the background.
//!
//! Nothing of it is the process's: each application has a tracer of its own, and no span is ever "the current one".

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanExporter as Exports, SpanProcessor,
    },
};

use crate::conversation::{Attribute, Beginning, OpenSpan, SpanKind, TraceContext, Traces};

/// How long a collector may take to take what it is sent.
const EXPORT: Duration = Duration::from_secs(10);

/// How long the end of the process may wait for it.
const FLUSH: Duration = Duration::from_secs(3);

/// How many spans with all that is said go out at once, at most: collectors refuse what is too large.
const LARGE_BATCH: usize = 64;

/// How often a collector that takes nothing, or too little, is told of.
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
    /// How many spans may wait; what is more is lost.
    pub queue: usize,
    /// How many go out at once, at most.
    pub batch: usize,
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
        let batch = match options.record_content {
            true => options.batch.min(LARGE_BATCH),
            false => options.batch,
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue)
            .with_max_export_batch_size(batch)
            .build();
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = Watched::new(exporter, &options.endpoint, Arc::clone(&waiting));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(options.service_name.as_deref()))
            .with_span_processor(Bounded {
                batches: BatchSpanProcessor::builder(exporter)
                    .with_batch_config(config)
                    .build(),
                waiting,
                most: options.queue,
                lost: Seldom::default(),
            })
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

    /// Lets the last spans be lost: nobody waits for them any more, not even when all else is dropped.
    pub fn forget(&self) {
        std::mem::forget(self.provider.clone());
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
    /// How many spans wait to be taken.
    waiting: Arc<AtomicUsize>,
    told: Seldom,
}

/// Says now and then that something goes wrong all the time.
#[derive(Debug, Default)]
struct Seldom {
    /// When it was said last, and how often it came since. Held for a look only.
    last: Mutex<(Option<Instant>, usize)>,
}

impl Seldom {
    /// How often it came, this time included, if that is to be said.
    fn is_due(&self) -> Option<usize> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.1 += 1;
        if last.0.is_some_and(|at| at.elapsed() < QUIET) {
            return None;
        }
        last.0 = Some(Instant::now());
        Some(std::mem::take(&mut last.1))
    }
}

impl<E> Watched<E> {
    fn new(exporter: E, endpoint: &str, waiting: Arc<AtomicUsize>) -> Self {
        Self {
            exporter,
            endpoint: endpoint.to_owned(),
            waiting,
            told: Seldom::default(),
        }
    }

    fn failed(&self, spans: usize, error: &dyn std::fmt::Display) {
        if self.told.is_due().is_some() {
            let endpoint = self.endpoint.as_str();
            tracing::warn!(endpoint, spans, %error, "the collector of traces does not take them; more of this is not told for a minute");
        }
    }
}

impl<E: Exports> Exports for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
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

/// The spans that wait. Those that there is no place for are told of: the library drops them in silence.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    most: usize,
    lost: Seldom,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            return self.batches.on_end(span);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(spans) = self.lost.is_due() {
            tracing::warn!(
                spans,
                "spans are lost: the collector of traces takes them too slowly; more of this is not told for a minute"
            );
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}
