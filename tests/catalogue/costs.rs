//! What things cost: worked out by hand in whole 10⁻¹² dollars, and compared to the last digit.

use parley::{
    conversation::{Params, Timestamp},
    simulator::{Gate, Script},
};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use super::{ModelsFile, ours};
use crate::{
    providers::{ANTHROPIC, OPENAI, hear, recorded::canned},
    support::{Event, TestApp, talk},
};

/// The sources of our prices were read by then.
const THEN: &str = "2026-11-24T12:00:00Z";

/// A body, who answers with it, and what it costs. One dollar for a million tokens is 1,000,000 · 10⁻¹² dollars for one.
const RECORDED: [(&str, &str, &str, Option<u64>); 16] = [
    // gpt-6-sol: 2 in, 0.20 cached, 2.50 written, 10 out.
    (
        "openai_chat/normal.sse",
        OPENAI,
        "gpt-6-sol",
        Some(31 * 2_000_000 + 6 * 10_000_000),
    ),
    (
        "openai_chat/normal_cached_usage.sse",
        OPENAI,
        "gpt-6-sol",
        Some((2310 - 2048 - 240) * 2_000_000 + 2048 * 200_000 + 240 * 2_500_000 + 6 * 10_000_000),
    ),
    (
        "openai_chat/multibyte.sse",
        OPENAI,
        "gpt-6-sol",
        Some(40 * 2_000_000 + 22 * 10_000_000),
    ),
    // Reasoning is output.
    (
        "openai_chat/reasoning_ate_budget.sse",
        OPENAI,
        "gpt-6-sol",
        Some(31 * 2_000_000 + 256 * 10_000_000),
    ),
    (
        "openai_compat/groq_x_groq.sse",
        OPENAI,
        "gpt-6-sol",
        Some(7 * 2_000_000 + 2 * 10_000_000),
    ),
    (
        "openai_compat/deepseek_reasoning_content.sse",
        OPENAI,
        "gpt-6-sol",
        Some(5 * 2_000_000 + 12 * 10_000_000),
    ),
    // Nothing was said, or nothing is known.
    ("openai_chat/no_usage.sse", OPENAI, "gpt-6-sol", None),
    ("openai_chat/normal.sse", OPENAI, "gpt-5.6-sol", None),
    // gpt-6-luna: 0.10 in, 0.50 out.
    (
        "openai_chat/normal.sse",
        OPENAI,
        "gpt-6-luna",
        Some(31 * 100_000 + 6 * 500_000),
    ),
    // claude-opus-5-5: 4 in, 20 out; also for what broke off, as far as it was counted.
    (
        "anthropic/normal.sse",
        ANTHROPIC,
        "claude-opus-5-5",
        Some(31 * 4_000_000 + 9 * 20_000_000),
    ),
    (
        "anthropic/error_overloaded_midstream.sse",
        ANTHROPIC,
        "claude-opus-5-5",
        Some(31 * 4_000_000 + 20_000_000),
    ),
    // claude-sonnet-5-5: 2 in, 0.10 cached, 10 out.
    (
        "anthropic/refusal.sse",
        ANTHROPIC,
        "claude-sonnet-5-5",
        Some(31 * 2_000_000 + 5 * 10_000_000),
    ),
    (
        "captured_llama_server/messages.sse",
        ANTHROPIC,
        "claude-sonnet-5-5",
        Some(2_000_000 + 21 * 100_000 + 12 * 10_000_000),
    ),
    (
        "anthropic/context_window_exceeded.sse",
        ANTHROPIC,
        "claude-sonnet-5-5",
        Some(199_990 * 2_000_000 + 10 * 10_000_000),
    ),
    // claude-haiku-5-5: 0.10 in, 0.50 out, for prompts up to 100,000 tokens, and 0.50 and 2.50 for longer ones.
    (
        "anthropic/thinking.sse",
        ANTHROPIC,
        "claude-haiku-5-5",
        Some(31 * 100_000 + 44 * 500_000),
    ),
    (
        "anthropic/context_window_exceeded.sse",
        ANTHROPIC,
        "claude-haiku-5-5",
        Some(199_990 * 500_000 + 10 * 2_500_000),
    ),
];

