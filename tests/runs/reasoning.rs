//! What models think: shown when asked for, apart from what they say, and never kept, sent or exported.

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::names;
use crate::support::{Event, Fold, TestApp, talk};

/// The order for a talk whose reasoning is shown.
fn shown(max_turns: u32) -> Value {
    let mut order = talk(max_turns);
    order["show_reasoning"] = json!(true);
    order
}

/// A Chat chunk with that delta.
fn chunk(delta: &Value) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": delta}]})
    )
}

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

/// The ids, kinds and texts of the deltas.
fn deltas(events: &[Event]) -> Vec<(String, bool, String)> {
    let told = |event: &Event| {
        let data = event.json();
        let thinks = match data.get("kind") {
            None => false,
            Some(kind) => kind == "reasoning",
        };
        (
            event.id.clone(),
            thinks,
            data["text"].as_str().unwrap().to_owned(),
        )
    };
    let all = events.iter().filter(|event| event.name == "turn.delta");
    all.map(told).collect()
}

fn thoughts(events: &[Event]) -> String {
    let all = deltas(events).into_iter();
    all.filter(|(_, thinks, _)| *thinks)
        .map(|(_, _, text)| text)
        .collect()
}

/// Each turn of three thoughts, two pieces of text and an end, seen from its first delta on.
async fn watch_two_turns(app: &TestApp, gate: &Gate, id: &str) -> Vec<Event> {
    let mut stream = app.stream(id, "").await;
    let mut events = Vec::new();
    for turn in 0..2 {
        let started =
            |event: &Event| event.name == "turn.started" && event.json()["turn"] == json!(turn);
        if !events.iter().any(started) {
            events.extend(stream.until(started).await);
        }
        gate.let_through(1);
        events.extend(stream.until(|event| event.name == "turn.delta").await);
        gate.let_through(5);
    }
    events.extend(stream.rest().await);
    events
}

#[tokio::test]
async fn reasoning_comes_as_deltas_of_its_own_kind() {
    let gate = Gate::closed();
    let script = Script::text("Yes, tea.").reasoning("They ask. Be kind.");
    let app = TestApp::spawn(script.gate(&gate)).await;
    let id = app.start(&shown(2)).await;
    let events = watch_two_turns(&app, &gate, &id).await;
    let lines: Vec<String> = events
        .iter()
        .map(|event| match event.name.as_str() {
            "turn.delta" => format!("{} {}", event.id, event.data),
            name => format!("{} {name} {}", event.id, event.json()["text"]),
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    1-0 run.started null
    2-0 turn.started null
    2-1 {"type":"turn.delta","turn":0,"bot_index":0,"kind":"reasoning","text":"They "}
    2-2 {"type":"turn.delta","turn":0,"bot_index":0,"kind":"reasoning","text":"ask. "}
    2-3 {"type":"turn.delta","turn":0,"bot_index":0,"kind":"reasoning","text":"Be kind."}
    2-4 {"type":"turn.delta","turn":0,"bot_index":0,"text":"Yes, "}
    2-5 {"type":"turn.delta","turn":0,"bot_index":0,"text":"tea."}
    3-0 turn.completed "Yes, tea."
    4-0 turn.started null
    4-1 {"type":"turn.delta","turn":1,"bot_index":1,"kind":"reasoning","text":"They "}
    4-2 {"type":"turn.delta","turn":1,"bot_index":1,"kind":"reasoning","text":"ask. "}
    4-3 {"type":"turn.delta","turn":1,"bot_index":1,"kind":"reasoning","text":"Be kind."}
    4-4 {"type":"turn.delta","turn":1,"bot_index":1,"text":"Yes, "}
    4-5 {"type":"turn.delta","turn":1,"bot_index":1,"text":"tea."}
    5-0 turn.completed "Yes, tea."
    6-0 run.completed null
    "#);
    app.close().await;
}

#[tokio::test]
async fn a_cursor_inside_reasoning_is_resumed_where_it_stands() {
    let gate = Gate::closed();
    let script = Script::text("Yes, tea.").reasoning("They ask. Be kind.");
    let app = TestApp::spawn(script.gate(&gate)).await;
    let id = app.start(&shown(1)).await;
    let mut first = app.stream(&id, "").await;
    first.until(|event| event.name == "turn.started").await;
    gate.let_through(3);
    first.until(|event| event.id == "2-3").await;
    let mut again = app.stream(&id, "2-1").await;
    let mut events = again.until(|event| event.id == "2-3").await;
    assert_eq!(events[0].id, "2-2");
    gate.open();
    events.extend(again.rest().await);
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["2-2", "2-3", "2-4", "2-5", "3-0", "4-0"]);
    assert_eq!(thoughts(&events), "ask. Be kind.");
    assert_eq!(
        Fold::of(&events).turns,
        Fold::turns_of(&app.export(&id).await)
    );
    // The attempt is over: its reasoning is gone as its text is.
    assert_eq!(app.stream(&id, "2-1").await.rest().await[0].id, "3-0");
    app.close().await;
}

/// Neither a bot's own reasoning nor another's is sent to a provider, kept, or exported; a changed bot does not know of it either.
#[tokio::test]
async fn reasoning_is_in_no_prompt_no_durable_event_and_no_export() {
    let gate = Gate::closed();
    let script = Script::text("Yes.").reasoning("A secret plan.");
    let app = TestApp::spawn(script.gate(&gate)).await;
    let started = app.post("/api/run", &shown(4)).await.json();
    assert_eq!(started["show_reasoning"], true);
    let id = started["run_id"].as_str().unwrap();
    let mut stream = app.stream(id, "").await;
    gate.let_through(1);
    let seen = stream.until(|event| event.name == "turn.delta").await;
    assert!(!thoughts(&seen).is_empty());
    let path = format!("/api/run/{id}/bot/0");
    let wild = json!({"system_prompt": "Be wild."});
    assert_eq!(app.patch(&path, &wild).await.status, 200);
    gate.open();
    stream.rest().await;
    let requests = app.simulator.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert!(!request.body.to_string().contains("secret"));
    }
    let durable = app.events(id).await;
    assert!(!durable.iter().any(|event| event.data.contains("secret")));
    let export = app.export(id).await;
    assert!(!export.to_string().contains("secret"));
    assert_eq!(export["show_reasoning"], true);
    assert_eq!(app.run(id).await["show_reasoning"], true);
    app.close().await;
}

