//! Runs from their start to every kind of end, through the real HTTP on both sides.

mod changes;
mod context;
mod fallback;
mod faults;
mod hostile;
mod provider_outage;
mod reasoning;
mod stops;

use parley::simulator::Script;
use serde_json::{Value, json};

use crate::support::{Fold, TestApp, talk};

/// The names of the events, deltas left out.
pub(crate) fn names(events: &[crate::support::Event]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.name.as_str())
        .filter(|name| *name != "turn.delta")
        .collect()
}

#[tokio::test]
async fn two_bots_talk_and_the_stream_is_the_export() {
    let app = TestApp::spawn(Script::dialogue(0.001)).await;
    let id = app.start_run(4).await;
    let events = app.events(&id).await;
    let turn = ["turn.started", "turn.completed"];
    let expected: Vec<&str> = ["run.started"]
        .into_iter()
        .chain(turn.repeat(4))
        .chain(["run.completed"])
        .collect();
    assert_eq!(names(&events), expected);
    let export = app.export(&id).await;
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    assert_eq!(export["messages"][0]["text"], "Tea or coffee?");
    assert_eq!(export["in_progress"], Value::Null);
    let run = app.run(&id).await;
    assert_eq!(
        (run["status"].as_str(), run["reason"].as_str()),
        (Some("completed"), Some("max_turns"))
    );
    assert_eq!(run["turns"], 4);
    assert_eq!(run["last_event_id"], events.last().unwrap().id.as_str());
    app.close().await;
}

#[tokio::test]
async fn each_bot_is_shown_its_side_of_the_talk_in_its_apis_own_form() {
    let app = TestApp::spawn(Script::default()).await;
    for words in ["One.", "Two. ", "Three.", "Four."] {
        app.simulator.enqueue(Script::text(words));
    }
    let id = app.start_run(4).await;
    app.events(&id).await;
    let bodies: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    // Anthropic's API takes blocks, and marks up to where they are cached.
    let block = |text: &str| json!({"type": "text", "text": text});
    let marked =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let in_block = |role: &str, block: Value| json!({"role": role, "content": [block]});
    assert_eq!(
        bodies[0]["messages"],
        json!([said("user", "Tea or coffee?")])
    );
    assert_eq!(
        bodies[1]["messages"],
        json!([in_block("user", marked("Tea or coffee?\n\nOne."))])
    );
    assert_eq!(bodies[1]["system"], json!([marked("Be brief.")]));
    let third = json!([
        said("user", "Tea or coffee?"),
        said("assistant", "One."),
        said("user", "Two.")
    ]);
    assert_eq!(bodies[2]["messages"], third);
    assert_eq!(bodies[2]["model"], "model-a");
    let fourth = json!([
        in_block("user", block("Tea or coffee?\n\nOne.")),
        in_block("assistant", block("Two.")),
        in_block("user", marked("Three."))
    ]);
    assert_eq!(bodies[3]["messages"], fourth);
    assert_eq!(
        app.export(&id).await["messages"][2]["text"],
        "Two. ",
        "the transcript keeps what was streamed"
    );
    app.close().await;
}

#[tokio::test]
async fn more_than_two_bots_know_each_others_names() {
    let app = TestApp::spawn(Script::text("Yes.")).await;
    let mut order = talk(3);
    order["bots"]
        .as_array_mut()
        .unwrap()
        .push(json!({"provider": "openai", "model": "model-c"}));
    let id = app.post("/api/run", &order).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.events(&id).await;
    let last = app.simulator.requests().pop().unwrap().body;
    assert_eq!(
        last["messages"][0]["content"],
        "You are Bot 3. You talk with Ada, Bob."
    );
    assert_eq!(
        last["messages"][1]["content"],
        "Tea or coffee?\n\nAda: Yes.\n\nBob: Yes."
    );
    app.close().await;
}

#[tokio::test]
async fn usage_is_summed_over_the_run() {
    let app = TestApp::spawn(Script::text("Hello.").usage(10, 3)).await;
    let id = app.start_run(2).await;
    let events = app.events(&id).await;
    let end = events.last().unwrap().json();
    assert_eq!(
        (
            end["usage"]["input_tokens"].as_u64(),
            end["usage"]["output_tokens"].as_u64()
        ),
        (Some(20), Some(6))
    );
    assert_eq!(
        (end["cost_usd"].clone(), end["cost_complete"].clone()),
        (Value::Null, json!(false))
    );
    app.close().await;
}

#[tokio::test]
async fn runs_beyond_the_limit_wait_as_queued_and_go_on_by_themselves() {
    let app = TestApp::with(
        Script::text("Hello."),
        json!({"orchestrator": {"max_live_runs": 2}}),
    )
    .await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(app.start_run(2).await);
    }
    for id in &ids {
        assert_eq!(names(&app.events(id).await).last(), Some(&"run.completed"));
    }
    app.close().await;
}