#[tokio::test]
async fn the_costs_of_recorded_answers_are_those_of_the_arithmetic() {
    let catalogue = ours();
    let at: Timestamp = THEN.parse().unwrap();
    for (body, kind, model, cost) in RECORDED {
        let usage = hear(kind, canned(body)).await.usage;
        let pricing = catalogue.pricing(kind, model, &Params::default(), at);
        let known = pricing.and_then(|pricing| pricing.cost(usage));
        assert_eq!(
            known.map(|cost| cost.picos()),
            cost,
            "{body} by {model}: {usage:?}"
        );
    }
}

/// What two models of nobody's cost.
fn prices() -> ModelsFile {
    ModelsFile::new(
        "openai:\n\
         \x20 models:\n\
         \x20   model-a:\n\
         \x20     prices:\n\
         \x20       - {from: 2020-01-01, input: 1.5, cached_input: 0.15, output: 6.000001}\n\
         \x20       - {from: 2999-01-01, input: 1, output: 1}\n\
         anthropic:\n\
         \x20 models:\n\
         \x20   model-b:\n\
         \x20     prices:\n\
         \x20       - {from: 2020-01-01, input: 0.8, cached_input: 0.08, cache_write_5m: 1, cache_write_1h: 1.6, output: 4}\n",
    )
}

/// What each event of that name says of money, as it stands there.
fn costs<'e>(events: &'e [Event], name: &str) -> Vec<&'e str> {
    let named = events.iter().filter(|event| event.name == name);
    named
        .map(|event| {
            let (_, rest) = event.data.split_once("\"cost_usd\":").unwrap();
            rest.split([',', '}']).next().unwrap()
        })
        .collect()
}

/// The sums of a turn, a bot or a run.
fn sums(value: &Value) -> (Option<u64>, String, bool) {
    (
        value["attempts"].as_u64(),
        value["cost_usd"].to_string(),
        value["cost_complete"].as_bool().unwrap(),
    )
}

