//! A PostgreSQL server that is slow, and one whose transactions stand still in their middle.

use std::time::Duration;

use parley::simulator::{Gate, Script};
use serde_json::json;

use super::{
    Fixture, asked, asked_at_least, exchanges::insist_unless_over, read_and_compare, start,
};

/// Each exchange takes a tenth of a second: all is slow, nothing is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_only_takes_longer() {
    let Some(fixture) = Fixture::new(Script::text("Slowly.")).await else {
        return;
    };
    let Fixture { app, proxy, .. } = &fixture;
    proxy.slow(Duration::from_millis(100));
    let id = start(app, 1).await;
    let export = read_and_compare(app, &id).await;
    assert_eq!(export["status"], "completed");
    fixture.close().await;
}

/// Each exchange takes half a second for a while, so each transaction some seconds, with the times that are set by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_slow_by_seconds_only_takes_longer() {
    let Some(fixture) = Fixture::with(Script::dialogue(0.2), json!({})).await else {
        return;
    };
    let Fixture { app, proxy, .. } = &fixture;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(start(app, 3).await);
    }
    asked_at_least(app, 1).await;
    proxy.slow(Duration::from_millis(500));
    let reading = ids.iter().map(|id| read_and_compare(app, id));
    let meanwhile = async {
        let change = json!({"system_prompt": "Be bold."});
        let path = format!("/api/run/{}/bot/1", ids[0]);
        let patched = insist_unless_over(app, &path, &change);
        let ((), id) = tokio::join!(patched, start(app, 1));
        proxy.open();
        read_and_compare(app, &id).await
    };
    let (exports, last) = tokio::join!(futures_util::future::join_all(reading), meanwhile);
    for export in exports.iter().chain([&last]) {
        assert_eq!(export["status"], "completed", "{export}");
    }
    let restarts = "SELECT count(*) FROM events WHERE name = 'turn.restarted'";
    println!("{} restarts", fixture.count(restarts).await);
    let requests = app.simulator.requests().len();
    super::exchanges::check_rows(async |query| fixture.count(query).await, requests).await;
    fixture.close().await;
}

/// The server gives up a transaction that stands still; it is made again, and the turn is not spoken again.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_frozen_in_its_middle_is_made_again() {
    let frozen = [0, 2, 4].map(async |exchange: u32| {
        let gate = Gate::closed();
        let settings = json!({"database": {"idle_in_transaction_timeout_ms": 1000}});
        let script = Script::deltas(["One ", "two."]).gate(&gate);
        let fixture = Fixture::with(script, settings).await?;
        let Fixture { app, proxy, .. } = &fixture;
        let id = start(app, 2).await;
        asked(app, 1).await;
        proxy.hold_in_transaction(exchange, Duration::from_secs(6));
        gate.open();
        let export = read_and_compare(app, &id).await;
        assert!(proxy.has_held(), "there was no exchange {exchange}");
        assert_eq!(export["status"], "completed", "{exchange}: {export}");
        let requests = app.simulator.requests().len();
        assert_eq!(requests, 2, "a turn was spoken again");
        super::exchanges::check_rows(async |query| fixture.count(query).await, requests).await;
        fixture.close().await;
        Some(())
    });
    futures_util::future::join_all(frozen).await;
}
