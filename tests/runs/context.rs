//! Talks that outgrow a model's context window, through the real HTTP on both sides.

use std::time::Duration;

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::names;
use crate::support::{Event, Fold, TestApp, talk, within};

/// Twenty words, which the simulator bills as 26 tokens.
fn long(word: &str) -> String {
    vec![word; 20].join(" ")
}

/// Three hundred words: four such turns are worth a summary.
fn longer(word: &str) -> String {
    vec![word; 300].join(" ")
}

/// Two turns of the first bot that are long, and a third one that is called too long.
fn grow(app: &TestApp) {
    for text in [longer("tea0"), longer("tea2")] {
        app.simulator.enqueue_for("model-a", Script::text(&text));
    }
    app.simulator
        .enqueue_for("model-a", Script::text("unheard").window(1));
}

fn order(turns: u32, policy: &str) -> Value {
    let mut order = talk(turns);
    order["context_policy"] = json!(policy);
    order
}

fn of<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name == name).collect()
}

/// What each request's messages say, joined: Chat and Messages alike.
fn prompts(app: &TestApp, model: &str) -> Vec<Vec<String>> {
    let requests = app.simulator.requests().into_iter();
    let of_model = requests.filter(|seen| seen.body["model"] == model);
    of_model
        .map(|seen| {
            let messages = seen.body["messages"].as_array().unwrap();
            let text = |message: &Value| match &message["content"] {
                Value::String(text) => text.clone(),
                blocks => blocks[0]["text"].as_str().unwrap().to_owned(),
            };
            let said = messages.iter().filter(|m| m["role"] != "system");
            said.map(text).collect()
        })
        .collect()
}

#[tokio::test]
async fn a_run_that_outgrows_a_window_fails_with_the_providers_own_word_unless_it_says_otherwise() {
    let app = TestApp::spawn(Script::text(&long("tea")).window(60)).await;
    for order in [talk(6), order(6, "fail")] {
        let id = app.start(&order).await;
        let events = app.events(&id).await;
        let failed = events.last().unwrap().json();
        assert_eq!(failed["error"]["code"], "context_exceeded");
        assert!(
            failed["error"]["message"]
                .as_str()
                .unwrap()
                .contains("prompt is too long"),
            "{failed}"
        );
        assert_eq!(app.run(&id).await["context_policy"], "fail");
        assert_eq!(of(&events, "context.truncated").len(), 0);
    }
    app.close().await;
}

/// The topic stays, the oldest messages go, many at once, and from there on prompts only grow again.
#[tokio::test]
async fn truncating_keeps_the_topic_and_goes_on() {
    let app = TestApp::spawn(Script::text(&long("tea")).window(150)).await;
    let id = app.start(&order(16, "truncate_oldest")).await;
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().name, "run.completed");
    let export = app.export(&id).await;
    assert_eq!(export["context_policy"], "truncate_oldest");
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    assert_eq!(Fold::turns_of(&export).len(), 16, "nothing is lost of it");

    let cuts = of(&events, "context.truncated");
    let refused = of(&events, "error");
    assert!(cuts.len() > 2, "{cuts:?}");
    assert_eq!(cuts.len(), refused.len());
    for (cut, error) in cuts.iter().zip(&refused) {
        let (cut, error) = (cut.json(), error.json());
        assert_eq!(
            (&error["code"], &error["retry_in_ms"], &error["turn"]),
            (&json!("context_exceeded"), &json!(0), &cut["turn"])
        );
        assert!(cut["kept_from_turn"].as_u64() < cut["turn"].as_u64());
    }
    let told: Vec<&Value> = export["messages"].as_array().unwrap().iter().collect();
    let told: Vec<&&Value> = told
        .iter()
        .filter(|message| message["kind"] == "truncation")
        .collect();
    let first = cuts[0].json();
    assert_eq!(told.len(), cuts.len());
    assert_eq!(
        (&told[0]["turn"], &told[0]["text"], &told[0]["before_turn"]),
        (&Value::Null, &json!(""), &first["turn"])
    );
    assert_eq!(told[0]["kept_from_turn"], first["kept_from_turn"]);

    for model in ["model-a", "model-b"] {
        let prompts = prompts(&app, model);
        let mut begun_anew = 0;
        for pair in prompts.windows(2) {
            assert!(pair[1][0].starts_with("Tea or coffee?"), "the topic stays");
            if !pair[1].concat().starts_with(&pair[0].concat()) {
                begun_anew += 1;
                assert!(
                    pair[1].concat().len() * 3 < pair[0].concat().len() * 2,
                    "a cut is deep"
                );
            }
        }
        let own = cuts.iter().filter(|cut| {
            let bot = u64::from(model == "model-b");
            cut.json()["bot_index"] == bot
        });
        assert_eq!(begun_anew, own.count(), "{prompts:?}");
    }
    app.close().await;
}

