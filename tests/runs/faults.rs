//! What providers do wrong, through the real HTTP path: the talk says so, and never calls a broken turn finished.

use std::time::Duration;

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::names;
use crate::support::{Fold, TestApp};

/// The events of a run whose first request meets `fault` and whose others are answered.
async fn after(fault: Script, settings: Value) -> (Vec<crate::support::Event>, usize) {
    let app = TestApp::with(Script::text("All is well."), settings).await;
    app.simulator.enqueue(fault);
    let id = app.start_run(1).await;
    let events = app.events(&id).await;
    assert_eq!(
        Fold::of(&events).turns,
        Fold::turns_of(&app.export(&id).await)
    );
    let requests = app.simulator.requests().len();
    app.close().await;
    (events, requests)
}

fn code(events: &[crate::support::Event]) -> String {
    let error = events
        .iter()
        .find(|event| event.name == "error")
        .expect("an error event");
    error.json()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_failure_before_any_text_is_tried_again_unseen() {
    for (fault, expected) in [
        (Script::status(500), "server"),
        (Script::status(503).body(json!({})), "overloaded"),
        (
            Script::status(429).header("retry-after", "0"),
            "rate_limited",
        ),
        (Script::status(529), "overloaded"),
        (Script::raw("", "text/event-stream"), "truncated"),
        (Script::raw("<html>busy</html>", "text/html"), "malformed"),
        (
            Script::raw("data: <html>\n\n", "text/event-stream"),
            "malformed",
        ),
        (Script::text("never seen").abort_after_bytes(0), "truncated"),
    ] {
        let (events, requests) = after(fault, json!({})).await;
        assert_eq!(code(&events), expected);
        assert_eq!(
            names(&events),
            [
                "run.started",
                "turn.started",
                "error",
                "turn.completed",
                "run.completed"
            ],
            "{expected}"
        );
        assert_eq!(requests, 2, "{expected}");
    }
}

#[tokio::test]
async fn a_failure_after_text_takes_it_back_before_the_next_attempt() {
    let error = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"oops\"}}\n\n";
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"Half\"}}]}\n\n";
    for (fault, expected) in [
        (Script::raw(half, "text/event-stream"), "truncated"),
        (
            Script::raw(format!("{half}{error}"), "text/event-stream"),
            "server",
        ),
        (
            Script::raw(format!("{half}data: garbage\n\n"), "text/event-stream"),
            "malformed",
        ),
        (
            Script::text("Half of it and no more").abort_after_bytes(900),
            "truncated",
        ),
    ] {
        let (events, requests) = after(fault, json!({})).await;
        assert_eq!(code(&events), expected);
        let expected = [
            "run.started",
            "turn.started",
            "error",
            "turn.restarted",
            "turn.completed",
            "run.completed",
        ];
        assert_eq!(names(&events), expected);
        let restarted = events
            .iter()
            .find(|event| event.name == "turn.restarted")
            .unwrap()
            .json();
        assert_eq!(
            (restarted["attempt"].as_u64(), restarted["reason"].as_str()),
            (Some(2), Some("provider_error"))
        );
        assert_eq!(requests, 2);
    }
}

#[tokio::test]
async fn silence_is_ended_by_its_timeout() {
    let short = json!({"timeouts": {"first_delta_ms": 2_000, "idle_ms": 2_000}, "retry": {"max_attempts": 2}});
    for fault in [Script::silent(), Script::text("x y").silent_after(0)] {
        let (events, _) = after(fault, short.clone()).await;
        assert_eq!(code(&events), "timeout");
        assert_eq!(names(&events)[2..4], ["error", "turn.completed"]);
    }
    let (events, _) = after(
        Script::text("Some words and then nothing").silent_after(2),
        short,
    )
    .await;
    assert_eq!(
        (code(&events).as_str(), names(&events)[3]),
        ("timeout", "turn.restarted")
    );
}

#[tokio::test]
async fn what_no_repetition_mends_fails_the_run_with_its_code() {
    for (fault, expected) in [
        (Script::status(401), "auth"),
        (Script::status(403), "permission"),
        (Script::status(404), "not_found"),
        (Script::status(400), "invalid_request"),
        (
            Script::status(400).body(json!({"error": {"code": "context_length_exceeded"}})),
            "context_exceeded",
        ),
        (
            Script::status(429).body(json!({"error": {"type": "insufficient_quota"}})),
            "permission",
        ),
        (
            Script::status(500).header("x-should-retry", "false"),
            "server",
        ),
    ] {
        let (events, requests) = after(fault, json!({})).await;
        assert_eq!(
            names(&events),
            [
                "run.started",
                "turn.started",
                "error",
                "turn.failed",
                "run.failed"
            ],
            "{expected}"
        );
        assert_eq!(events.last().unwrap().json()["error"]["code"], expected);
        assert_eq!(requests, 1, "{expected}");
    }
}

#[tokio::test]
async fn the_last_attempt_leaves_its_text_and_fails_the_run() {
    let half = || {
        Script::raw(
            "data: {\"choices\":[{\"delta\":{\"content\":\"Half\"}}]}\n\n",
            "text/event-stream",
        )
    };
    let app = TestApp::spawn(half()).await;
    let id = app.start_run(4).await;
    let events = app.events(&id).await;
    let retried = ["error", "turn.restarted"].repeat(2);
    let expected: Vec<&str> = ["run.started", "turn.started"]
        .into_iter()
        .chain(retried)
        .chain(["error", "turn.failed", "run.failed"])
        .collect();
    assert_eq!(names(&events), expected);
    let export = app.export(&id).await;
    assert_eq!(
        (export["status"].as_str(), export["error"]["code"].as_str()),
        (Some("failed"), Some("truncated"))
    );
    assert_eq!(
        (
            export["messages"][1]["text"].as_str(),
            export["messages"][1]["status"].as_str()
        ),
        (Some("Half"), Some("failed"))
    );
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    app.close().await;
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let limits = json!({"limits": {"turn_text_bytes": 2000, "provider_event_bytes": 10_000}});
    let (events, requests) = after(Script::endless("again and again "), limits.clone()).await;
    assert_eq!((code(&events).as_str(), requests), ("text_too_long", 1));
    assert_eq!(names(&events).last(), Some(&"run.failed"));
    let text = events
        .iter()
        .find(|event| event.name == "turn.failed")
        .unwrap()
        .json()["text"]
        .as_str()
        .unwrap()
        .len();
    assert!((1900..=2000).contains(&text), "{text}");

    let line = format!("data: {}", "x".repeat(10_000_000));
    let (events, _) = after(Script::raw(line, "text/event-stream"), limits).await;
    assert_eq!(
        (code(&events).as_str(), names(&events)[3]),
        ("malformed", "turn.completed")
    );
}

#[tokio::test]
async fn nul_becomes_a_visible_character() {
    let app = TestApp::spawn(Script::deltas(["a\0b", "\u{1F980}\0"])).await;
    let id = app.start_run(1).await;
    let events = app.events(&id).await;
    assert_eq!(Fold::of(&events).turns[&0], "a\u{fffd}b\u{1F980}\u{fffd}");
    assert_eq!(
        Fold::of(&events).turns,
        Fold::turns_of(&app.export(&id).await)
    );
    app.close().await;
}

#[tokio::test]
async fn reasoning_is_not_text() {
    let app = TestApp::spawn(Script::text("Hello.").reasoning("They want a greeting.")).await;
    let id = app.start_run(2).await;
    let events = app.events(&id).await;
    assert!(
        Fold::of(&events)
            .turns
            .values()
            .all(|text| text == "Hello.")
    );
    assert!(!events.iter().any(|event| event.data.contains("greeting")));
    assert!(
        !app.simulator.requests()[1]
            .body
            .to_string()
            .contains("greeting")
    );
    app.close().await;
}

#[tokio::test]
async fn a_server_that_knows_no_stream_options_is_asked_without() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let refusal = json!({"error": {"message": "stream_options: extra_forbidden", "type": "invalid_request_error"}});
    app.simulator.enqueue(Script::status(422).body(refusal));
    let id = app.start_run(3).await;
    assert_eq!(names(&app.events(&id).await).last(), Some(&"run.completed"));
    let requests = app.simulator.requests();
    let asked: Vec<bool> = requests
        .iter()
        .filter(|request| request.path.ends_with("completions"))
        .map(|request| request.body.get("stream_options").is_some())
        .collect();
    assert_eq!(asked, [true, false, false], "one refusal, not one a turn");
    app.close().await;
}

