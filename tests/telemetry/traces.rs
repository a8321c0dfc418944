//! A run's way, as a collector of traces gets it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::Span;
use parley::{
    conversation::{Beginning, SpanKind, Traces as _},
    simulator::{Script, Simulator},
    telemetry::{TraceOptions, Tracer, log::JsonLines},
};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    crashes::node::Node,
    support::{Collector, TestApp, attribute, client, talk, within},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What others say of the trace, as it is handed along.
const STATE: &str = "other=1,more=2,last=3";

/// How long the end of a process may take with a collector that does not help: 3 s of waiting for it, and some for a busy machine.
const END: Duration = Duration::from_secs(15);

/// What the caller says of where it is.
fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The program in a process of its own, which sends its traces there: what OpenTelemetry reads of the environment is empty in it,
/// whatever stands in ours.
struct Traced {
    node: Node,
    simulator: Simulator,
    _folder: tempfile::TempDir,
}

impl Traced {
    async fn start(endpoint: &str, script: Script, tracing: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = ([127, 0, 0, 1], 0).into();
        let simulator = Simulator::start(address, script).await.unwrap();
        let told = format!("endpoint: \"{endpoint}\"{tracing}");
        Self {
            node: node(folder.path(), &simulator, &told).await,
            simulator,
            _folder: folder,
        }
    }

