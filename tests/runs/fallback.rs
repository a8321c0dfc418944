//! A provider that fails for long: others are asked in its place, it is left alone for a while, and limits are waited for.

use std::time::Duration;

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::names;
use crate::support::{Event, Fold, TestApp, within};

/// A talk of two whose first bot has a stand-in.
fn order(turns: u32) -> Value {
    let mut order = crate::support::talk(turns);
    order["bots"][0]["fallback"] = json!([{"provider": "anthropic", "model": "stand-in"}]);
    order
}

async fn start(app: &TestApp, order: &Value) -> String {
    let answer = app.post("/api/run", order).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

fn of<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name == name).collect()
}

#[tokio::test]
async fn a_stand_in_speaks_once_the_model_has_used_up_its_attempts() {
    let app = TestApp::with(Script::text("Well."), json!({"retry": {"max_attempts": 2}})).await;
    for _ in 0..2 {
        app.simulator
            .enqueue_for("model-a", Script::deltas(["Ha", "lf"]).cut_after_bytes(700));
    }
    let id = start(&app, &order(2)).await;
    let events = app.events(&id).await;
    assert_eq!(
        Fold::of(&events).turns,
        Fold::turns_of(&app.export(&id).await)
    );
    let restarted = of(&events, "turn.restarted");
    let next: Vec<Value> = restarted
        .iter()
        .map(|event| event.json()["model"].clone())
        .collect();
    assert_eq!(next, ["model-a", "stand-in"], "who is asked now");
    let spoken = of(&events, "turn.completed")[0].json();
    assert_eq!(
        (&spoken["provider"], &spoken["model"]),
        (&json!("anthropic"), &json!("stand-in"))
    );
    let message = &app.export(&id).await["messages"][1];
    assert_eq!(
        (&message["provider"], &message["author"]),
        (&json!("anthropic"), &json!("Ada"))
    );
    // Each turn begins with the bot's own model again.
    assert_eq!(of(&events, "turn.started")[0].json()["model"], "model-a");
    let models: Vec<Value> = app
        .simulator
        .requests()
        .iter()
        .map(|seen| seen.body["model"].clone())
        .collect();
    assert_eq!(models, ["model-a", "model-a", "stand-in", "model-b"]);
    app.close().await;
}

#[tokio::test]
async fn what_is_not_worth_repeating_goes_to_the_stand_in_at_once() {
    let app = TestApp::spawn(Script::text("Well.")).await;
    app.simulator.enqueue_for("model-a", Script::status(401));
    let id = start(&app, &order(1)).await;
    let events = app.events(&id).await;
    let error = of(&events, "error")[0].json();
    assert_eq!(
        (&error["code"], &error["retry_in_ms"]),
        (&json!("auth"), &json!(0))
    );
    assert_eq!(app.simulator.requests().len(), 2);
    // If it fails, too, the run says what the stand-in said.
    app.simulator.enqueue_for("model-a", Script::status(401));
    app.simulator.enqueue_for("stand-in", Script::status(404));
    let id = start(&app, &order(1)).await;
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().json()["error"]["code"], "not_found");
    app.close().await;
}

