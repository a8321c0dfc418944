//! A stop is a stop: when it has answered 200, no provider request of the run is open.

use std::time::{Duration, Instant};

use parley::simulator::{Gate, Script};
use serde_json::json;

use super::names;
use crate::support::{Fold, TestApp, within};

/// What "at once" means here, on a machine that has other things to do: all that a stop could wait for takes longer.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn stop_at_once(app: &TestApp, id: &str) -> serde_json::Value {
    let asked = Instant::now();
    let answer = app.stop(id).await;
    let took = asked.elapsed();
    // The server closes its end before it answers; the simulator may see that a moment later.
    tokio::time::timeout(
        AT_ONCE,
        app.simulator.wait_for(|activity| activity.open == 0),
    )
    .await
    .expect("still open");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(took < AT_ONCE, "the stop took {took:?}");
    let run = answer.json();
    assert_eq!(
        (run["status"].as_str(), run["reason"].as_str()),
        (Some("stopped"), Some("stop_requested"))
    );
    assert_eq!(run["pending"], false);
    run
}

#[tokio::test]
async fn while_streaming() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["Half ", "a ", "sentence"]).gate(&gate)).await;
    let id = app.start_run(4).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(2);
    let mut events = stream.until(|event| event.id == "2-2").await;
    stop_at_once(&app, &id).await;
    events.extend(stream.rest().await);
    assert_eq!(
        names(&events),
        [
            "run.started",
            "turn.started",
            "turn.interrupted",
            "run.stopped"
        ]
    );
    let export = app.export(&id).await;
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    let message = &export["messages"][1];
    assert_eq!(
        (message["text"].as_str(), message["status"].as_str()),
        (Some("Half a "), Some("interrupted"))
    );
    app.close().await;
}

#[tokio::test]
async fn while_waiting_for_the_first_byte() {
    let app = TestApp::spawn(Script::silent()).await;
    let id = app.start_run(4).await;
    within(
        "the request",
        app.simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    stop_at_once(&app, &id).await;
    assert_eq!(names(&app.events(&id).await).last(), Some(&"run.stopped"));
    app.close().await;
}

#[tokio::test]
async fn while_in_a_retrys_backoff() {
    let settings = json!({"retry": {"base_ms": 3_600_000, "cap_ms": 3_600_000}});
    let app = TestApp::with(Script::status(503).header("retry-after", "3600"), settings).await;
    let id = app.start_run(4).await;
    app.stream(&id, "")
        .await
        .until(|event| event.name == "error")
        .await;
    stop_at_once(&app, &id).await;
    let events = app.events(&id).await;
    assert_eq!(
        names(&events),
        [
            "run.started",
            "turn.started",
            "error",
            "turn.interrupted",
            "run.stopped"
        ]
    );
    app.close().await;
}

#[tokio::test]
async fn while_queued() {
    let app = TestApp::with(
        Script::silent(),
        json!({"orchestrator": {"max_live_runs": 1}}),
    )
    .await;
    let first = app.start_run(4).await;
    within(
        "the request",
        app.simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    let second = app.start_run(4).await;
    assert_eq!(app.run(&second).await["status"], "queued");
    let asked = Instant::now();
    let answer = app.stop(&second).await;
    assert!(asked.elapsed() < AT_ONCE);
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("stopped"))
    );
    assert_eq!(
        names(&app.events(&second).await),
        ["run.started", "run.stopped"]
    );
    stop_at_once(&app, &first).await;
    assert_eq!(
        app.simulator.requests().len(),
        1,
        "a run that was stopped while queued asks nobody"
    );
    app.close().await;
}

#[tokio::test]
async fn after_the_turn_in_progress() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["A whole ", "sentence."]).gate(&gate)).await;
    let id = app.start_run(9).await;
    gate.let_through(1);
    app.stream(&id, "")
        .await
        .until(|event| event.id == "2-1")
        .await;
    let answer = app
        .post(
            &format!("/api/run/{id}/stop"),
            &json!({"mode": "after_turn"}),
        )
        .await;
    assert_eq!(
        (answer.status, answer.json()["pending"].as_bool()),
        (202, Some(true))
    );
    assert_eq!(answer.json()["status"], "running");
    gate.open();
    let events = app.events(&id).await;
    assert_eq!(
        names(&events),
        [
            "run.started",
            "turn.started",
            "turn.completed",
            "run.stopped"
        ]
    );
    assert_eq!(Fold::of(&events).turns[&0], "A whole sentence.");
    app.close().await;
}

#[tokio::test]
async fn a_terminal_frame_that_was_read_wins() {
    let gate = Gate::closed();
    // The finish reason has come, and the body stays open as if usage were to follow.
    let body =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Done.\"},\"finish_reason\":\"stop\"}]}\n\n";
    let app = TestApp::with(Script::default(), json!({"timeouts": {"usage_ms": 60_000}})).await;
    app.simulator.enqueue(
        Script::raw(body, "text/event-stream")
            .gate(&gate)
            .silent_after(1),
    );
    let id = app.start_run(9).await;
    gate.open();
    app.stream(&id, "")
        .await
        .until(|event| event.id == "2-1")
        .await;
    let run = stop_at_once(&app, &id).await;
    assert_eq!(run["turns"], 1);
    let events = app.events(&id).await;
    assert_eq!(names(&events)[2..], ["turn.completed", "run.stopped"]);
    app.close().await;
}

#[tokio::test]
async fn stopping_again_changes_nothing() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    let before = app.run(&id).await;
    for _ in 0..3 {
        let answer = app.stop(&id).await;
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (200, Some("completed"))
        );
    }
    assert_eq!(app.run(&id).await, before);
    app.close().await;
}

/// A hundred runs, each stopped at another moment of its life, many at the same time: nothing is left of any of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_stops_at_any_moment_leave_nothing() {
    let app = TestApp::spawn(Script::dialogue(0.05)).await;
    let stops = (0..100_u32).map(|number| {
        let app = &app;
        async move {
            let id = app.start_run(3).await;
            let mut stream = app.stream(&id, "").await;
            // Another number of events for each: before, in and between turns.
            let mut fold = Fold::default();
            let mut seen = 0;
            while seen < number && !fold.is_over() {
                let events = stream.events().await;
                seen += u32::try_from(events.len()).unwrap();
                events.iter().for_each(|event| fold.apply(event));
            }
            let answer = app.stop(&id).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            stream
                .rest()
                .await
                .iter()
                .for_each(|event| fold.apply(event));
            assert!(fold.is_over());
            assert_eq!(fold.turns, Fold::turns_of(&app.export(&id).await));
        }
    });
    futures_util::future::join_all(stops).await;
    app.close().await;
}

/// A stop after the turn that was asked for before an attempt failed is still known when the turn ends.
#[tokio::test]
async fn after_the_turn_in_progress_also_if_its_attempt_is_repeated() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text("Hello.")).await;
    app.simulator.enqueue(
        Script::deltas(["Half", "x"])
            .gate(&gate)
            .abort_after_bytes(600),
    );
    let id = app.start_run(3).await;
    gate.let_through(1);
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.id == "2-1").await;
    let answer = app
        .post(
            &format!("/api/run/{id}/stop"),
            &json!({"mode": "after_turn"}),
        )
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    gate.open();
    app.events(&id).await;
    let run = app.run(&id).await;
    assert_eq!(
        (&run["status"], &run["turns"]),
        (&json!("stopped"), &json!(1))
    );
    app.close().await;
}
