//! SQLite that cannot write: full, or locked by somebody else.

use std::time::{Duration, Instant};

use parley::simulator::{Gate, Script};
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::{asked, impatient, is_put_off, read, read_and_compare, start};
use crate::support::{TestApp, talk};

/// SQLite that may take no more pages: what writes is put off, and with room again all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_in_memory_is_waited_for() {
    let gate = Gate::closed();
    let script = Script::deltas(["One ", "two."]).gate(&gate);
    let app = TestApp::on(Some("sqlite::memory:"), script, impatient()).await;
    let id = start(&app, 3).await;
    asked(&app, 1).await;
    let pages = |count: u32| format!("PRAGMA max_page_count = {count}");
    // Never less than there are: the disk is full from now on.
    app.ctx.db.execute_unprepared(&pages(1)).await.unwrap();
    let long = json!({"system_prompt": "x".repeat(30_000)});
    let answer = app.patch(&format!("/api/run/{id}/bot/1"), &long).await;
    assert!(is_put_off(&answer), "{answer:?}");
    let mut order = talk(1);
    order["topic"] = json!("x".repeat(30_000));
    assert!(is_put_off(&app.post("/api/run", &order).await));
    // Reading goes on.
    assert_eq!(app.get(&format!("/api/run/{id}")).await.status, 200);
    app.ctx
        .db
        .execute_unprepared(&pages(1 << 30))
        .await
        .unwrap();
    gate.open();
    let export = read_and_compare(&app, &id).await;
    assert_eq!(export["status"], "completed");
    assert_eq!(start(&app, 1).await.len(), 36);
    app.close().await;
}

/// Somebody else holds the file's write lock for longer than anybody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_locked_by_somebody_else_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!(
        "sqlite://{}/parley.sqlite?mode=rwc",
        folder.path().display()
    );
    let gate = Gate::closed();
    let script = Script::deltas(["One ", "two."]).gate(&gate);
    let app = TestApp::on(Some(&uri), script, json!({})).await;
    let id = start(&app, 2).await;
    asked(&app, 1).await;
    let mut other = sea_orm::ConnectOptions::new(&uri);
    other.min_connections(1).max_connections(1);
    let other = sea_orm::Database::connect(other).await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let locked = Instant::now();
    // A turn ends meanwhile: its transaction waits too.
    gate.open();
    let put_off = app.post("/api/run", &talk(1)).await;
    assert!(is_put_off(&put_off), "{put_off:?}");
    println!("put off after {:?}", locked.elapsed());
    assert_eq!(app.get(&format!("/api/run/{id}")).await.status, 200);
    tokio::time::sleep(Duration::from_millis(6500).saturating_sub(locked.elapsed())).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let export = read_and_compare(&app, &id).await;
    assert_eq!(export["status"], "completed");
    assert_eq!(app.simulator.requests().len(), 2, "a turn was spoken again");
    let next = start(&app, 1).await;
    assert!(read(&app, &next).await.is_over());
    let history = app.get("/api/run").await.json();
    let listed = history["runs"].as_array().unwrap().len();
    assert_eq!(listed, 2, "what was put off did not happen");
    other.close().await.unwrap();
    app.close().await;
}