#[tokio::test]
async fn without_being_asked_for_reasoning_is_not_shown() {
    let gate = Gate::closed();
    let script = Script::text("Hello.").reasoning("They want a greeting.");
    let app = TestApp::spawn(script.gate(&gate)).await;
    let mut order = talk(1);
    for asked in [None, Some(false)] {
        if let Some(asked) = asked {
            order["show_reasoning"] = json!(asked);
        }
        let id = app.start(&order).await;
        let mut stream = app.stream(&id, "").await;
        stream.until(|event| event.name == "turn.started").await;
        gate.let_through(4);
        let events = stream.until(|event| event.name == "turn.delta").await;
        assert_eq!(
            deltas(&events)[..1],
            [("2-1".to_owned(), false, "Hello.".to_owned())]
        );
        gate.let_through(1);
        stream.rest().await;
        assert_eq!(app.run(&id).await["show_reasoning"], false);
    }
    app.close().await;
}

/// What was shown is taken back, reasoning too; what was not shown need not be.
#[tokio::test]
async fn a_failure_after_reasoning_takes_it_back_only_where_it_was_shown() {
    let broken = || {
        let body = chunk(&json!({"reasoning_content": "Hm."}));
        Script::raw(body, "text/event-stream")
    };
    for (order, expected) in [
        (shown(1), &["error", "turn.restarted", "turn.completed"][..]),
        (talk(1), &["error", "turn.completed"]),
    ] {
        let app = TestApp::spawn(Script::text("All is well.")).await;
        app.simulator.enqueue(broken());
        let id = app.start(&order).await;
        let events = app.events(&id).await;
        let names = names(&events);
        assert_eq!(names[2..names.len() - 1], *expected);
        assert_eq!(
            Fold::of(&events).turns,
            Fold::turns_of(&app.export(&id).await)
        );
        app.close().await;
    }
}

#[tokio::test]
async fn an_answer_of_reasoning_alone_is_an_empty_turn() {
    for (order, seen) in [(shown(1), true), (talk(1), false)] {
        let script = Script::deltas([]).reasoning("Hm.").stop_reason("length");
        let app = TestApp::spawn(script).await;
        let id = app.start(&order).await;
        let events = app.events(&id).await;
        let turn = events
            .iter()
            .find(|event| event.name == "turn.completed")
            .unwrap()
            .json();
        assert_eq!(
            (turn["text"].as_str(), turn["stop_reason"].as_str()),
            (Some(""), Some("max_tokens"))
        );
        assert_eq!(
            turn["first_delta_ms"].is_u64(),
            seen,
            "the first delta shown"
        );
        app.close().await;
    }
}

#[tokio::test]
async fn reasoning_has_the_limit_of_a_text_beside_it() {
    let limits = json!({"limits": {"turn_text_bytes": 2000}});
    let piece = "again and again. ";
    let many =
        |field: &str, bytes: usize| chunk(&json!({field: piece})).repeat(bytes / piece.len());
    for order in [shown(1), talk(1)] {
        for (body, expected) in [
            (many("reasoning_content", 2_100) + STOP, "run.failed"),
            (
                many("reasoning_content", 1_900) + &many("content", 1_900) + STOP,
                "run.completed",
            ),
            (
                many("reasoning_content", 1_900) + &many("content", 2_100) + STOP,
                "run.failed",
            ),
        ] {
            let script = Script::raw(body, "text/event-stream");
            let app = TestApp::with(script, limits.clone()).await;
            let id = app.start(&order).await;
            let events = app.events(&id).await;
            let last = events.last().unwrap();
            assert_eq!(last.name, expected);
            if expected == "run.failed" {
                assert_eq!(last.json()["error"]["code"], "text_too_long");
            }
            app.close().await;
        }
    }
}

