//! What the store says to its database, and what the database makes of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parley::models::{PoolOptions, Store, connect};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DbBackend, Statement, TransactionTrait as _,
};

use crate::support::pool;

/// The tables that grow with the number of runs.
const LARGE: [&str; 7] = [
    "runs",
    "bots",
    "events",
    "messages",
    "message_words",
    "commands",
    "idempotency_keys",
];

/// A store that is listened to.
pub(super) struct Heard {
    pub(super) store: Store,
    db: DatabaseConnection,
    said: Arc<Mutex<Vec<Statement>>>,
    /// The instructions of SQLite's machine, in tens.
    instructions: Arc<AtomicU64>,
}

impl Heard {
    /// One connection, so that what the server has prepared is used again and again.
    pub(super) async fn on(uri: &str) -> Self {
        let options = PoolOptions {
            max_connections: 1,
            ..pool(uri)
        };
        let db = connect(&options).await.unwrap();
        let (mut listened, said) = (db.clone(), Arc::new(Mutex::new(Vec::new())));
        let to = Arc::clone(&said);
        listened.set_metric_callback(move |info| {
            to.lock().unwrap().push(info.statement.clone());
        });
        let store = Store::new(listened, Duration::from_secs(60));
        let instructions = Arc::new(AtomicU64::new(0));
        if db.get_database_backend() == DbBackend::Sqlite {
            let counted = Arc::clone(&instructions);
            let mut connection = db.get_sqlite_connection_pool().acquire().await.unwrap();
            let mut handle = connection.lock_handle().await.unwrap();
            handle.set_progress_handler(10, move || {
                counted.fetch_add(1, Ordering::Relaxed);
                true
            });
        }
        Self {
            store,
            db,
            said,
            instructions,
        }
    }

    /// Forgets what was said so far.
    pub(super) fn forget(&self) {
        self.said.lock().unwrap().clear();
        self.instructions.store(0, Ordering::Relaxed);
    }

    /// Makes sure that no statement since the last call reads a large table as a whole. How much work they are together: blocks of
    /// 8 KiB that PostgreSQL touches, or tens of instructions of SQLite's machine. Neither depends on what else goes on.
    pub(super) async fn check(&self, what: &str) -> u64 {
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        assert!(!said.is_empty(), "{what}: the store has said nothing");
        let mut work = self.instructions.load(Ordering::Relaxed);
        for statement in said {
            let plan = self.plan(&statement).await;
            let shown = format!("{what}: {statement}\n{}", plan.join("\n"));
            for line in &plan {
                let whole = LARGE.iter().any(|table| reads_all(line, table));
                assert!(!whole, "{line}\n{shown}");
            }
            work += touched(&plan);
        }
        self.forget();
        work
    }

    async fn plan(&self, statement: &Statement) -> Vec<String> {
        let (explain, detail) = match self.db.get_database_backend() {
            DbBackend::Postgres => ("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF)", 0),
            _ => ("EXPLAIN QUERY PLAN", 3),
        };
        let mut explained = statement.clone();
        explained.sql = format!("{explain} {}", statement.sql);
        // What it does is undone.
        let txn = self.db.begin().await.unwrap();
        let rows = txn.query_all_raw(explained).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}: {statement}"));
        txn.rollback().await.unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(detail).unwrap())
            .collect()
    }

    /// How often PostgreSQL has read a large table as a whole, whichever plan it took.
    pub(super) async fn whole_reads(&self) -> i64 {
        let backend = self.db.get_database_backend();
        if backend != DbBackend::Postgres {
            return 0;
        }
        let ask = async |sql: String| {
            let rows = self.db.query_one_raw(Statement::from_string(backend, sql));
            rows.await.unwrap().unwrap()
        };
        ask("SELECT CAST(pg_stat_force_next_flush() AS text)".to_owned()).await;
        let tables = LARGE.map(|table| format!("'{table}'")).join(", ");
        let row = ask(format!(
            "SELECT CAST(sum(seq_scan) AS bigint) FROM pg_stat_user_tables WHERE relname IN ({tables})"
        ));
        row.await.try_get_by_index(0).unwrap()
    }
}

/// SQLite says `SCAN runs`, or `SCAN runs USING … INDEX` where it goes along an index as far as it has to: how far, the work tells.
fn reads_all(line: &str, table: &str) -> bool {
    let after = |what: &str| {
        let (_, rest) = line.split_once(what)?;
        rest.strip_prefix(table)
    };
    after("Seq Scan on ").is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        || after("SCAN ").is_some_and(|rest| rest.is_empty())
}

/// `Buffers: shared hit=4 read=2` of the whole statement comes first.
fn touched(plan: &[String]) -> u64 {
    let Some(line) = plan.iter().find(|line| line.contains("Buffers: shared")) else {
        return 0;
    };
    let count = |word: &str| word.parse::<u64>().unwrap();
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")))
        .map(count)
        .sum()
}