#[tokio::test]
async fn a_stand_in_is_checked_shown_and_changed_like_the_rest_of_a_bot() {
    let app = TestApp::spawn(Script::text("Well.")).await;
    for (wrong, pointer) in [
        (
            json!([{"provider": "nobody", "model": "m"}]),
            "/bots/0/fallback/0/provider",
        ),
        (
            json!([{"provider": "openai", "model": ""}]),
            "/bots/0/fallback/0/model",
        ),
        (json!([["openai", "m"]]), "/bots/0/fallback/0"),
        (
            json!([{"provider": "openai", "model": "m", "x": 1}]),
            "/bots/0/fallback/0",
        ),
        (
            Value::Array(vec![json!({"provider": "openai", "model": "m"}); 5]),
            "/bots/0/fallback",
        ),
    ] {
        let mut order = order(1);
        order["bots"][0]["fallback"] = wrong;
        let answer = app.post("/api/run", &order).await;
        assert!(matches!(answer.status, 400 | 422), "{answer:?}");
        let told = answer.json()["errors"][0]["pointer"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(told.starts_with(pointer), "{told} for {pointer}");
    }
    app.simulator.enqueue(Script::silent());
    let id = start(&app, &order(1)).await;
    let bots = app.run(&id).await["bots"].clone();
    assert_eq!(bots[0]["fallback"][0]["model"], "stand-in");
    assert_eq!(bots[1]["fallback"], json!([]));
    let path = format!("/api/run/{id}/bot/0");
    let answer = app
        .patch(
            &path,
            &json!({"fallback": [{"provider": "nobody", "model": "m"}]}),
        )
        .await;
    assert_eq!(
        answer.json()["errors"][0]["pointer"],
        "/fallback/0/provider"
    );
    let answer = app.patch(&path, &json!({"fallback": null})).await;
    assert_eq!(
        (answer.status, &answer.json()["fallback"]),
        (200, &json!([]))
    );
    app.stop(&id).await;
    app.close().await;
}

/// A provider that is down: its breaker opens after the stated number of failures, bots with a stand-in lose no turn, and it closes by
/// itself once the provider is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_sends_bots_to_their_stand_ins_and_closes_by_itself() {
    let settings =
        json!({"breaker": {"failures": 4, "open_ms": 3_000}, "retry": {"max_attempts": 2}});
    let app = TestApp::with(Script::text("Well."), settings).await;
    for _ in 0..4 {
        app.simulator.enqueue_for("model-a", Script::status(529));
    }
    for _ in 0..2 {
        let id = start(&app, &order(1)).await;
        assert_eq!(app.events(&id).await.last().unwrap().name, "run.completed");
    }
    let breakers = async || {
        let providers = app.get("/api/providers").await.json();
        let all = providers["providers"].as_array().unwrap();
        let openai = all
            .iter()
            .find(|provider| provider["name"] == "openai")
            .unwrap();
        openai["breakers"].clone()
    };
    let open = breakers().await;
    assert_eq!(
        (&open[0]["model"], open.as_array().unwrap().len()),
        (&json!("model-a"), 1)
    );
    // The model is not asked: four requests of it, and no more.
    let id = start(&app, &order(1)).await;
    let events = app.events(&id).await;
    let error = of(&events, "error")[0].json();
    assert_eq!(
        (&error["code"], &error["provider"], &error["retry_in_ms"]),
        (&json!("overloaded"), &json!("openai"), &json!(0))
    );
    assert_eq!(
        names(&events),
        [
            "run.started",
            "turn.started",
            "error",
            "turn.completed",
            "run.completed"
        ]
    );
    let asked = |model: &str| {
        app.simulator
            .requests()
            .iter()
            .filter(|seen| seen.body["model"] == model)
            .count()
    };
    assert_eq!(asked("model-a"), 4);
    // Without a stand-in a bot waits for the probe, and the run does not fail.
    let id = start(&app, &crate::support::talk(1)).await;
    let events = app.events(&id).await;
    let error = of(&events, "error")[0].json();
    assert!(error["retry_in_ms"].as_u64().unwrap() <= 3_000, "{error}");
    assert_eq!(events.last().unwrap().name, "run.completed");
    assert_eq!(breakers().await, json!([]));
    assert_eq!(asked("model-a"), 5);
    app.close().await;
}

