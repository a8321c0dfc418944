//! The shapes that clients rely on, as snapshots.

use std::collections::BTreeSet;

use parley::simulator::Script;
use serde_json::json;

use crate::support::{TestApp, shown, within};

#[tokio::test]
async fn a_run_from_start_to_export() {
    let app = TestApp::spawn(Script::text("Hello there.").usage(12, 3)).await;
    let order = json!({
        "topic": "Tea?", "max_turns": 2,
        "bots": [
            {"provider": "openai", "model": "a", "params": {"temperature": 0.5}},
            {"provider": "anthropic", "model": "b", "name": "Bob", "system_prompt": "Be brief."},
        ],
    });
    let started = app.post("/api/run", &order).await;
    let id = started.json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (started.status, started.header("location")),
        (201, format!("/api/run/{id}").as_str())
    );
    insta::assert_snapshot!("started", shown("start_run", &started));
    // Whether a client sees deltas depends on when it comes; what is durable does not.
    let stream = app.get(&format!("/api/stream/{id}")).await;
    insta::assert_snapshot!("events", shown("stream_run", &stream));
    let run = app.get(&format!("/api/run/{id}")).await;
    insta::assert_snapshot!("run", shown("get_run", &run));
    let file = app.get(&format!("/api/export/{id}.json")).await;
    insta::assert_snapshot!("export", shown("export_run", &file));
    let name = format!("parley-{id}.json");
    assert_eq!(
        file.header("content-disposition"),
        format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}")
    );
    let shown = app.get(&format!("/api/export/{id}.json?inline=1")).await;
    assert!(shown.header("content-disposition").starts_with("inline; "));
    app.close().await;
}

#[tokio::test]
async fn a_turn_in_progress_is_named_and_not_in_the_export() {
    let app = TestApp::spawn(Script::silent()).await;
    let id = app.start_run(2).await;
    app.stream(&id, "")
        .await
        .until(|event| event.name == "turn.started")
        .await;
    let export = app.export(&id).await;
    assert_eq!(export["in_progress"], json!({"turn": 0, "bot_index": 0}));
    assert_eq!(
        (
            export["status"].as_str(),
            export["messages"].as_array().map(Vec::len)
        ),
        (Some("running"), Some(1))
    );
    app.stop(&id).await;
    app.close().await;
}

/// What is written while an export is read does not belong to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_exported_at_any_moment() {
    // More turns than pass while a few exports are read, however slow this machine reads them.
    let app = TestApp::with(Script::text("Hello."), json!({"run_max_turns": 100_000})).await;
    let id = app.start_run(100_000).await;
    let export = async |id: &str| {
        let answer = app.get(&format!("/api/export/{id}.json")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let run = answer.json();
        let turns = run["turns"].as_u64().unwrap();
        let messages = run["messages"].as_array().unwrap().len();
        assert_eq!(messages as u64, turns + 1);
        (run, turns)
    };
    let exports = async {
        let mut seen = BTreeSet::new();
        while seen.len() < 8 {
            let (run, turns) = export(&id).await;
            let status = run["status"].as_str().unwrap();
            assert!(["queued", "running"].contains(&status), "{run}");
            seen.insert(turns);
        }
    };
    within("exports at eight moments", exports).await;
    app.stop(&id).await;
    let short = app.start_run(3).await;
    app.events(&short).await;
    let (run, turns) = export(&short).await;
    assert_eq!((run["status"].as_str(), turns), (Some("completed"), 3));
    app.close().await;
}

#[tokio::test]
async fn the_providers() {
    let app = TestApp::with(
        Script::default(),
        json!({"providers": {
            "anthropic": {"base_url": null, "models": ["claude-haiku-5-5", "claude-haiku-4-5"]},
            "openai": {"models": ["gpt-6-sol", "gpt-5.5", "some-model"]},
            // One whose price is not known to change: the list has the prices of today.
            "gemini": {"models": ["gemini-3.5-flash-lite"]},
        }}),
    )
    .await;
    let answer = app.get("/api/providers").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(shown("list_providers", &answer));
    app.close().await;
}

#[tokio::test]
async fn a_problem() {
    let app = TestApp::spawn(Script::default()).await;
    let answer = app
        .send(
            app.request("GET", "/api/run/x")
                .header("x-request-id", "abc-1"),
        )
        .await;
    insta::assert_json_snapshot!(answer.json(), @r#"
    {
      "detail": "a run id is a lower-case UUID with hyphens, such as 019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071",
      "request_id": "abc-1",
      "status": 400,
      "title": "Invalid run id",
      "type": "/problems/invalid-run-id"
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn health() {
    let app = TestApp::spawn(Script::default()).await;
    for path in ["/_ping", "/_health", "/_readiness"] {
        let answer = app.get(path).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, "{\"ok\":true}"),
            "{path}"
        );
    }
    app.close().await;
}
