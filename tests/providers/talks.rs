//! Talks between bots of all four APIs, through the whole application and real HTTP on both sides.

use std::time::Duration;

use parley::simulator::{Gate, Script, Simulator};
use serde_json::{Value, json};

use crate::support::{Fold, TestApp, talk, within};

/// The providers, by the API that each is asked by, and the paths of their requests.
const APIS: [(&str, &str); 4] = [
    ("openai", "/v1/chat/completions"),
    ("by-responses", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("gemini", "/v1beta/models/{model}:streamGenerateContent"),
];

/// An application with a provider for each API, which answers at `simulator`.
async fn app(simulator: &Simulator) -> TestApp {
    let provider =
        json!({"kind": "openai", "api": "responses", "base_url": simulator.openai_base_url()});
    let settings = json!({"providers": {
        "by-responses": provider,
        "openai": {"base_url": simulator.openai_base_url()},
        "anthropic": {"base_url": simulator.anthropic_base_url()},
        "gemini": {"base_url": simulator.gemini_base_url()},
    }});
    TestApp::with(Script::default(), settings).await
}

async fn simulator(script: Script) -> Simulator {
    Simulator::start(([127, 0, 0, 1], 0).into(), script)
        .await
        .unwrap()
}

async fn start(app: &TestApp, providers: [&str; 2], max_turns: u32) -> String {
    let mut order = talk(max_turns);
    for (bot, provider) in providers.into_iter().enumerate() {
        order["bots"][bot]["provider"] = json!(provider);
    }
    let answer = app.post("/api/run", &order).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bot_on_each_api_talks_to_a_bot_on_each_other() {
    let simulator = simulator(Script::dialogue(0.001)).await;
    let app = app(&simulator).await;
    let mut paths = Vec::new();
    for (first, first_path) in APIS {
        for (second, second_path) in APIS {
            let id = start(&app, [first, second], 4).await;
            let events = app.events(&id).await;
            let export = app.export(&id).await;
            assert_eq!(
                Fold::of(&events).turns,
                Fold::turns_of(&export),
                "{first} and {second}"
            );
            let run = app.run(&id).await;
            assert_eq!(
                (run["status"].as_str(), run["turns"].as_u64()),
                (Some("completed"), Some(4)),
                "{first} and {second}"
            );
            assert!(run["usage"]["output_tokens"].as_u64() > Some(40), "{run}");
            let first_path = first_path.replace("{model}", "model-a");
            let second_path = second_path.replace("{model}", "model-b");
            let pair = [first_path, second_path];
            paths.extend(pair.iter().chain(&pair).cloned());
        }
    }
    let asked: Vec<String> = simulator
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(asked, paths);
    app.close().await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_bot_by_responses_is_shown_its_side_of_the_talk_and_nothing_is_stored() {
    let simulator = simulator(Script::default()).await;
    for words in ["One.", "Two. ", "Three.", "Four."] {
        simulator.enqueue(Script::text(words).reasoning("Hm."));
    }
    let app = app(&simulator).await;
    let id = start(&app, ["anthropic", "by-responses"], 4).await;
    app.events(&id).await;
    let bodies: Vec<Value> = simulator
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let said = |role: &str, text: &str| json!({"type": "message", "role": role, "content": text});
    assert_eq!(
        bodies[3],
        json!({
            "model": "model-b",
            "instructions": "Be brief.",
            "input": [
                said("user", "Tea or coffee?\n\nOne."),
                said("assistant", "Two."),
                said("user", "Three."),
            ],
            "store": false,
            "stream": true,
        })
    );
    app.close().await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_answer_by_responses_closes_its_request() {
    let gate = Gate::closed();
    let simulator = simulator(Script::deltas(["Half ", "a ", "sentence"]).gate(&gate)).await;
    let app = app(&simulator).await;
    let id = start(&app, ["by-responses", "anthropic"], 4).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(2);
    stream.until(|event| event.id == "2-2").await;
    assert_eq!(simulator.open(), 1);
    let answer = app.stop(&id).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // The server closes its end before it answers; the simulator may see that a moment later.
    let closed = simulator.wait_for(|activity| activity.open == 0);
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("still open");
    let message = &app.export(&id).await["messages"][1];
    assert_eq!(
        (message["text"].as_str(), message["status"].as_str()),
        (Some("Half a "), Some("interrupted"))
    );
    app.close().await;
    simulator.stop().await;
}

/// Every way in which a provider can fail is met by this API's bots as by the others'.
#[tokio::test]
async fn what_responses_do_wrong_is_told_and_tried_again() {
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\
                  \"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let simulator = simulator(Script::text("All is well.").usage(10, 4)).await;
    let app = app(&simulator).await;
    for (fault, code, input_tokens) in [
        (Script::status(529), "overloaded", 10),
        (
            Script::status(429).header("retry-after", "0"),
            "rate_limited",
            10,
        ),
        (Script::text("Half").cut_after_bytes(1800), "truncated", 10),
        (
            Script::text("Half").abort_after_bytes(1800),
            "truncated",
            10,
        ),
        (Script::raw("<html>", "text/html"), "malformed", 10),
        (Script::raw(failed, "text/event-stream"), "server", 13),
    ] {
        simulator.enqueue(fault);
        let id = start(&app, ["by-responses", "anthropic"], 1).await;
        let events = app.events(&id).await;
        let error = events.iter().find(|event| event.name == "error").unwrap();
        assert_eq!(error.json()["code"], code);
        let run = within("the run", app.run(&id)).await;
        assert_eq!(run["status"], "completed", "{code}");
        assert_eq!(run["usage"]["input_tokens"], input_tokens, "{code}: {run}");
    }
    app.close().await;
    simulator.stop().await;
}