/// A client that is connected sees the attempt's text, then that it is void, then the new text.
#[tokio::test]
async fn a_watcher_sees_the_text_taken_back() {
    let gate = Gate::closed();
    let app = TestApp::with(
        Script::text("All is well."),
        json!({"retry": {"max_attempts": 2}}),
    )
    .await;
    app.simulator.enqueue(
        Script::deltas(["Half", "never"])
            .gate(&gate)
            .abort_after_bytes(600),
    );
    let id = app.start_run(1).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(1);
    let mut events = stream.until(|event| event.id == "2-1").await;
    assert_eq!(Fold::of(&events).turns[&0], "Half");
    gate.open();
    events.extend(stream.until(|event| event.name == "turn.restarted").await);
    let upto = events
        .iter()
        .position(|event| event.name == "turn.restarted")
        .unwrap();
    assert_eq!(Fold::of(&events[..=upto]).turns[&0], "");
    events.extend(stream.rest().await);
    assert_eq!(Fold::of(&events).turns[&0], "All is well.");
    app.close().await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_a_timeout() {
    let nowhere = json!({"providers": {"openai": {"base_url": "http://127.0.0.1:1/v1"}}, "retry": {"max_attempts": 2}});
    let (events, _) =
        tokio::time::timeout(Duration::from_secs(10), after(Script::default(), nowhere))
            .await
            .unwrap();
    assert_eq!(code(&events), "timeout");
    assert_eq!(names(&events).last(), Some(&"run.failed"));
}