#[tokio::test]
async fn an_empty_answer_is_a_turn_and_is_not_shown_to_the_other() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    app.simulator
        .enqueue(Script::deltas([]).stop_reason("length"));
    let id = app.start_run(2).await;
    let events = app.events(&id).await;
    let first = events
        .iter()
        .find(|event| event.name == "turn.completed")
        .unwrap()
        .json();
    assert_eq!(
        (first["text"].as_str(), first["stop_reason"].as_str()),
        (Some(""), Some("max_tokens"))
    );
    assert_eq!(first["first_delta_ms"], Value::Null);
    assert_eq!(
        app.simulator.requests()[1].body["messages"][0]["content"][0]["text"],
        "Tea or coffee?"
    );
    app.close().await;
}

#[tokio::test]
async fn a_refusal_ends_a_talk_of_two() {
    let app = TestApp::spawn(Script::refusal("I would rather not.")).await;
    let id = app.start_run(6).await;
    let events = app.events(&id).await;
    assert_eq!(
        names(&events),
        [
            "run.started",
            "turn.started",
            "turn.completed",
            "run.completed"
        ]
    );
    let turn = events[2].json();
    assert_eq!(
        (turn["refusal"].as_str(), turn["text"].as_str()),
        (Some("I would rather not."), Some(""))
    );
    assert_eq!(events[3].json()["reason"], "refusal");
    app.close().await;
}

/// With more than two, the others go on as if it had not been said: a refusal's own words, and what came before it, are in no prompt.
#[tokio::test]
async fn a_refusal_among_three_is_left_out_and_the_next_one_speaks() {
    let app = TestApp::spawn(Script::text("Yes.")).await;
    app.simulator
        .enqueue(Script::refusal("I would rather not."));
    app.simulator
        .enqueue(Script::text("Half of it").stop_reason("refusal"));
    let mut order = talk(5);
    let third = json!({"provider": "openai", "model": "model-c"});
    order["bots"].as_array_mut().unwrap().push(third);
    let id = app.start(&order).await;
    let events = app.events(&id).await;
    let turns: Vec<Value> = events
        .iter()
        .filter(|event| event.name == "turn.completed")
        .map(crate::support::Event::json)
        .collect();
    let told: Vec<Value> = turns
        .iter()
        .map(|turn| json!([turn["stop_reason"], turn["text"], turn["refusal"]]))
        .collect();
    let yes = json!(["end_turn", "Yes.", null]);
    let expected = [
        json!(["refusal", "", "I would rather not."]),
        json!(["refusal", "Half of it", null]),
    ];
    assert_eq!(told[..2], expected);
    assert_eq!(told[2..], [yes.clone(), yes.clone(), yes]);
    assert_eq!(events.last().unwrap().json()["reason"], "max_turns");
    let export = app.export(&id).await;
    for (message, turn) in [(1, 0), (2, 1)] {
        let message = &export["messages"][message];
        assert_eq!(
            (&message["stop_reason"], &message["text"]),
            (&json!("refusal"), &turns[turn]["text"])
        );
    }
    let requests = app.simulator.requests();
    for request in &requests {
        let body = request.body.to_string();
        assert!(!body.contains("rather not") && !body.contains("Half"));
    }
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    assert_eq!(
        requests[2].body["messages"][1],
        said("user", "Tea or coffee?")
    );
    let ada = json!([said("user", "Tea or coffee?\n\nBot 3: Yes.")]);
    assert_eq!(
        requests[3].body["messages"].as_array().unwrap()[1..],
        *ada.as_array().unwrap()
    );
    app.close().await;
}

#[tokio::test]
async fn params_go_out_in_each_apis_own_field() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let mut order = talk(2);
    let mut params = json!({"max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "stop": ["END"]});
    order["bots"][1]["params"] = params.clone();
    params["seed"] = json!(7);
    order["bots"][0]["params"] = params;
    let id = app.post("/api/run", &order).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.events(&id).await;
    let bodies: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let picked = |body: &Value, names: &[&str]| {
        names
            .iter()
            .map(|name| body[*name].clone())
            .collect::<Value>()
    };
    let chat = picked(
        &bodies[0],
        &["max_tokens", "temperature", "top_p", "stop", "seed"],
    );
    assert_eq!(chat, json!([9, 0.5, 0.25, ["END"], 7]));
    let messages = picked(
        &bodies[1],
        &["max_tokens", "temperature", "top_p", "stop_sequences"],
    );
    assert_eq!(messages, json!([9, 0.5, 0.25, ["END"]]));
    app.close().await;
}
