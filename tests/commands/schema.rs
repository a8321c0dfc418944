//! Whose tables are in the database: those of others, and of a newer version, are left alone.

use std::path::Path;

use parley::{models::TABLES, simulator::Script};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

use super::{program, refused, sqlite, text};
use crate::support::{Database, TestApp, talk};

async fn open(address: &str, statements: &[&str]) -> DatabaseConnection {
    let db = sea_orm::Database::connect(address).await.unwrap();
    for statement in statements {
        db.execute_unprepared(statement).await.unwrap();
    }
    db
}

async fn texts(db: &DatabaseConnection, query: &str) -> Vec<String> {
    let query = Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(query).await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

async fn tables(db: &DatabaseConnection) -> Vec<String> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
        }
        _ => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1",
    };
    texts(db, query).await
}

fn start(folder: &Path, address: &str) -> std::process::Output {
    program(folder, address).arg("start").output().unwrap()
}

/// Migrates, and then pretends that a newer version has done so, too.
async fn newer_is_refused(folder: &Path, address: &str) {
    let migrated = program(folder, address).args(["db", "migrate"]).output();
    let migrated = migrated.unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    let future = "INSERT INTO seaql_migrations VALUES ('m20990101_000001_future', 0)";
    open(address, &[future]).await.close().await.unwrap();
    for arguments in [
        &["start"][..],
        &["db", "down", "1"],
        &["task", "prune", "older_than:1d"],
    ] {
        let output = program(folder, address).args(arguments).output().unwrap();
        refused(&output, &["newer version", "m20990101_000001_future"]);
    }
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    newer_is_refused(folder.path(), &sqlite(&folder.path().join("newer"))).await;
    if let Some(database) = Database::postgres().await {
        newer_is_refused(folder.path(), &database.uri).await;
        database.remove().await;
    }
}

/// A database that has one table of each of our names in turn: as it is, and with a list of migrations that is empty.
async fn lookalikes_are_refused(folder: &Path, address: &str) {
    let list =
        "CREATE TABLE seaql_migrations (version VARCHAR(255) PRIMARY KEY, applied_at BIGINT)";
    for prepare in [&["SELECT 1"][..], &[list]] {
        let db = open(address, prepare).await;
        for &table in TABLES {
            let create = format!("CREATE TABLE {table} (theirs INTEGER)");
            db.execute_unprepared(&create).await.unwrap();
            let before = tables(&db).await;
            refused(&start(folder, address), &["another application", table]);
            assert_eq!(tables(&db).await, before);
            let drop = format!("DROP TABLE {table}");
            db.execute_unprepared(&drop).await.unwrap();
        }
        db.close().await.unwrap();
    }
    let list = "INSERT INTO seaql_migrations VALUES ('m20200101_000001_shop', 0)";
    open(address, &[list]).await.close().await.unwrap();
    refused(
        &start(folder, address),
        &["another application", "m20200101_000001_shop"],
    );
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    lookalikes_are_refused(folder.path(), &sqlite(&folder.path().join("theirs"))).await;
    // SQLite does not tell names apart by their case.
    let shouting = sqlite(&folder.path().join("shouting"));
    let db = open(&shouting, &["CREATE TABLE Events (theirs INTEGER)"]).await;
    db.close().await.unwrap();
    refused(&start(folder.path(), &shouting), &["another application"]);
    if let Some(database) = Database::postgres().await {
        lookalikes_are_refused(folder.path(), &database.uri).await;
        database.remove().await;
    }
}

/// What a talk leaves rows in.
const FILLED: [&str; 8] = [
    "attempts",
    "bots",
    "commands",
    "events",
    "idempotency_keys",
    "message_words",
    "messages",
    "runs",
];

/// `db truncate` forgets no table, and the list of our tables forgets none either.
async fn truncated(folder: &Path, address: &str) {
    let app = TestApp::on(
        Some(address),
        Script::text("Yes, tea."),
        serde_json::json!({}),
    )
    .await;
    let order = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .header("idempotency-key", "a-key");
    let answer = app.send(order.body(talk(2).to_string())).await.json();
    app.events(answer["run_id"].as_str().unwrap()).await;
    app.simulator.enqueue(Script::silent());
    let live = app.start_run(2).await;
    app.stop(&live).await;
    app.close().await;
    let db = open(address, &[]).await;
    let tables = tables(&db).await;
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let tables: Vec<&str> = tables
        .into_iter()
        .filter(|table| *table != "seaql_migrations")
        .collect();
    let mut ours = TABLES.to_vec();
    ours.sort_unstable();
    assert_eq!(tables, ours);
    let full = async || {
        let mut full = Vec::new();
        for table in &tables {
            let some = format!("SELECT 'some' FROM {table} LIMIT 1");
            if !texts(&db, &some).await.is_empty() {
                full.push(*table);
            }
        }
        full
    };
    // A node that has ended has taken its row away.
    let before = full().await;
    for table in FILLED {
        assert!(before.contains(&table), "{table} is not in {before:?}");
    }
    let truncate = program(folder, address).args(["db", "truncate"]).output();
    let truncate = truncate.unwrap();
    assert!(truncate.status.success(), "{}", text(&truncate.stderr));
    assert!(full().await.is_empty(), "{:?}", full().await);
    db.close().await.unwrap();
}

#[tokio::test]
async fn truncate_empties_every_table() {
    let folder = tempfile::tempdir().unwrap();
    truncated(folder.path(), &sqlite(&folder.path().join("full"))).await;
    if let Some(database) = Database::postgres().await {
        truncated(folder.path(), &database.uri).await;
        database.remove().await;
    }
}
