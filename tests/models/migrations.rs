//! Schema steps that fail, are killed or take long: each is made as a whole or not at all.

use std::{
    path::Path,
    task::Poll,
    time::{Duration, Instant},
};

use migration::{Migrator, MigratorTrait as _};
use parley::models::{PoolOptions, PostgresOptions, connect};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

use super::open;
use crate::support::{Database, pool};

/// The names of all tables and indexes.
async fn objects(db: &DatabaseConnection) -> Vec<String> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT CAST(relname AS text) FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        }
        _ => "SELECT name FROM sqlite_master ORDER BY 1",
    };
    let statement = Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(statement).await.unwrap();
    let names = rows.iter().map(|row| row.try_get_by_index(0).unwrap());
    names.collect()
}

/// Makes each step fail at its last index.
async fn fails_as_a_whole(db: &DatabaseConnection) {
    let last = match db.get_database_backend() {
        DbBackend::Postgres => "message_words_by_word",
        _ => "message_words_by_run",
    };
    for index in [
        "runs_by_lease",
        "commands_by_outcome",
        "idempotency_keys_by_expiry",
        last,
        "runs_by_owner",
    ] {
        let clash = format!("CREATE TABLE clash (a INTEGER); CREATE INDEX {index} ON clash (a)");
        db.execute_unprepared(&clash).await.unwrap();
        let _ = Migrator::install(db).await;
        let before = objects(db).await;
        let error = Migrator::up(db, Some(1)).await.unwrap_err();
        assert!(error.to_string().contains(index), "{error}");
        assert_eq!(objects(db).await, before, "something is left of the step");
        db.execute_unprepared("DROP TABLE clash").await.unwrap();
        Migrator::up(db, Some(1)).await.unwrap();
    }
    // What follows adds columns, and one more index.
    Migrator::up(db, None).await.unwrap();
    assert!(
        Migrator::get_pending_migrations(db)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_step_that_fails_half_way_leaves_nothing_in_sqlite() {
    fails_as_a_whole(&open("sqlite::memory:").await).await;
}

#[tokio::test]
async fn a_step_that_fails_half_way_leaves_nothing_in_postgresql() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let db = open(&database.uri).await;
    fails_as_a_whole(&db).await;
    db.close().await.unwrap();
    database.remove().await;
}

/// Migrates, but stops when the database has answered so many times. The database is then what a process that is killed leaves.
async fn up_for(db: &DatabaseConnection, answers: u32) -> bool {
    let mut up = Box::pin(Migrator::up(db, None));
    let mut heard = 0;
    std::future::poll_fn(|context| {
        if heard == answers {
            return Poll::Ready(false);
        }
        heard += 1;
        up.as_mut().poll(context).map(|done| {
            done.unwrap();
            true
        })
    })
    .await
}

async fn open_file(folder: &Path) -> DatabaseConnection {
    let file = folder.join("parley.sqlite");
    open(&format!("sqlite://{}?mode=rwc", file.display())).await
}

#[tokio::test]
async fn a_process_killed_while_it_migrates_leaves_a_file_that_boots() {
    let whole = open("sqlite::memory:").await;
    Migrator::up(&whole, None).await.unwrap();
    let whole = objects(&whole).await;
    let mut done = false;
    let mut killed = 0;
    while !done {
        let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = open_file(folder.path()).await;
        let mut up = Box::pin(up_for(&db, 1 + killed));
        done = (&mut up).await;
        // What is on disk now; what the process would still do never happens there.
        for name in ["parley.sqlite", "parley.sqlite-wal"] {
            let copied = std::fs::copy(folder.path().join(name), left.path().join(name));
            // Where its last connection has just ended, there is no log any more.
            let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
            assert!(copied.as_ref().is_ok() || copied.as_ref().is_err_and(absent));
        }
        drop(up);
        let next = open_file(left.path()).await;
        Migrator::up(&next, None).await.unwrap();
        assert_eq!(objects(&next).await, whole, "killed at {killed}");
        next.close().await.unwrap();
        db.close().await.unwrap();
        killed += 1;
    }
    assert!(killed > 30, "killed {killed} times");
}

/// On a large database an index takes longer to build than any other statement may.
const SLOW_INDEXES: [&str; 2] = [
    "CREATE FUNCTION build_slowly() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
     IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE ANY ('{%commands_by_outcome,%runs_by_end}')) \
     THEN PERFORM pg_sleep(1.5); END IF; END $$",
    "CREATE EVENT TRIGGER slow_indexes ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION build_slowly()",
];

#[tokio::test]
async fn a_step_may_take_longer_than_a_statement() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let usual = pool(&database.uri);
    let options = PoolOptions {
        postgres: PostgresOptions {
            statement_timeout: Duration::from_secs(1),
            ..usual.postgres
        },
        ..usual
    };
    let db = connect(&options).await.unwrap();
    for sql in SLOW_INDEXES {
        db.execute_unprepared(sql).await.unwrap();
    }
    let cut = db.execute_unprepared("SELECT pg_sleep(10)").await;
    assert!(cut.is_err(), "statements are cut");
    let began = Instant::now();
    Migrator::up(&db, None).await.unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(3),
        "both indexes were slow"
    );
    db.close().await.unwrap();
    database.remove().await;
}