/// The column, by turn and attempt.
async fn attempts(app: &TestApp) -> Vec<Option<i64>> {
    let db = &app.ctx.db;
    let query = "SELECT cost FROM attempts ORDER BY run_id, turn, attempt";
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

#[tokio::test]
async fn a_talk_whose_prices_are_known_is_paid_to_the_last_digit() {
    let file = prices();
    let app = TestApp::with(Script::text("Hello.").usage(10, 3), file.settings()).await;
    let id = app.start_run(2).await;
    let events = app.events(&id).await;
    // 10 · 1,500,000 + 3 · 6,000,001 = 33,000,003, and 10 · 800,000 + 3 · 4,000,000 = 20,000,000.
    assert_eq!(
        costs(&events, "turn.completed"),
        ["0.000033000003", "0.00002"]
    );
    assert_eq!(costs(&events, "run.completed"), ["0.000053000003"]);
    assert_eq!(events.last().unwrap().json()["cost_complete"], true);
    assert_eq!(attempts(&app).await, [Some(33_000_003), Some(20_000_000)]);

    let run = app.get(&format!("/api/run/{id}")).await;
    assert!(
        run.text
            .contains("\"cost_usd\":0.000053000003,\"cost_complete\":true"),
        "{}",
        run.text
    );
    let run = run.json();
    assert_eq!(
        sums(&run["bots"][0]["total"]),
        (Some(1), "0.000033000003".into(), true)
    );
    assert_eq!(
        app.get("/api/run").await.json()["runs"][0]["cost_usd"],
        run["cost_usd"]
    );
    app.close().await;
}

#[tokio::test]
async fn an_attempt_given_up_is_paid_too() {
    let file = prices();
    let app = TestApp::with(Script::text("Hello.").usage(10, 3), file.settings()).await;
    let half = json!({
        "choices": [{"delta": {"content": "Half"}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 40}},
    });
    app.simulator.enqueue(Script::raw(
        format!("data: {half}\n\n"),
        "text/event-stream",
    ));
    let id = app.start_run(2).await;
    let events = app.events(&id).await;
    // 60 · 1,500,000 + 40 · 150,000 + 7 · 6,000,001 = 138,000,007.
    assert_eq!(costs(&events, "error"), ["0.000138000007"]);
    assert_eq!(costs(&events, "turn.restarted"), ["0.000138000007"]);
    assert_eq!(
        costs(&events, "turn.completed"),
        ["0.000033000003", "0.00002"]
    );
    // 138,000,007 + 33,000,003 + 20,000,000 = 191,000,010.
    assert_eq!(costs(&events, "run.completed"), ["0.00019100001"]);
    let end = events.last().unwrap().json();
    assert_eq!(
        end["cost_complete"], false,
        "nobody knows what else was counted before it broke off"
    );
    assert_eq!(
        attempts(&app).await,
        [Some(138_000_007), Some(33_000_003), Some(20_000_000)]
    );

    let export = app.export(&id).await;
    assert_eq!(sums(&export), (None, "0.00019100001".into(), false));
    // 138,000,007 + 33,000,003 = 171,000,010.
    let first = (Some(2), "0.00017100001".to_owned(), false);
    let second = (Some(1), "0.00002".to_owned(), true);
    let turn = |at: usize| &export["messages"][at]["total"];
    let bot = |at: usize| &export["bots"][at]["total"];
    assert_eq!(
        (sums(turn(1)), sums(turn(2))),
        (first.clone(), second.clone())
    );
    assert_eq!((sums(bot(0)), sums(bot(1))), (first, second));
    assert_eq!(
        export["messages"][1]["cost_usd"].to_string(),
        "0.000033000003"
    );
    assert_eq!(
        (turn(0), &turn(1)["usage"]["output_tokens"]),
        (&Value::Null, &json!(10))
    );
    app.close().await;
}

/// The order in which the second bot of the usual talk speaks first.
fn anthropic_first() -> Value {
    let mut order = talk(2);
    order["bots"].as_array_mut().unwrap().reverse();
    order
}

async fn start(app: &TestApp, order: &Value) -> String {
    let answer = app.post("/api/run", order).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_counted_before_a_stop_is_paid() {
    let file = prices();
    let gate = Gate::closed();
    let script = Script::deltas(["Half ", "a ", "sentence"])
        .usage(12, 99)
        .gate(&gate);
    let app = TestApp::with(script, file.settings()).await;
    let id = start(&app, &anthropic_first()).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(1);
    stream.until(|event| event.name == "turn.delta").await;
    app.stop(&id).await;
    let events = stream.rest().await;
    // Messages says at once what went in, and one token out: 12 · 800,000 + 4,000,000 = 13,600,000.
    assert_eq!(costs(&events, "turn.interrupted"), ["0.0000136"]);
    assert_eq!(costs(&events, "run.stopped"), ["0.0000136"]);
    assert_eq!(events.last().unwrap().json()["cost_complete"], false);
    assert_eq!(attempts(&app).await, [Some(13_600_000)]);

    // Chat says nothing before its end.
    let id = app.start_run(2).await;
    let mut stream = app.stream(&id, "").await;
    gate.let_through(1);
    stream.until(|event| event.name == "turn.delta").await;
    app.stop(&id).await;
    let events = stream.rest().await;
    assert_eq!(costs(&events, "turn.interrupted"), ["null"]);
    assert_eq!(costs(&events, "run.stopped"), ["null"]);
    app.close().await;
}

#[tokio::test]
async fn what_was_counted_before_a_failure_is_paid() {
    let file = prices();
    let mut settings = file.settings();
    settings["retry"] = json!({"max_attempts": 1});
    let app = TestApp::with(Script::default(), settings).await;
    let start_frame = json!({"type": "message_start", "message": {"usage": {
        "input_tokens": 31, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1,
    }}});
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let body = format!("data: {start_frame}\n\ndata: {error}\n\n");
    app.simulator
        .enqueue(Script::raw(body, "text/event-stream"));
    let id = start(&app, &anthropic_first()).await;
    let events = app.events(&id).await;
    // 31 · 800,000 + 5 · 80,000 + 2 · 1,000,000 + 4,000,000 = 31,200,000.
    for name in ["error", "turn.failed", "run.failed"] {
        assert_eq!(costs(&events, name), ["0.0000312"], "{name}");
    }
    assert_eq!(
        sums(&app.export(&id).await["messages"][1]["total"]),
        (Some(1), "0.0000312".into(), false)
    );

    // A request that was refused before its answer began is not charged.
    app.simulator.enqueue(Script::status(400));
    let id = start(&app, &anthropic_first()).await;
    let events = app.events(&id).await;
    assert_eq!(costs(&events, "run.failed"), ["0"]);
    assert_eq!(events.last().unwrap().json()["cost_complete"], true);
    assert_eq!(attempts(&app).await, [Some(31_200_000), Some(0)]);
    // One that failed over there may be.
    app.simulator.enqueue(Script::status(500));
    let id = start(&app, &anthropic_first()).await;
    let events = app.events(&id).await;
    assert_eq!(costs(&events, "run.failed"), ["null"]);
    assert_eq!(events.last().unwrap().json()["cost_complete"], false);
    app.close().await;
}

#[tokio::test]
async fn where_a_price_is_missing_the_sum_of_the_others_stands() {
    let file = prices();
    let app = TestApp::with(Script::text("Hello.").usage(10, 3), file.settings()).await;
    let mut order = talk(3);
    order["bots"][0]["model"] = json!("model-of-no-price");
    let id = start(&app, &order).await;
    let events = app.events(&id).await;
    assert_eq!(
        costs(&events, "turn.completed"),
        ["null", "0.00002", "null"]
    );
    assert_eq!(costs(&events, "run.completed"), ["0.00002"]);
    let run = app.run(&id).await;
    assert_eq!(
        sums(&run["bots"][0]["total"]),
        (Some(2), "null".into(), false)
    );
    assert_eq!(
        sums(&run["bots"][1]["total"]),
        (Some(1), "0.00002".into(), true)
    );

    // Another tier has another price, which nobody has said.
    order["bots"][0]["model"] = json!("model-a");
    order["bots"][0]["params"] = json!({"service_tier": "priority"});
    let id = start(&app, &order).await;
    assert_eq!(
        costs(&app.events(&id).await, "turn.completed"),
        ["null", "0.00002", "null"]
    );
    order["bots"][0]["params"] = json!({"service_tier": "default"});
    let id = start(&app, &order).await;
    assert_eq!(
        costs(&app.events(&id).await, "run.completed"),
        ["0.000086000006"]
    );
    app.close().await;
}

#[tokio::test]
async fn an_attempt_is_paid_at_the_price_of_the_model_that_was_asked() {
    let file = prices();
    let mut settings = file.settings();
    settings["retry"] = json!({"max_attempts": 1});
    let app = TestApp::with(Script::text("Hello.").usage(10, 3), settings).await;
    let half = json!({"choices": [{"delta": {"content": "Half"}}], "usage": {"prompt_tokens": 100, "completion_tokens": 7}});
    let half = Script::raw(format!("data: {half}\n\n"), "text/event-stream");
    app.simulator.enqueue_for("model-a", half);
    let mut order = talk(1);
    order["bots"][0]["fallback"] = json!([{"provider": "anthropic", "model": "model-b"}]);
    let id = start(&app, &order).await;
    let events = app.events(&id).await;
    // model-a: 100 · 1,500,000 + 7 · 6,000,001 = 192,000,007; model-b: 10 · 800,000 + 3 · 4,000,000 = 20,000,000.
    assert_eq!(costs(&events, "error"), ["0.000192000007"]);
    assert_eq!(costs(&events, "turn.restarted"), ["0.000192000007"]);
    assert_eq!(costs(&events, "turn.completed"), ["0.00002"]);
    assert_eq!(costs(&events, "run.completed"), ["0.000212000007"]);
    assert_eq!(attempts(&app).await, [Some(192_000_007), Some(20_000_000)]);
    let export = app.export(&id).await;
    assert_eq!(export["messages"][1]["cost_usd"].to_string(), "0.00002");
    assert_eq!(
        sums(&export["bots"][0]["total"]),
        (Some(2), "0.000212000007".into(), false)
    );
    app.close().await;
}
