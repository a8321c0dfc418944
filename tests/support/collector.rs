//! A collector of traces: takes what is sent by OTLP over HTTP, and keeps it.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

/// Dropping it ends it.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    kept: Kept,
    server: JoinHandle<()>,
}

type Kept = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Kept::default();
        let router = Router::new()
            .route("/v1/traces", post(keep))
            .with_state(Arc::clone(&kept));
        Self {
            endpoint,
            kept,
            server: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
        }
    }

    /// All spans so far, in the order of their starts.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept.lock().unwrap();
        let of_resources = kept.iter().flat_map(|export| &export.resource_spans);
        let of_scopes = of_resources.flat_map(|resource| &resource.scope_spans);
        let spans = of_scopes.flat_map(|scope| &scope.spans);
        let mut spans: Vec<Span> = spans.cloned().collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// Everything that was sent, as text to search.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.kept.lock().unwrap())
    }

    /// What the senders call themselves.
    pub(crate) fn services(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let resources = kept.iter().flat_map(|export| &export.resource_spans);
        let attributes = resources.flat_map(|spans| &spans.resource.as_ref().unwrap().attributes);
        let names = attributes.filter(|attribute| attribute.key == "service.name");
        names
            .map(|name| shown(name.value.as_ref().and_then(|value| value.value.as_ref())))
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn keep(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    kept.lock().unwrap().push(export);
    StatusCode::OK
}

/// An attribute of a span as text; empty where there is none.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|found| found.key == name);
    let value = found.and_then(|found| found.value.as_ref()?.value.as_ref());
    shown(value)
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(values)) => {
            let values = values.values.iter();
            let shown = values.map(|value| shown(value.value.as_ref()));
            shown.collect::<Vec<_>>().join(",")
        }
        Some(other) => panic!("{other:?}"),
    }
}
