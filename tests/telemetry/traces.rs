//! A run's way, as a collector of traces gets it.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use parley::simulator::{Script, Simulator};
use serde_json::{Value, json};

use crate::{
    crashes::node::Node,
    support::{Collector, TestApp, attribute, client, talk, within},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

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

async fn app(collector: &Collector, script: Script, settings: Value) -> TestApp {
    let mut all = json!({"tracing": {"endpoint": collector.endpoint}});
    for (key, value) in settings.as_object().unwrap() {
        all["tracing"][key] = value.clone();
    }
    TestApp::with(script, all).await
}

/// Starts a run as somebody who is traced, and waits for its end.
async fn run(app: &TestApp, flags: &str) -> String {
    let mut order = talk(2);
    order["topic"] = "Is quince better than damson?".into();
    order["bots"][1]["system_prompt"] = "You are a greengage.".into();
    let request = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .header("traceparent", traceparent(flags))
        .header("tracestate", "other=1")
        .body(order.to_string());
    let answer = app.send(request).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.json()["run_id"].as_str().unwrap().to_owned();
    app.events(&id).await;
    id
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

#[tokio::test]
async fn a_run_is_one_trace_from_the_caller_to_the_providers() {
    let collector = Collector::start().await;
    let script = Script::text("The answer is marmalade.").usage(100, 7);
    let app = app(&collector, script, json!({})).await;
    app.simulator.enqueue_for("model-a", Script::status(500));
    let id = run(&app, "01").await;
    let requests = app.simulator.requests();
    for quiet in ["/_ping", "/metrics"] {
        app.get(quiet).await;
    }
    app.close().await;

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

#[tokio::test]
async fn what_is_said_is_recorded_where_the_settings_say_so() {
    let collector = Collector::start().await;
    let script = Script::text("The answer is marmalade.");
    let app = app(&collector, script, json!({"record_content": true})).await;
    run(&app, "01").await;
    app.close().await;
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
#[tokio::test]
async fn a_trace_that_is_not_kept_is_handed_along_and_not_sent() {
    let collector = Collector::start().await;
    let app = app(&collector, Script::text("Yes."), json!({})).await;
    run(&app, "00").await;
    let requests = app.simulator.requests();
    app.close().await;
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
    run(&app, "01").await;
    let requests = app.simulator.requests();
    assert!(
        requests
            .iter()
            .all(|request| !request.headers.contains_key("traceparent"))
    );
    app.close().await;
}

async fn node(folder: &std::path::Path, simulator: &Simulator, endpoint: &str) -> Node {
    let database = format!("sqlite://{}/parley.sqlite?mode=rwc", folder.display());
    let address = format!("http://{}", simulator.address());
    let mut node = Node::new(folder, &database, &address, "{}");
    let told = format!("dev_mode: true\n  tracing: {{ endpoint: \"{endpoint}\" }}");
    node.reconfigure("dev_mode: true", &told);
    node.reconfigure("level: warn, format: compact", "level: info, format: json");
    node.start().await;
    node
}

async fn start(node: &Node) -> String {
    let request = client()
        .post(format!("{}/api/run", node.base))
        .header("content-type", "application/json")
        .header("traceparent", traceparent("01"))
        .body(talk(1).to_string());
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["run_id"].as_str().unwrap().to_owned()
}

async fn to_its_end(node: &Node, id: &str) {
    let stream = client().get(format!("{}/api/stream/{id}", node.base));
    let text = stream.send().await.unwrap().text();
    let text = within("the run to end", text).await.unwrap();
    assert!(text.contains("event: run.completed"), "{text}");
}

/// Whoever takes a run over goes on in its trace; and the log names the trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_goes_on_in_the_same_trace() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let address = ([127, 0, 0, 1], 0).into();
    let simulator = Simulator::start(address, Script::text("Yes."))
        .await
        .unwrap();
    simulator.enqueue_for("model-a", Script::silent());
    let mut node = node(folder.path(), &simulator, &collector.endpoint).await;
    let id = start(&node).await;
    within(
        "the first try",
        simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    node.kill();
    node.start().await;
    to_its_end(&node, &id).await;
    node.signal("TERM");
    assert!(node.ended().await.success(), "{}", node.log());
    let spans = collector.spans();
    for name in ["run", "turn", "chat model-a"] {
        let found = named(&spans, name);
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        assert_eq!(hex(&found[0].trace_id), TRACE, "{name}");
    }
    let log = node.log();
    for message in ["run accepted", "run ended here"] {
        let line = log.lines().find(|line| line.contains(message)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["trace_id"], TRACE, "{line}");
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_one_line_and_a_moment_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Collector::start().await.endpoint.clone();
    let address = ([127, 0, 0, 1], 0).into();
    let simulator = Simulator::start(address, Script::text("Yes."))
        .await
        .unwrap();
    let mut node = node(folder.path(), &simulator, &nobody).await;
    let id = start(&node).await;
    to_its_end(&node, &id).await;
    let told = Instant::now();
    node.signal("TERM");
    assert!(node.ended().await.success(), "{}", node.log());
    assert!(
        told.elapsed() < Duration::from_secs(12),
        "{:?}",
        told.elapsed()
    );
    let log = node.log();
    let lines = log.lines().filter(|line| line.contains("WARN"));
    let about = lines.filter(|line| line.contains("the collector of traces does not take them"));
    assert_eq!(about.count(), 1, "{log}");
    simulator.stop().await;
}