/// Errors inside an answer, cut and garbled ones say nothing of whether the provider is up.
#[tokio::test]
async fn what_goes_wrong_inside_an_answer_opens_no_breaker() {
    let settings = json!({"breaker": {"failures": 1}, "retry": {"max_attempts": 9}});
    let app = TestApp::with(Script::text("Well."), settings).await;
    let error = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"oops\"}}\n\n";
    for fault in [
        Script::raw(error, "text/event-stream"),
        Script::raw("", "text/event-stream"),
        Script::raw("<html>", "text/html"),
        Script::status(400),
    ] {
        app.simulator.enqueue(fault);
    }
    let id = app.start_run(1).await;
    app.events(&id).await;
    let providers = app.get("/api/providers").await.text;
    assert!(!providers.contains("retry_in_ms"), "{providers}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_makes_runs_wait_and_say_so() {
    let gate = Gate::closed();
    let script = Script::deltas(["One ", "two."]).gate(&gate);
    let app = TestApp::with(
        script,
        json!({"providers": {"openai": {"max_concurrent": 1}}}),
    )
    .await;
    let first = app.start_run(1).await;
    within(
        "the first",
        app.simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    let second = app.start_run(1).await;
    let mut stream = app.stream(&second, "").await;
    let seen = stream.until(|event| event.name == "error").await;
    let error = seen.last().unwrap().json();
    assert_eq!(
        (&error["code"], error["retry_in_ms"].is_u64()),
        (&json!("rate_limited"), true)
    );
    assert_eq!(app.simulator.requests().len(), 1);
    // One that waits can be stopped.
    let third = app.start_run(1).await;
    assert_eq!(app.stop(&third).await.status, 200);
    assert_eq!(app.simulator.requests().len(), 1);
    gate.open();
    for id in [first, second] {
        assert_eq!(app.events(&id).await.last().unwrap().name, "run.completed");
    }
    assert_eq!(app.simulator.requests().len(), 2);
    app.close().await;
}

/// Nothing is left: nobody asks before the reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_the_provider_announces_is_respected() {
    let app = TestApp::spawn(Script::text("Well.")).await;
    let spent = Script::status(429)
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "3s");
    app.simulator.enqueue_for("model-a", spent);
    let id = app.start_run(3).await;
    let events = app.events(&id).await;
    let errors = of(&events, "error");
    assert_eq!(
        errors.len(),
        2,
        "the refusal, and that the repetition has to wait"
    );
    let error = errors[1].json();
    assert_eq!(error["code"], "rate_limited");
    let wait = Duration::from_millis(error["retry_in_ms"].as_u64().unwrap());
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(3),
        "{wait:?}"
    );
    assert_eq!(events.last().unwrap().name, "run.completed");
    assert_eq!(app.simulator.requests().len(), 4);
    app.close().await;
}

/// Where a model is left alone for a while, its stand-in is not asked again before it has rested from its own failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_that_fails_is_left_alone_as_long_as_it_asks_for() {
    let settings = json!({
        "breaker": {"failures": 2, "open_ms": 60_000},
        "retry": {"max_attempts": 3, "retry_after_cap_ms": 3_000},
    });
    let app = TestApp::with(Script::text("Well."), settings).await;
    for _ in 0..2 {
        app.simulator.enqueue_for("model-a", Script::status(529));
    }
    let busy = Script::status(503).header("retry-after", "10");
    app.simulator.enqueue_for("stand-in", busy);
    let id = start(&app, &order(1)).await;
    let events = app.events(&id).await;
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.name != "turn.delta")
        .map(|event| format!("{} {}", event.name, event.json()["provider"]))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    run.started null
    turn.started "openai"
    error "openai"
    error "openai"
    error "openai"
    error "anthropic"
    error "openai"
    error "openai"
    turn.completed "anthropic"
    run.completed null
    "#);
    let at = |event: &Event| {
        let at = event.json()["at"].as_str().unwrap().to_owned();
        humantime::parse_rfc3339(&at).unwrap()
    };
    let refused = events
        .iter()
        .find(|event| event.name == "error" && event.json()["provider"] == "anthropic");
    let completed = of(&events, "turn.completed")[0];
    let rested = at(completed).duration_since(at(refused.unwrap())).unwrap();
    assert!(rested >= Duration::from_millis(2_995), "{rested:?}");
    app.close().await;
}

/// Where the stand-in is left alone, too, a run waits for one of them, and says so a few times and not all the time.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_left_alone_a_run_waits_quietly() {
    let settings = json!({
        "breaker": {"failures": 1, "open_ms": 1_000},
        "retry": {"max_attempts": 3},
    });
    let app = TestApp::with(Script::text("Well."), settings).await;
    for model in ["model-a", "stand-in"] {
        app.simulator.enqueue_for(model, Script::status(503));
    }
    let id = start(&app, &order(1)).await;
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().name, "run.completed");
    let errors = of(&events, "error").len();
    assert!(errors <= 6, "{errors} errors");
    assert_eq!(app.simulator.requests().len(), 3);
    app.close().await;
}
