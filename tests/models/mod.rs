//! The database: it keeps what it was given, and its schema goes up and down.

mod acts;
mod change;
mod migrations;
mod model;
mod money;
mod ownership;
mod pages;
mod plans;

use std::time::Duration;

use futures_util::FutureExt as _;
use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Asker, Quotas, RunId, StartRun, Timestamp},
    models::{Inserted, Store, TABLES, connect},
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

use crate::support::pool;

/// A run that was just asked for.
async fn new_run(store: &Store) -> RunId {
    let bot = serde_json::json!({"provider": "p", "model": "m"});
    let order = serde_json::json!({"topic": "Tea?", "bots": [bot, bot]});
    let order: StartRun = serde_json::from_value(order).unwrap();
    let (id, at) = (
        RunId::from_uuid(uuid::Uuid::now_v7()),
        Timestamp::from_millis(1),
    );
    let plan = order.plan(9).unwrap();
    let nobody = Asker::default();
    store
        .insert_run(id, &nobody, &Quotas::default(), &plan, at, None)
        .await
        .unwrap();
    id
}

async fn open(uri: &str) -> DatabaseConnection {
    connect(&pool(uri)).await.unwrap()
}

async fn tables(db: &DatabaseConnection) -> usize {
    let query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, query);
    db.query_all_raw(statement).await.unwrap().len()
}

/// Ours, and the list of migrations.
fn all_tables() -> usize {
    TABLES.len() + 1
}

/// A caller that leaves at any point of a query must not take the memory's only connection with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_database_outlives_callers_that_leave() {
    let db = open("sqlite::memory:").await;
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db.clone(), Duration::from_secs(5));
    let nobody = RunId::from_uuid(uuid::Uuid::nil());
    for polls in (0..2_000).map(|round| round % 8) {
        let mut query = Box::pin(store.run(nobody));
        for _ in 0..polls {
            if (&mut query).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert!(store.run(nobody).await.unwrap().is_none());
    assert_eq!(tables(&db).await, all_tables());
}

#[tokio::test]
async fn each_memory_database_is_its_own() {
    let (one, two) = (open("sqlite::memory:").await, open("sqlite::memory:").await);
    Migrator::up(&one, None).await.unwrap();
    assert_eq!((tables(&one).await, tables(&two).await), (all_tables(), 0));
}

#[tokio::test]
async fn migrations_go_up_and_down_and_up_again() {
    let db = open("sqlite::memory:").await;
    Migrator::up(&db, None).await.unwrap();
    Migrator::down(&db, None).await.unwrap();
    assert_eq!(tables(&db).await, 1, "only the list of migrations is left");
    Migrator::up(&db, None).await.unwrap();
    assert_eq!(tables(&db).await, all_tables());
}

/// Each connection to a file must sync at every commit and wait for its turn: a pragma that is set once is set on one of them.
#[tokio::test]
async fn every_connection_to_a_file_has_its_pragmas() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&format!(
        "sqlite://{}/parley.sqlite?mode=rwc",
        folder.path().display()
    ))
    .await;
    Migrator::up(&db, None).await.unwrap();
    let pragma = |name: &'static str| {
        let db = db.clone();
        async move {
            // Held while the others are opened, so that each is another connection.
            let txn = sea_orm::TransactionTrait::begin(&db).await.unwrap();
            let statement = sea_orm::Statement::from_string(
                sea_orm::DbBackend::Sqlite,
                format!("PRAGMA {name}"),
            );
            let row = txn.query_one_raw(statement).await.unwrap().unwrap();
            (txn, row)
        }
    };
    let mut open = Vec::new();
    for _ in 0..2 {
        let (txn, row) = pragma("synchronous").await;
        assert_eq!(row.try_get_by_index::<i32>(0).unwrap(), 2, "FULL");
        open.push(txn);
        let (txn, row) = pragma("journal_mode").await;
        assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "wal");
        open.push(txn);
    }
}

/// What the process itself does for nobody, such as a talk in the terminal, is no owner's and no client's.
#[tokio::test]
async fn nobody_has_no_quota() {
    let db = open("sqlite::memory:").await;
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db, Duration::from_secs(5));
    let one = std::num::NonZeroU32::new(1);
    let quotas = Quotas {
        runs_per_address: one,
        runs_per_owner: one,
        live_runs: Some(1),
        ..Quotas::default()
    };
    let ada = Asker {
        owner: "ada".to_owned(),
        client: "192.0.2.1".to_owned(),
        ..Asker::default()
    };
    let bot = serde_json::json!({"provider": "p", "model": "m"});
    let order = serde_json::json!({"topic": "Tea?", "bots": [bot, bot]});
    let order: StartRun = serde_json::from_value(order).unwrap();
    let plan = order.plan(9).unwrap();
    let insert = async |asker: &Asker| {
        let id = RunId::from_uuid(uuid::Uuid::now_v7());
        let at = Timestamp::from_millis(1);
        let inserted = store.insert_run(id, asker, &quotas, &plan, at, None).await;
        matches!(inserted.unwrap(), Inserted::Now(..))
    };
    for _ in 0..3 {
        assert!(insert(&Asker::default()).await);
    }
    assert!(insert(&ada).await);
    assert!(!insert(&ada).await);
}