/// A summary is asked for in the bot's own prompt, shown whole and at once, counted, and stands where what it sums up stood.
#[tokio::test]
async fn a_summary_stands_in_the_place_of_what_it_sums_up() {
    let app = TestApp::spawn(Script::text(&longer("tea"))).await;
    grow(&app);
    let summary = Script::text("They like tea.").usage(90, 4);
    app.simulator.enqueue_for("model-a", summary);
    let mut order = order(6, "summarise");
    order["bots"][0]["params"] = json!({"stop": ["tea"], "max_tokens": 60});
    let id = app.start(&order).await;
    let events = app.events(&id).await;
    let turn = ["turn.started", "turn.completed"];
    let mut expected = vec!["run.started"];
    expected.extend(turn.repeat(4));
    expected.extend([
        "turn.started",
        "error",
        "context.summarised",
        "turn.completed",
    ]);
    expected.extend(turn);
    expected.push("run.completed");
    assert_eq!(names(&events), expected);

    let mut event = of(&events, "context.summarised")[0].json();
    event["at"] = json!("…");
    event["duration_ms"] = json!("…");
    insta::assert_json_snapshot!(event, @r#"
    {
      "at": "…",
      "attempt": 2,
      "bot_index": 0,
      "cost_usd": null,
      "duration_ms": "…",
      "kept_from_turn": 1,
      "model": "model-a",
      "provider": "openai",
      "stop_reason": "end_turn",
      "text": "They like tea.",
      "turn": 4,
      "type": "context.summarised",
      "usage": {
        "cache_write_tokens": null,
        "cached_input_tokens": 0,
        "input_tokens": 90,
        "output_tokens": 4,
        "reasoning_tokens": 0
      }
    }
    "#);

    check_prompts(&app);

    let export = app.export(&id).await;
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    let messages = export["messages"].as_array().unwrap();
    let at = messages
        .iter()
        .position(|m| m["kind"] == "summary")
        .unwrap();
    let summary = &messages[at];
    assert_eq!(
        messages[at + 1]["turn"],
        4,
        "it comes before the turn it was made for"
    );
    assert_eq!(
        (&summary["text"], &summary["author"], &summary["turn"]),
        (&json!("They like tea."), &json!("Ada"), &Value::Null)
    );
    // Money is counted whole: three turns of the bot, the refusal, and the summary.
    assert_eq!(export["bots"][0]["total"]["attempts"], 5);
    let spoken: u64 = messages
        .iter()
        .filter_map(|m| m["usage"]["input_tokens"].as_u64())
        .sum();
    assert_eq!(export["usage"]["input_tokens"], spoken);
    app.close().await;
}

/// The summary's prompt begins as the one before, so that the provider's cache is hit; the next one has the summary.
fn check_prompts(app: &TestApp) {
    let prompts = prompts(app, "model-a");
    let [refused, asked, spoken] = &prompts[2..5] else {
        panic!("{prompts:?}")
    };
    assert_eq!(asked[..2], refused[..2]);
    assert!(asked[2].contains("write a summary"), "{asked:?}");
    assert_eq!(asked.len(), 3);
    assert_eq!(
        spoken[0],
        format!(
            "Tea or coffee?\n\nWhat was said until then, in short:\n\nThey like tea.\n\n{}",
            longer("tea")
        )
    );
    assert_eq!(spoken[1..], [longer("tea2"), longer("tea")]);
    // What bounds a turn does not bound the summary.
    let bounds: Vec<(Value, Value)> = app.simulator.requests()[4..7]
        .iter()
        .map(|seen| (seen.body["stop"].clone(), seen.body["max_tokens"].clone()))
        .collect();
    let own = (json!(["tea"]), json!(60));
    assert_eq!(bounds, [own.clone(), (Value::Null, Value::Null), own]);
}

/// A known window is respected before anything is refused.
#[tokio::test]
async fn a_known_window_cuts_before_the_provider_refuses() {
    let models = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        models.path(),
        "openai: {models: {model-a: {context_window: 200}}}\nanthropic: {models: {model-b: {context_window: 200}}}\n",
    )
    .unwrap();
    let settings = json!({"models_file": models.path()});
    let app = TestApp::with(Script::text(&long("tea")).window(150), settings).await;
    let id = app.start(&order(16, "truncate_oldest")).await;
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().name, "run.completed");
    assert!(of(&events, "context.truncated").len() > 2);
    assert_eq!(of(&events, "error").len(), 0, "nobody had to refuse");
    app.close().await;
}

