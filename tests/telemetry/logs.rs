//! The log of the real program, as a program reads it.

use std::path::Path;

use loco_rs::{
    app::Hooks as _,
    logger::{Format, LogLevel},
};
use parley::{
    app::App,
    simulator::{Script, Simulator},
};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{
    crashes::node::Node,
    support::{TestApp, client, talk, within},
};

/// A server whose log is JSON, at that level.
async fn started(folder: &Path, simulator: &Simulator, level: &str) -> Node {
    started_as(folder, simulator, level, "dev_mode: true").await
}

/// The same, with that in place of `DEV_MODE`.
pub(super) async fn started_as(
    folder: &Path,
    simulator: &Simulator,
    level: &str,
    login: &str,
) -> Node {
    let database = format!("sqlite://{}/parley.sqlite?mode=rwc", folder.display());
    let address = format!("http://{}", simulator.address());
    let mut node = Node::new(folder, &database, &address, "{}");
    let told = format!("level: {level}, format: json");
    node.reconfigure("level: warn, format: compact", &told);
    node.reconfigure("dev_mode: true", login);
    node.start().await;
    node
}

pub(super) async fn simulator(script: Script) -> Simulator {
    let address = ([127, 0, 0, 1], 0).into();
    Simulator::start(address, script).await.unwrap()
}

/// Starts a run under that request id, and waits for its end.
async fn run(node: &Node, order: &Value, request_id: &str) -> String {
    let request = client()
        .post(format!("{}/api/run", node.base))
        .header("content-type", "application/json")
        .header("x-request-id", request_id)
        .body(order.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], request_id);
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let id = body["run_id"].as_str().unwrap().to_owned();
    let stream = client().get(format!("{}/api/stream/{id}", node.base));
    let stream = stream.send().await.unwrap().text();
    let events = within("the run to end", stream).await.unwrap();
    assert!(events.contains("event: run.completed"), "{events}");
    node.says("run ended here").await;
    id
}

/// All lines, each of them a whole JSON object with what every line has.
pub(super) fn lines(node: &Node) -> Vec<Value> {
    let log = node.log();
    let read = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{line}");
        }
        line
    });
    read.collect()
}

fn saying<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    let found: Vec<&Value> = lines
        .iter()
        .filter(|line| line["message"] == message)
        .collect();
    assert!(!found.is_empty(), "nobody said {message:?}: {lines:#?}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_its_request_and_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(Script::text("Yes.")).await;
    let node = started(folder.path(), &simulator, "info").await;
    simulator.enqueue_for("model-a", Script::status(500));
    let id = run(&node, &talk(2), "request-of-mine").await;
    for path in [
        "/api/run/nobody",
        "/nowhere",
        "/_ping",
        "/_readiness",
        "/metrics",
    ] {
        client()
            .get(format!("{}{path}", node.base))
            .send()
            .await
            .unwrap();
    }
    let long = format!("{}/{}", node.base, "x".repeat(10_000));
    let answer = client().get(long).header("x-request-id", "long").send();
    assert_eq!(answer.await.unwrap().status(), 404);
    node.says("\"long\"").await;

    let lines = lines(&node);
    for line in saying(&lines, "run accepted") {
        assert_eq!(line["run_id"], id.as_str(), "{line}");
        assert_eq!(line["request_id"], "request-of-mine", "{line}");
    }
    let failed = saying(&lines, "attempt failed");
    assert_eq!((failed.len(), &failed[0]["level"]), (1, &json!("WARN")));
    for line in failed.iter().chain(&saying(&lines, "run ended here")) {
        assert_eq!(line["run_id"], id.as_str(), "{line}");
        assert_eq!(line["request_id"], Value::Null, "{line}");
    }
    let answers = saying(&lines, "request answered");
    let of_path = |path: &str| {
        let found = answers.iter().find(|line| line["path"] == path);
        found.copied().unwrap_or(&Value::Null)
    };
    let stream = of_path(&format!("/api/stream/{id}"));
    assert_eq!(
        (&stream["run_id"], &stream["status"]),
        (&json!(id), &json!(200))
    );
    assert_eq!(of_path("/api/run/nobody")["status"], 400);
    assert_eq!(of_path("/nowhere")["status"], 404);
    // Those who ask every few seconds would be all that is in the log.
    for quiet in ["/_ping", "/_readiness", "/metrics"] {
        assert_eq!(of_path(quiet), &Value::Null);
    }
    let cut = answers.iter().find(|line| line["request_id"] == "long");
    let path = cut.unwrap()["path"].as_str().unwrap();
    assert!(path.ends_with('…') && path.len() < 3_000, "{}", path.len());
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert!(
        errors.is_empty(),
        "nothing is wrong with the server: {errors:?}"
    );
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_anybody_says_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(Script::text("The answer is marmalade.")).await;
    let node = started(folder.path(), &simulator, "trace").await;
    let mut order = talk(2);
    order["topic"] = "Is quince better than damson?".into();
    // A provider may repeat what it was sent.
    let message = "what is this: Is quince better than damson?";
    let echo = json!({"error": {"type": "server_error", "message": message}});
    simulator.enqueue_for("model-a", Script::status(500).body(echo));
    order["bots"][1]["system_prompt"] = "You are a greengage.".into();
    run(&node, &order, "r").await;
    let log = node.log();
    saying(&lines(&node), "attempt failed");
    for word in ["marmalade", "quince", "damson", "greengage"] {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word}");
    }
    simulator.stop().await;
}

/// Says to a copy of this program that it is the one that is to panic.
const CHILD: &str = "PARLEY_TEST_PANICS";

/// A panic is a line as all others, with the run that it belongs to and the place where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_line_too() {
    let ours = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(ours);
    child.args([
        "--exact",
        "telemetry::logs::whoever_is_told_to_panics",
        "--nocapture",
    ]);
    let output = child.env_clear().env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8(output.stderr).unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let lines: Vec<Value> = lines.collect();
    let panics = saying(&lines, "panicked");
    assert_eq!(panics.len(), 1, "{log}");
    let line = panics[0];
    assert_eq!(
        (&line["run_id"], &line["level"]),
        (&json!("r"), &json!("ERROR"))
    );
    let place = line["place"].as_str().unwrap();
    assert!(place.contains("logs.rs:"), "{line}");
    assert!(
        line["cause"].as_str().unwrap().contains("char boundary"),
        "{line}"
    );
    assert!(
        !log.contains("quince") && !log.contains("panicked at"),
        "{log}"
    );
}

/// The part of the child: the program's own logger, and a task that cuts a text where it must not.
#[tokio::test]
async fn whoever_is_told_to_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let app = TestApp::spawn(Script::text("Yes.")).await;
    let mut ctx = app.ctx.clone();
    ctx.config.logger.enable = true;
    ctx.config.logger.level = LogLevel::Info;
    ctx.config.logger.format = Format::Json;
    App::init_logger(&ctx).unwrap();
    // Spans of others are not of interest to the logger.
    let span = tracing::error_span!(target: "parley", "run", run_id = "r");
    let task = async {
        let text = std::hint::black_box("équince".to_owned());
        text[1..].len()
    };
    let ended = tokio::spawn(task.instrument(span)).await;
    assert!(ended.unwrap_err().is_panic());
    app.close().await;
}