/// Some models think between their words: ids go on without a gap, and the text is what was said.
#[tokio::test]
async fn reasoning_between_pieces_of_text_leaves_no_gap() {
    let gate = Gate::closed();
    let body = ["content", "reasoning_content", "content", "reasoning"].map(|field| {
        let word = if field == "content" { "Ah. " } else { "Hm. " };
        chunk(&json!({field: word}))
    });
    let script = Script::raw(body.concat() + STOP, "text/event-stream");
    let app = TestApp::spawn(Script::default()).await;
    let last = Script::silent();
    app.simulator.enqueue(script.gate(&gate));
    app.simulator.enqueue(last);
    let id = app.start(&shown(2)).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "turn.started").await;
    gate.open();
    let events = stream.until(|event| event.name == "turn.completed").await;
    let expected: Vec<(String, bool, String)> = (1..)
        .zip([("Ah. ", false), ("Hm. ", true)].repeat(2))
        .map(|(n, (word, thinks))| (format!("2-{n}"), thinks, word.to_owned()))
        .collect();
    assert_eq!(deltas(&events), expected);
    assert_eq!(Fold::of(&events).turns[&0], "Ah. Ah. ");
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test]
async fn tags_mark_reasoning_for_the_provider_whose_settings_say_so() {
    let gate = Gate::closed();
    let script = Script::deltas(["<think>A pl", "an</think>\n\nYes,", " tea."]);
    let app = TestApp::with(
        script.gate(&gate),
        json!({"providers": {"openai": {"think_tags": true}}}),
    )
    .await;
    let id = app.start(&shown(2)).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "turn.started").await;
    gate.let_through(1);
    let mut events = stream.until(|event| event.name == "turn.delta").await;
    gate.open();
    events.extend(stream.rest().await);
    let own: Vec<_> = deltas(&events)
        .into_iter()
        .filter(|(id, ..)| id.starts_with("2-"))
        .collect();
    let expected = [
        ("2-1", true, "A pl"),
        ("2-2", true, "an"),
        ("2-3", false, "Yes,"),
        ("2-4", false, " tea."),
    ];
    assert_eq!(
        own,
        expected.map(|(id, thinks, text)| (id.to_owned(), thinks, text.to_owned()))
    );
    let export = app.export(&id).await;
    assert_eq!(export["messages"][1]["text"], "Yes, tea.");
    assert_eq!(
        export["messages"][2]["text"], "<think>A plan</think>\n\nYes, tea.",
        "without the setting the text stands as it came"
    );
    app.close().await;
}

/// Kept with the run: whoever goes on with it shows its reasoning, too.
#[tokio::test]
async fn a_run_goes_on_showing_its_reasoning_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parley.sqlite");
    let uri = format!("sqlite://{}?mode=rwc", file.display());
    let gate = Gate::closed();
    let script = || Script::text("Yes.").reasoning("They ask.");
    let at_once = json!({"orchestrator": {"drain_seconds": 1}});
    let app = TestApp::on(Some(&uri), script().gate(&gate), at_once.clone()).await;
    let id = app.start(&shown(1)).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(1);
    let seen = stream.until(|event| event.name == "turn.delta").await;
    assert_eq!(thoughts(&seen), "They ");
    app.parts().shut_down().await;
    drop(stream);
    app.close().await;

    let gate = Gate::closed();
    let app = TestApp::on(Some(&uri), script().gate(&gate), at_once).await;
    assert_eq!(app.run(&id).await["show_reasoning"], true);
    let mut stream = app.stream(&id, &seen.last().unwrap().id).await;
    let mut events = stream.until(|event| event.name == "turn.restarted").await;
    gate.let_through(1);
    events.extend(stream.until(|event| event.name == "turn.delta").await);
    gate.open();
    events.extend(stream.rest().await);
    assert_eq!(thoughts(&events), "They ask.");
    assert_eq!(app.export(&id).await["messages"][1]["text"], "Yes.");
    app.close().await;
}

/// Responses tells nothing of it unasked. Who cannot think is not asked: it would refuse the question.
#[tokio::test]
async fn reasoning_is_asked_for_where_it_is_shown_and_the_model_can_think() {
    let script = Script::text("Yes.").reasoning("They ask.");
    let settings = json!({"providers": {"openai": {"api": "responses"}}});
    let app = TestApp::with(script, settings).await;
    let mut order = talk(3);
    let bot = |model: &str, params: Value| json!({"provider": "openai", "model": model, "params": params});
    order["bots"] = json!([
        bot("gpt-6-luna", json!({"reasoning_effort": "low"})),
        bot("gpt-4.1", json!({})),
        bot("gpt-5.1", json!({"reasoning_effort": "none"})),
    ]);
    for show in [true, false] {
        order["show_reasoning"] = json!(show);
        let id = app.start(&order).await;
        app.events(&id).await;
    }
    let asked: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body["reasoning"].clone())
        .collect();
    let (low, none) = (json!({"effort": "low"}), json!({"effort": "none"}));
    let told = json!({"effort": "low", "summary": "auto"});
    assert_eq!(
        asked,
        [told, Value::Null, none.clone(), low, Value::Null, none]
    );
    app.close().await;
}