/// A model that writes none costs one request, and the run goes on with the newest messages.
#[tokio::test]
async fn where_no_summary_is_written_the_oldest_messages_are_left_out() {
    let models = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        models.path(),
        "openai: {models: {model-a: {prices: [{from: 2026-01-01, input: 1, cached_input: 1, output: 1}]}}}\n",
    )
    .unwrap();
    let settings = json!({"models_file": models.path(), "retry": {"max_attempts": 1}});
    for none in [
        Script::text("  "),
        Script::refusal("No."),
        Script::text("They like").stop_reason("length"),
        Script::endless("and so on "),
    ] {
        let app = TestApp::with(Script::text(&longer("tea")), settings.clone()).await;
        grow(&app);
        app.simulator.enqueue_for("model-a", none);
        let id = app.start(&order(5, "summarise")).await;
        let events = app.events(&id).await;
        let codes: Vec<Value> = of(&events, "error")
            .iter()
            .map(|event| event.json()["code"].clone())
            .collect();
        assert_eq!(codes, ["context_exceeded", "no_summary"]);
        assert_eq!(events.last().unwrap().name, "run.completed");
        assert_eq!(of(&events, "context.truncated").len(), 1);
        let completed = of(&events, "turn.completed");
        assert_eq!(completed[4].json()["text"], longer("tea"));
        // All is known of what was refused, and of what was counted to its end.
        let total = &app.export(&id).await["bots"][0]["total"];
        let endless = of(&events, "error")[1].json()["cost_usd"].is_null();
        assert_eq!(
            (&total["attempts"], &total["cost_complete"]),
            (&json!(5), &json!(!endless))
        );
        app.close().await;
    }
}

/// What a stop cuts off is no text of the turn, and no summary either.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_a_summary_leaves_nothing_of_it() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text(&longer("tea"))).await;
    grow(&app);
    let summary = Script::deltas(["They ", "like ", "tea."]).usage(90, 4);
    app.simulator.enqueue_for("model-a", summary.gate(&gate));
    let id = app.start(&order(6, "summarise")).await;
    let mut stream = app.stream(&id, "").await;
    let mut events = stream.until(|event| event.name == "error").await;
    within(
        "the summary",
        app.simulator
            .wait_for(|activity| activity.seen == 6 && activity.open == 1),
    )
    .await;
    let asked = app.simulator.requests().pop().unwrap().body.to_string();
    assert!(asked.contains("write a summary"), "{asked}");
    gate.let_through(2);
    assert_eq!(app.stop(&id).await.status, 200);
    let closed = app.simulator.wait_for(|activity| activity.open == 0);
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("still open");
    events.extend(stream.rest().await);
    let interrupted = of(&events, "turn.interrupted")[0].json();
    assert_eq!(interrupted["text"], "");
    assert_eq!(interrupted["usage"]["input_tokens"], Value::Null);
    let deltas = of(&events, "turn.delta");
    assert!(!deltas.iter().any(|event| event.data.contains("They")));
    assert!(!app.export(&id).await.to_string().contains("They"));
    app.close().await;
}

/// A change while a summary is written counts from the bot's next turn on, as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_a_summary_is_written_waits_for_the_next_turn() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text(&longer("tea"))).await;
    grow(&app);
    let summary = Script::text("They like tea.").gate(&gate);
    app.simulator.enqueue_for("model-a", summary);
    let id = app.start(&order(7, "summarise")).await;
    within(
        "the summary",
        app.simulator
            .wait_for(|activity| activity.seen == 6 && activity.open == 1),
    )
    .await;
    let change = json!({"system_prompt": "Be wild."});
    let answer = app.patch(&format!("/api/run/{id}/bot/0"), &change).await;
    assert_eq!(answer.json()["effective_from_turn"], 6);
    gate.open();
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().name, "run.completed");
    let wild: Vec<bool> = app
        .simulator
        .requests()
        .iter()
        .map(|seen| seen.body.to_string().contains("wild"))
        .collect();
    // Four turns, the refusal, the summary, the turn itself, the other's, and then the changed one.
    assert_eq!(
        wild,
        [false, false, false, false, false, false, false, false, true]
    );
    app.close().await;
}

/// A change of the bot does not bring back what was cut; a larger window does not either: prompts only grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stays_when_its_bot_is_changed() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::text(&longer("tea"))).await;
    grow(&app);
    let held = Script::text("Hm.").gate(&gate);
    app.simulator.enqueue_for("model-a", held);
    let id = app.start(&order(7, "truncate_oldest")).await;
    let mut stream = app.stream(&id, "").await;
    stream
        .until(|event| event.name == "context.truncated")
        .await;
    let change = json!({"model": "model-c", "system_prompt": "Be wild."});
    let answer = app.patch(&format!("/api/run/{id}/bot/0"), &change).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    gate.open();
    stream.rest().await;
    let (before, after) = (prompts(&app, "model-a"), prompts(&app, "model-c"));
    let (before, after) = (before.last().unwrap(), &after[0]);
    assert!(after.concat().starts_with(&before.concat()), "{after:?}");
    app.close().await;
}
