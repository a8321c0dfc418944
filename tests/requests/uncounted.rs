//! What nobody has counted, because it was stopped or broke off, is in its owner's day all the same; and in nothing that is shown.

use parley::simulator::{Gate, Script};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};

use super::quotas::{Nodes, open, per_owner, refused};
use crate::support::{talk, within};

/// 400 bytes, which are taken for 100 tokens.
fn piece() -> String {
    "tea ".repeat(100)
}

/// What owners have taken today, in tokens and in 10⁻¹² dollars.
async fn taken(nodes: &Nodes) -> [i64; 2] {
    let query = "SELECT CAST(COALESCE(SUM(tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM spending";
    let db = &nodes.apps[0].ctx.db;
    let statement = Statement::from_string(db.get_database_backend(), query);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    [0, 1].map(|place| row.try_get_by_index(place).unwrap())
}

/// The run as its owner is shown it: without a count, and with no cost that would be a guess.
async fn shows_no_guess(nodes: &Nodes, run: &str) {
    let path = format!("/api/run/{run}");
    let shown = nodes.send(nodes.ask(0, "ada", "GET", &path)).await.json();
    let usage = shown["usage"].as_object().unwrap();
    assert!(usage.values().all(Value::is_null), "{shown}");
    assert_eq!(shown["cost_usd"], Value::Null, "{shown}");
}

/// A run of Ada's, whose price is known.
async fn begun(nodes: &Nodes) -> String {
    let mut order = talk(2);
    order["bots"][0]["model"] = json!("gpt-4o-mini");
    let request = nodes.ask(0, "ada", "POST", "/api/run");
    let request = request.header("content-type", "application/json");
    let answer = nodes.send(request.body(order.to_string())).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

/// Who stops each run before its end does not spend without a limit.
#[tokio::test]
async fn what_is_stopped_before_it_was_counted_is_counted_all_the_same() {
    let limits = per_owner(&json!({"tokens_per_day": 250, "cost_usd_per_day": 1}));
    let gate = Gate::closed();
    let nodes = Nodes::one(Script::endless(&piece()).gate(&gate), limits).await;
    let mut before = 0;
    while before < 250 {
        let run = begun(&nodes).await;
        let mut stream = open(&nodes, "ada", &run, "192.0.2.1").await;
        gate.let_through(1);
        stream.until(|event| event.name == "turn.delta").await;
        nodes.stop(0, "ada", &run).await;
        stream.rest().await;
        let [tokens, cost] = taken(&nodes).await;
        // A hundred were heard; what was sent is less than as many.
        let more = tokens - before;
        assert!((100..200).contains(&more), "{more}");
        // What so many cost if all had gone in, and if all had come out: 0.15 and 0.60 dollars for a million.
        let bounds = 150_000 * tokens..600_000 * tokens;
        assert!(bounds.contains(&cost), "{cost}");
        shows_no_guess(&nodes, &run).await;
        before = tokens;
    }
    refused(&nodes.create(0, "ada", 1).await, "quota-used-up");
    nodes.close().await;
}

/// A run of which every attempt goes as the script says: what was taken for it, and in how many attempts.
async fn failed(script: Script) -> ([i64; 2], i64) {
    let limits = per_owner(&json!({"tokens_per_day": 1_000_000}));
    let nodes = Nodes::one(script, limits).await;
    let run = begun(&nodes).await;
    let told = within("its end", nodes.read(0, "ada", &run)).await;
    assert!(told.contains("run.failed"), "{told}");
    shows_no_guess(&nodes, &run).await;
    let attempts = nodes.apps[0].simulator.requests().len();
    let taken = taken(&nodes).await;
    nodes.close().await;
    (taken, i64::try_from(attempts).unwrap())
}

/// Each attempt that broke off after it had said something is counted, and one of which nothing came is not: its provider is out of order.
#[tokio::test]
async fn what_broke_off_is_counted_if_anything_came_of_it() {
    let (taken, _) = failed(Script::status(500)).await;
    assert_eq!(taken, [0, 0]);
    let broken = Script::endless(&piece()).abort_after_bytes(4_000);
    let ([tokens, cost], attempts) = failed(broken).await;
    // Of four thousand bytes, the most are text.
    let bounds = 300 * attempts..1_200 * attempts;
    assert!(bounds.contains(&tokens), "{tokens} in {attempts} attempts");
    assert!(cost > 300_000 * tokens, "{cost}");
}