    /// Starts that run as somebody who is traced.
    async fn begin(&self, order: &Value, flags: &str) -> String {
        let request = client()
            .post(format!("{}/api/run", self.node.base))
            .header("content-type", "application/json")
            .header("traceparent", traceparent(flags))
            .header("tracestate", "other=1,more=2")
            .header("tracestate", "last=3")
            .body(order.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["run_id"].as_str().unwrap().to_owned()
    }

    /// The run's events, to its end.
    async fn events(&self, id: &str) -> String {
        let stream = client().get(format!("{}/api/stream/{id}", self.node.base));
        let text = stream.send().await.unwrap().text();
        within("the run to end", text).await.unwrap()
    }

    /// A talk of two, from its start to its end.
    async fn talk(&self, flags: &str) -> String {
        let mut order = talk(2);
        order["topic"] = "Is quince better than damson?".into();
        order["bots"][1]["system_prompt"] = "You are a greengage.".into();
        let id = self.begin(&order, flags).await;
        let events = self.events(&id).await;
        assert!(events.contains("event: run.completed"), "{events}");
        id
    }

    async fn get(&self, path: &str) {
        let request = client().get(format!("{}{path}", self.node.base));
        request.send().await.unwrap();
    }

    /// Ends the program: all spans are sent then.
    async fn end(mut self) {
        self.node.signal("TERM");
        assert!(self.node.ended().await.success(), "{}", self.node.log());
        self.simulator.stop().await;
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// What spans of attempts say: one that failed, the next one of the same turn, and one of the other bot's.
const KNOWN_OF_ATTEMPTS: [(usize, &str, &str); 11] = [
    (0, "error.type", "server"),
    (0, "gen_ai.response.finish_reasons", ""),
    (1, "error.type", ""),
    (1, "gen_ai.operation.name", "chat"),
    (1, "gen_ai.provider.name", "openai"),
    (1, "gen_ai.request.model", "model-a"),
    (1, "gen_ai.response.finish_reasons", "end_turn"),
    (1, "gen_ai.usage.input_tokens", "100"),
    (1, "gen_ai.usage.output_tokens", "7"),
    (1, "parley.attempt", "2"),
    (2, "gen_ai.provider.name", "anthropic"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_the_caller_to_the_providers() {
    let collector = Collector::start().await;
    let script = Script::text("The answer is marmalade.").usage(100, 7);
    let traced = Traced::start(&collector.endpoint, script, "").await;
    let simulator = &traced.simulator;
    simulator.enqueue_for("model-a", Script::status(500));
    let id = traced.talk("01").await;
    let requests = simulator.requests();
    for quiet in ["/_ping", "/metrics"] {
        traced.get(quiet).await;
    }
    traced.end().await;

    let spans = collector.spans();
    assert_eq!(collector.services(), ["parley"]);
    let ours = spans.iter().filter(|span| hex(&span.trace_id) == TRACE);
    let ours: Vec<Span> = ours.cloned().collect();
    // Server is 2, internal 1, client 3.
    let shape = |name: &str, kind: i32, count: usize| {
        let found = named(&ours, name);
        assert_eq!(found.len(), count, "{name}: {spans:#?}");
        assert!(found.iter().all(|span| span.kind == kind), "{name}");
        found
    };
    let [request] = shape("POST /api/run", 2, 1)[..] else {
        panic!()
    };
    assert_eq!(hex(&request.parent_span_id), CALLER);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/run"),
        ("http.response.status_code", "201"),
    ] {
        assert_eq!(attribute(request, name), value);
    }
    let [whole] = shape("run", 1, 1)[..] else {
        panic!()
    };
    assert_eq!(whole.parent_span_id, request.span_id);
    assert_eq!(attribute(whole, "gen_ai.conversation.id"), id);
    assert_eq!(attribute(whole, "parley.run.status"), "completed");
    let turns = shape("turn", 1, 2);
    assert!(
        turns
            .iter()
            .all(|turn| turn.parent_span_id == whole.span_id)
    );
    let attempts = [shape("chat model-a", 3, 2), shape("chat model-b", 3, 1)].concat();
    for (attempt, turn, request) in [
        (attempts[0], turns[0], &requests[0]),
        (attempts[1], turns[0], &requests[1]),
        (attempts[2], turns[1], &requests[2]),
    ] {
        assert_eq!(attempt.parent_span_id, turn.span_id);
        assert!(attempt.start_time_unix_nano >= turn.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= turn.end_time_unix_nano);
        let sent = format!("00-{TRACE}-{}-01", hex(&attempt.span_id));
        assert_eq!(request.headers["traceparent"], sent);
        assert_eq!(request.headers["tracestate"], STATE);
    }
    for (attempt, name, value) in KNOWN_OF_ATTEMPTS {
        assert_eq!(
            attribute(attempts[attempt], name),
            value,
            "{attempt} {name}"
        );
    }
    // 2 is an error.
    let codes = attempts
        .iter()
        .map(|span| span.status.as_ref().map_or(0, |status| status.code));
    assert_eq!(codes.collect::<Vec<_>>(), [2, 0, 0]);
    assert_eq!(ours.len(), 1 + 1 + 2 + 3, "no span of a delta: {ours:#?}");
    // The stream is its own request, without a caller who is traced.
    let stream = named(&spans, "GET /api/stream/{run_id}");
    assert!(stream.len() == 1 && stream[0].parent_span_id.is_empty());
    assert!(named(&spans, "GET /metrics").is_empty());
    for word in ["marmalade", "quince", "damson", "greengage"] {
        assert!(!collector.text().contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_recorded_where_the_settings_say_so() {
    let collector = Collector::start().await;
    let script = Script::text("The answer is marmalade.");
    let traced = Traced::start(&collector.endpoint, script, ", record_content: true").await;
    traced.talk("01").await;
    traced.end().await;
    let spans = collector.spans();
    let last = named(&spans, "chat model-b")[0];
    let read = |name: &str| -> Value { serde_json::from_str(&attribute(last, name)).unwrap() };
    let system = read("gen_ai.system_instructions");
    let system = system[0]["content"].as_str().unwrap();
    assert!(system.contains("You are a greengage."), "{system}");
    let shown = read("gen_ai.input.messages").to_string();
    assert!(
        shown.contains("quince") && shown.contains("marmalade"),
        "{shown}"
    );
    let said = json!([{
        "role": "assistant",
        "parts": [{"type": "text", "content": "The answer is marmalade."}],
        "finish_reason": "end_turn",
    }]);
    assert_eq!(read("gen_ai.output.messages"), said);
}

/// Whoever calls decides whether its trace is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_not_kept_is_handed_along_and_not_sent() {
    let collector = Collector::start().await;
    let traced = Traced::start(&collector.endpoint, Script::text("Yes."), "").await;
    traced.talk("00").await;
    let requests = traced.simulator.requests();
    traced.end().await;
    let sent = &requests[0].headers["traceparent"];
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"),
        "{sent}"
    );
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) != TRACE),
        "{spans:?}"
    );
}

#[tokio::test]
async fn without_a_collector_nothing_is_sent_along() {
    let app = TestApp::spawn(Script::text("Yes.")).await;
    let request = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .header("traceparent", traceparent("01"))
        .body(talk(1).to_string());
    let answer = app.send(request).await;
    app.events(answer.json()["run_id"].as_str().unwrap()).await;
    let requests = app.simulator.requests();
    assert!(
        requests
            .iter()
            .all(|request| !request.headers.contains_key("traceparent"))
    );
    app.close().await;
}

/// A failure stands in the spans of all that it has brought down, and the run's says how the run stands.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_marked() {
    let collector = Collector::start().await;
    let traced = Traced::start(&collector.endpoint, Script::status(401), "").await;
    let id = traced.begin(&talk(2), "01").await;
    let events = traced.events(&id).await;
    assert!(events.contains("event: run.failed"), "{events}");
    traced.end().await;
    let spans = collector.spans();
    for name in ["run", "turn", "chat model-a"] {
        let found = named(&spans, name);
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        assert_eq!(attribute(found[0], "error.type"), "auth", "{name}");
        assert_eq!(found[0].status.as_ref().unwrap().code, 2, "{name}");
    }
    let run = named(&spans, "run")[0];
    assert_eq!(attribute(run, "parley.run.status"), "failed");
}

/// `tracing`: what its settings say of traces.
async fn node(folder: &std::path::Path, simulator: &Simulator, tracing: &str) -> Node {
    let database = format!("sqlite://{}/parley.sqlite?mode=rwc", folder.display());
    let address = format!("http://{}", simulator.address());
    let mut node = Node::new(folder, &database, &address, "{}");
    let told = format!("dev_mode: true\n  tracing: {{ {tracing} }}");
    node.reconfigure("dev_mode: true", &told);
    node.reconfigure("level: warn, format: compact", "level: info, format: json");
    node.start().await;
    node
}

/// Whoever takes a run over goes on in its trace; and the log names the trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_goes_on_in_the_same_trace() {
    let collector = Collector::start().await;
    let mut traced = Traced::start(&collector.endpoint, Script::text("Yes."), "").await;
    let silent = Script::silent();
    traced.simulator.enqueue_for("model-a", silent);
    let id = traced.begin(&talk(1), "01").await;
    let first = traced.simulator.wait_for(|activity| activity.open == 1);
    within("the first try", first).await;
    traced.node.kill();
    traced.node.start().await;
    let events = traced.events(&id).await;
    assert!(events.contains("event: run.completed"), "{events}");
    let (requests, log) = (traced.simulator.requests(), traced.node.log());
    assert_eq!(requests[1].headers["tracestate"], STATE);
    traced.end().await;
    let spans = collector.spans();
    for name in ["run", "turn", "chat model-a"] {
        let found = named(&spans, name);
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        assert_eq!(hex(&found[0].trace_id), TRACE, "{name}");
    }
    for message in ["run accepted", "run ended here"] {
        let line = log.lines().find(|line| line.contains(message)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_one_line_and_a_moment_at_the_end() {
    let nobody = Collector::start().await.endpoint.clone();
    let mut traced = Traced::start(&nobody, Script::text("Yes."), "").await;
    traced.talk("01").await;
    let told = Instant::now();
    traced.node.signal("TERM");
    assert!(traced.node.ended().await.success(), "{}", traced.node.log());
    assert!(told.elapsed() < END, "{:?}", told.elapsed());
    let log = traced.node.log();
    let lines = log.lines().filter(|line| line.contains("WARN"));
    let about = lines.filter(|line| line.contains("the collector of traces does not take them"));
    assert_eq!(about.count(), 1, "{log}");
    traced.simulator.stop().await;
}

/// A collector that takes connections and never says a word.
fn hanging() -> (String, std::net::TcpListener) {
    // The system accepts for it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (format!("http://{address}"), listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_a_moment_at_the_end() {
    let (endpoint, _listener) = hanging();
    let mut traced = Traced::start(&endpoint, Script::text("Yes."), "").await;
    traced.talk("01").await;
    let told = Instant::now();
    traced.node.signal("TERM");
    assert!(traced.node.ended().await.success(), "{}", traced.node.log());
    assert!(told.elapsed() < END, "{:?}", told.elapsed());
    traced.simulator.stop().await;
}

/// At once is at once, whatever the collector does.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_the_collector() {
    let (endpoint, _listener) = hanging();
    let mut traced = Traced::start(&endpoint, Script::text("Yes."), "").await;
    traced.talk("01").await;
    // A turn that does not end keeps the process from ending.
    traced.simulator.enqueue_for("model-a", Script::silent());
    traced.begin(&talk(1), "01").await;
    let silent = traced.simulator.wait_for(|activity| activity.open == 1);
    within("the turn", silent).await;
    traced.node.signal("TERM");
    traced.node.says("shutting down").await;
    let told = Instant::now();
    // What comes too soon after the first is the same signal.
    while traced.node.is_running() {
        traced.node.signal("TERM");
        assert!(
            told.elapsed() < Duration::from_secs(10),
            "{}",
            traced.node.log()
        );
    }
    assert!(!traced.node.ended().await.success());
    traced.simulator.stop().await;
}

/// Spans that find no place are lost, and that is told.
#[tokio::test(flavor = "multi_thread")]
async fn spans_that_are_lost_are_told_of() {
    let (endpoint, _listener) = hanging();
    let options = TraceOptions {
        endpoint: format!("{endpoint}/v1/traces"),
        service_name: None,
        record_content: false,
        queue: 4,
        batch: 2,
    };
    let tracer = Tracer::new(&options).unwrap();
    let said = Said::default();
    let kept = said.clone();
    let lines = JsonLines::new(move || kept.clone());
    // A process's only subscriber is not asked about a callsite that another thread comes upon first, and then never hears of it
    // (tracing-core 0.1, `Rebuilder::JustOne`); of two, each is.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        for _ in 0..20 {
            drop(tracer.begin(Beginning {
                name: ["x", ""],
                kind: SpanKind::Internal,
                parent: None,
                attributes: &[],
            }));
        }
    });
    tracer.forget();
    let said = said.0.lock().unwrap().clone();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("spans are lost").count(), 1, "{said}");
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
