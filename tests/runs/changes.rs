//! A bot can be changed in the middle of a talk.

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::names;
use crate::support::TestApp;

#[tokio::test]
async fn a_change_in_the_middle_of_a_turn_counts_from_the_next_one() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text("Hello.")).await;
    app.simulator.enqueue(
        Script::deltas(["Half"])
            .gate(&gate)
            .abort_after_bytes(1_000_000),
    );
    let id = app.start_run(4).await;
    gate.let_through(1);
    app.stream(&id, "")
        .await
        .until(|event| event.id == "2-1")
        .await;

    let path = format!("/api/run/{id}/bot/0");
    let answer = app
        .patch(
            &path,
            &json!({"model": "model-new", "system_prompt": "Rhyme.", "name": "Eve"}),
        )
        .await;
    assert_eq!((answer.status, answer.header("etag")), (200, "\"2\""));
    let bot = answer.json();
    assert_eq!(
        (bot["version"].as_u64(), bot["effective_from_turn"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(app.run(&id).await["bots"][0]["model"], "model-new");

    gate.open();
    let events = app.events(&id).await;
    let order = names(&events);
    let completed = order
        .iter()
        .position(|name| *name == "turn.completed")
        .unwrap();
    assert_eq!(order[completed + 1], "bot.updated", "{order:?}");
    let started: Vec<Value> = events
        .iter()
        .filter(|event| event.name == "turn.started")
        .map(|event| event.json())
        .collect();
    let versions: Vec<_> = started
        .iter()
        .map(|turn| turn["bot_version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [1, 1, 2, 1]);
    let models: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body["model"].clone())
        .collect();
    assert_eq!(models, ["model-a", "model-b", "model-new", "model-b"]);
    assert_eq!(
        app.simulator.requests()[2].body["messages"][0],
        json!({"role": "system", "content": "Rhyme."})
    );

    let export = app.export(&id).await;
    let versions = export["bots"][0]["versions"].as_array().unwrap();
    assert_eq!(
        (versions.len(), versions[1]["effective_from_turn"].as_u64()),
        (2, Some(2))
    );
    let said: Vec<_> = export["messages"].as_array().unwrap()[1..]
        .iter()
        .map(|message| {
            (
                message["author"].as_str().unwrap(),
                message["bot_version"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(said, [("Ada", 1), ("Bob", 1), ("Eve", 2), ("Bob", 1)]);
    app.close().await;
}

#[tokio::test]
async fn a_retry_keeps_the_version_of_its_turn() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text("Hello.")).await;
    app.simulator.enqueue(
        Script::deltas(["Half", "x"])
            .gate(&gate)
            .abort_after_bytes(600),
    );
    let id = app.start_run(3).await;
    gate.let_through(1);
    app.stream(&id, "")
        .await
        .until(|event| event.id == "2-1")
        .await;
    app.patch(
        &format!("/api/run/{id}/bot/0"),
        &json!({"model": "model-new"}),
    )
    .await;
    gate.open();
    app.events(&id).await;
    let models: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body["model"].clone())
        .collect();
    assert_eq!(models, ["model-a", "model-a", "model-b", "model-new"]);
    let events = app.events(&id).await;
    let told = events.iter().filter(|event| event.name == "bot.updated");
    assert_eq!(told.count(), 1, "{events:?}");
    app.close().await;
}

#[tokio::test]
async fn a_queued_run_takes_changes_at_once() {
    let app = TestApp::with(
        Script::silent(),
        json!({"orchestrator": {"max_live_runs": 1}}),
    )
    .await;
    let first = app.start_run(2).await;
    app.simulator.wait_for(|activity| activity.open == 1).await;
    let id = app.start_run(2).await;
    let answer = app
        .patch(&format!("/api/run/{id}/bot/1"), &json!({"name": "Zoe"}))
        .await;
    assert_eq!(
        (answer.status, answer.json()["effective_from_turn"].as_u64()),
        (200, Some(1))
    );
    app.stream(&id, "")
        .await
        .until(|event| event.name == "bot.updated")
        .await;
    app.stop(&id).await;
    app.stop(&first).await;
    let events = app.events(&id).await;
    assert_eq!(
        names(&events),
        ["run.started", "bot.updated", "run.stopped"]
    );
    assert_eq!(events[1].json()["changes"], json!({"name": "Zoe"}));
    app.close().await;
}

#[tokio::test]
async fn only_the_version_that_was_read_is_changed_where_the_caller_says_so() {
    let app = TestApp::spawn(Script::silent()).await;
    let id = app.start_run(2).await;
    let path = format!("/api/run/{id}/bot/1");
    let patch = |tag: &'static str, body: Value| {
        let request = app
            .request("PATCH", &path)
            .header("content-type", "application/json")
            .header("if-match", tag);
        app.send(request.body(body.to_string()))
    };
    assert_eq!(patch("\"1\"", json!({"name": "Zoe"})).await.status, 200);
    let stale = patch("\"1\"", json!({"name": "Kim"})).await;
    assert_eq!(
        (
            stale.status,
            stale.problem().as_str(),
            stale.json()["version"].as_u64()
        ),
        (412, "version-mismatch", Some(2))
    );
    let same = patch("*", json!({"name": "Zoe"})).await;
    assert_eq!(
        (same.status, same.header("etag")),
        (200, "\"2\""),
        "a change of nothing makes no version"
    );
    assert_eq!(
        patch("\"1\", \"2\"", json!({"params": {"max_tokens": 9}}))
            .await
            .header("etag"),
        "\"3\""
    );
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test]
async fn a_bot_that_has_no_turn_left_takes_effect_nowhere() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["a"]).gate(&gate)).await;
    let id = app.start_run(1).await;
    gate.let_through(1);
    app.stream(&id, "")
        .await
        .until(|event| event.id == "2-1")
        .await;
    for index in [0, 1] {
        let answer = app
            .patch(
                &format!("/api/run/{id}/bot/{index}"),
                &json!({"model": "late"}),
            )
            .await;
        assert_eq!(
            (answer.status, answer.json()["effective_from_turn"].clone()),
            (200, Value::Null)
        );
    }
    gate.open();
    let events = app.events(&id).await;
    assert_eq!(
        names(&events)[2..],
        [
            "turn.completed",
            "bot.updated",
            "bot.updated",
            "run.completed"
        ]
    );
    let late = app
        .patch(&format!("/api/run/{id}/bot/0"), &json!({"model": "x"}))
        .await;
    assert_eq!(
        (late.status, late.problem().as_str()),
        (409, "run-already-ended")
    );
    app.close().await;
}
