//! The connection breaks at each exchange in turn: before the server hears of it, and after it has done it.

use std::sync::atomic::{AtomicU32, Ordering};

use parley::simulator::{Gate, Script};
use serde_json::json;

use super::{Fixture, insist, read_and_compare, start};
use crate::support::{Scrape, TestApp, When, within};

/// A run of two turns with a change, so that every kind of transaction is among the exchanges.
async fn talk(fixture: &Fixture) {
    let app = &fixture.app;
    let id = start(app, 2).await;
    let path = format!("/api/run/{id}/bot/1");
    let change = json!({"system_prompt": "Be bold."});
    insist_unless_over(app, &path, &change).await;
    let export = read_and_compare(app, &id).await;
    assert_eq!(export["status"], "completed", "{export}");
    let path = format!("/api/run/{id}/stop");
    insist(async || app.send(app.request("POST", &path)).await).await;
}

/// The run may be over before it is changed.
pub(super) async fn insist_unless_over(app: &TestApp, path: &str, change: &serde_json::Value) {
    within("the change", async {
        loop {
            let answer = app.patch(path, change).await;
            match answer.status {
                200 | 409 => return,
                503 => {}
                _ => panic!("{answer:?}"),
            }
        }
    })
    .await;
}

async fn check(fixture: &Fixture, runs: i64) {
    assert_eq!(fixture.count("SELECT count(*) FROM runs").await, runs);
    let asked = fixture.app.simulator.requests().len();
    check_rows(async |query| fixture.count(query).await, asked).await;
}

/// Nothing was spoken twice, nothing has gaps, nothing was forgotten, whatever happened; `asked`: the provider requests so far.
pub(super) async fn check_rows(count: impl AsyncFn(&str) -> i64, asked: usize) {
    let doubled = "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE outcome = 'completed' GROUP BY run_id, turn HAVING count(*) > 1) x";
    assert_eq!(
        count(doubled).await,
        0,
        "a finished turn was generated again"
    );
    let spoken = "SELECT count(*) FROM events WHERE name IN ('turn.started', 'turn.restarted')";
    let spoken = count(spoken).await;
    assert!(
        asked as i64 <= spoken,
        "{asked} requests, {spoken} attempts told"
    );
    let gaps =
        "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY run_id HAVING count(*) <> max(seq)) x";
    assert_eq!(count(gaps).await, 0, "a log has gaps");
    let open = "SELECT count(*) FROM commands WHERE outcome IS NULL";
    assert_eq!(count(open).await, 0, "a command was forgotten");
    let acts = "SELECT (SELECT count(*) FROM audit WHERE act <> 'export') - (SELECT count(*) FROM runs) - (SELECT count(*) FROM commands)";
    assert_eq!(
        count(acts).await,
        0,
        "an act without its row, or a row without its act"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_may_break_at_any_exchange() {
    let Some(first) = Fixture::new(Script::text("Well.")).await else {
        return;
    };
    let before = first.proxy.exchanges();
    talk(&first).await;
    let count = u32::try_from(first.proxy.exchanges() - before).unwrap();
    println!("{count} exchanges");
    first.close().await;
    let next = AtomicU32::new(0);
    let workers = (0..4).map(async |_| {
        let fixture = Fixture::new(Script::text("Well.")).await.unwrap();
        let mut runs = 0;
        let seen = async |runs: i64, fixture: &Fixture| {
            let (seen, runs) = (Scrape::of(&fixture.app).await, runs as f64);
            assert_eq!(seen.sum("parley_runs_ended_total", &[]), runs);
            let turns = "parley_turn_duration_seconds_count";
            assert_eq!(seen.sum(turns, &[]), 2.0 * runs);
            assert_eq!(seen.sum("parley_lease_losses_total", &[]), 0.0);
        };
        loop {
            let case = next.fetch_add(1, Ordering::SeqCst);
            let (at, when) = (case / 2, [When::Before, When::After][case as usize % 2]);
            if at >= count {
                break;
            }
            fixture.proxy.break_at(at, when);
            talk(&fixture).await;
            runs += 1;
            check(&fixture, runs).await;
            seen(runs, &fixture).await;
        }
        fixture.close().await;
    });
    futures_util::future::join_all(workers).await;
}

/// What a talk costs the database: a transaction for each turn, whatever it says, and so many exchanges within it.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_one_transaction_and_a_delta_is_none() {
    /// BEGIN and COMMIT among them.
    const EXCHANGES: u64 = 12;
    let mut costs = Vec::new();
    for words in ["Well.".to_owned(), "word ".repeat(300)] {
        let script = Script::text(&words);
        let Some(fixture) = Fixture::with(script, json!({})).await else {
            return;
        };
        let cost = async |turns: u32| {
            let before = fixture.proxy.exchanges();
            let id = start(&fixture.app, turns).await;
            read_and_compare(&fixture.app, &id).await;
            let written =
                format!("SELECT count(DISTINCT xmin::text) FROM events WHERE run_id = '{id}'");
            // Besides the turns: the run's beginning, and that of its first turn.
            assert_eq!(fixture.count(&written).await, i64::from(turns) + 2);
            fixture.proxy.exchanges() - before
        };
        let (few, many) = (cost(2).await, cost(22).await);
        costs.push((many - few) / 20);
        fixture.close().await;
    }
    println!("{costs:?} exchanges a turn, with few words and with many");
    assert!(costs[0] <= EXCHANGES, "{costs:?}");
    // As long as they take, the node says now and then that it lives: nothing that comes with their number.
    assert!(costs[1] <= 2 * EXCHANGES, "{costs:?}");
}

/// A turn that is written with the release of its run is counted, also where nobody heard that it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_may_be_lost_on_its_way_back() {
    let cases = (0..10).map(async |at| {
        let gate = Gate::closed();
        let script = Script::deltas(["Well", "."]).gate(&gate);
        let fixture = Fixture::new(script).await?;
        let app = &fixture.app;
        start(app, 2).await;
        within(
            "the turn",
            app.simulator.wait_for(|activity| activity.open == 1),
        )
        .await;
        let parts = app.parts();
        let drained = parts.drain();
        let breaking = async {
            within("the drain", async {
                while !parts.supervisor.is_leaving() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            fixture.proxy.break_at(at, When::After);
            gate.open();
        };
        within("the run to be left", async {
            tokio::join!(drained, breaking)
        })
        .await;
        let seen = Scrape::of(app).await;
        let turns = "parley_turn_duration_seconds_count";
        assert_eq!(seen.sum(turns, &[]), 1.0, "exchange {at}");
        assert_eq!(
            seen.sum("parley_lease_losses_total", &[]),
            0.0,
            "exchange {at}"
        );
        fixture.close().await;
        Some(())
    });
    futures_util::future::join_all(cases).await;
}
