//! A million runs, made in seconds.

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend};
use uuid::Uuid;

use parley::conversation::{RunId, Timestamp};

pub(super) const RUNS: u64 = 1_000_000;

/// When the run was made, one after the other in steps of a second.
pub(super) fn made(n: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 1_000 * i64::try_from(n).unwrap())
}

pub(super) fn run(n: u64) -> RunId {
    let millis = u128::try_from(made(n).as_millis()).unwrap();
    let rest = (0x7000 << 64) | (0x8000 << 48) | u128::from(n);
    RunId::from_uuid(Uuid::from_u128((millis << 80) | rest))
}

/// The numbers and the ids that belong to them.
const NUMBERS: [&str; 2] = [
    "CREATE UNLOGGED TABLE numbers AS SELECT n, CAST(lpad(to_hex(1700000000000 + n * 1000), 12, '0') || '70008000' \
     || lpad(to_hex(n), 12, '0') AS uuid) AS id FROM generate_series(1, 1000000) AS n",
    "CREATE TABLE numbers AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) \
     SELECT n, unhex(printf('%012x70008000%012x', 1700000000000 + n * 1000, n)) AS id FROM c",
];

/// Nine of ten are completed, the last ones live, and only the oldest were stopped. One in a thousand is Ada's.
const RUN_ROWS: &str = "INSERT INTO runs (id, owner, status, topic, bot_count, max_turns, turns, usage, cost_complete, last_seq, \
     last_command, lease_owner, lease_epoch, takeovers, created_at, finished_at) \
     SELECT id, CASE WHEN n % 1000 = 7 THEN 'ada' ELSE '' END, CASE WHEN n > 999980 THEN 'running' WHEN n <= 500 THEN 'stopped' WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END, \
     '', 2, 2, 2, '{\"input_tokens\":0,\"output_tokens\":0}', true, 1, 1, \
     CASE WHEN n <= 999980 THEN NULL WHEN n % 4 = 0 THEN 'me' WHEN n % 4 = 1 THEN 'other' WHEN n % 4 = 2 THEN 'dead' ELSE '' END, \
     1, 0, 1700000000000 + n * 1000, CASE WHEN n <= 999980 THEN 1700000000000 + n * 1000 END FROM numbers";

/// The first of them all speak by one provider; of the second, a provider and a model may each be common and the two never be together.
const BOT_ROWS: &str = "INSERT INTO bots (run_id, bot_index, version, name, provider, model, params) \
     SELECT id, bot, 1, '', CASE WHEN bot = 0 THEN 'openai' WHEN n % 250000 = 1 THEN 'rare' WHEN n <= 500 THEN 'old' ELSE 'anthropic' END, \
     CASE WHEN bot = 0 THEN 'gpt-' || (n % 10) ELSE 'claude-' || (n % 2) END, '{}' \
     FROM numbers CROSS JOIN (SELECT 0 AS bot UNION ALL SELECT 1) AS two";

const OTHER_ROWS: [&str; 5] = [
    "INSERT INTO events (run_id, seq, name, payload, at) SELECT id, 1, 'run.started', '{}', 0 FROM numbers",
    "INSERT INTO commands (run_id, id, kind, payload, created_at, outcome) \
     SELECT id, 1, 'stop', '\"now\"', 0, CASE WHEN n <= 999980 THEN 'applied' END FROM numbers WHERE n % 10 = 0",
    "INSERT INTO idempotency_keys (subject, route, key, body_hash, status, answer, expires) \
     SELECT '', 'r', 'key-' || n, '', 201, '', CASE WHEN n <= 1000 THEN 0 ELSE 9000000000000 END FROM numbers WHERE n % 10 = 0",
    "INSERT INTO audit (id, run_id, at, act, detail, owner, request_id) \
     SELECT id, id, 1700000000000 + n * 1000, 'start', '{}', '', '' FROM numbers",
    "INSERT INTO nodes (id, expires) VALUES ('me', 9000000000000), ('other', 9000000000000), ('dead', 0)",
];

/// Words, and in which runs they occur.
const WORDS: [(&str, &str); 6] = [
    ("common", "true"),
    ("half", "n % 2 = 0"),
    ("third", "n % 3 = 0"),
    ("percent", "n % 100 = 0"),
    ("rare", "n % 250000 = 2"),
    ("old", "n <= 500"),
];

/// Fills the tables, which are empty, and gives the indexes back that they had.
pub(super) async fn fill(uri: &str) {
    let mut options = ConnectOptions::new(uri);
    options.sqlx_logging(false).max_connections(2);
    if uri.starts_with("sqlite:") {
        options.max_connections(1);
    }
    let db = Database::connect(options).await.unwrap();
    let postgres = db.get_database_backend() == DbBackend::Postgres;
    let run = async |sql: &str| {
        if let Err(error) = db.execute_unprepared(sql).await {
            panic!("{error}: {sql}");
        }
    };
    let [in_postgres, in_sqlite] = NUMBERS;
    let indexes = indexes(&db).await;
    for (name, _, _) in &indexes {
        run(&format!("DROP INDEX {name}")).await;
    }
    if postgres {
        for table in [
            "runs",
            "bots",
            "events",
            "commands",
            "message_words",
            "audit",
        ] {
            run(&format!("ALTER TABLE {table} SET UNLOGGED")).await;
        }
        let sorted =
            "ALTER ROLE CURRENT_USER IN DATABASE \"{}\" SET maintenance_work_mem = '256MB'";
        let name = uri.rsplit('/').next().unwrap();
        run(&sorted.replace("{}", name)).await;
    } else {
        run("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA temp_store = MEMORY").await;
    }
    run(if postgres { in_postgres } else { in_sqlite }).await;
    let build = async |of_bots: bool| {
        for (_, table, sql) in &indexes {
            if (table == "bots") == of_bots {
                run(sql).await;
            }
        }
    };
    let bots = async {
        run(BOT_ROWS).await;
        build(true).await;
    };
    let others = async {
        run(RUN_ROWS).await;
        for sql in OTHER_ROWS {
            run(sql).await;
        }
        for sql in words(postgres) {
            run(&sql).await;
        }
        build(false).await;
    };
    tokio::join!(bots, others);
    run("DROP TABLE numbers").await;
    if postgres {
        run("VACUUM ANALYZE").await;
    }
    db.close().await.unwrap();
}

/// Those that are no primary keys: name, table, and what makes them.
async fn indexes(db: &DatabaseConnection) -> Vec<(String, String, String)> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT CAST(indexname AS text), CAST(tablename AS text), indexdef FROM pg_indexes \
             WHERE schemaname = 'public' AND indexname NOT LIKE '%pkey' AND tablename <> 'seaql_migrations'"
        }
        _ => {
            "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        }
    };
    let query = sea_orm::Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(query).await.unwrap();
    let text = |row: &sea_orm::QueryResult, at| row.try_get_by_index(at).unwrap();
    rows.iter()
        .map(|row| (text(row, 0), text(row, 1), text(row, 2)))
        .collect()
}

fn words(postgres: bool) -> Vec<String> {
    if postgres {
        let some: Vec<String> = WORDS
            .iter()
            .map(|(word, when)| format!("CASE WHEN {when} THEN ' {word}' ELSE '' END"))
            .collect();
        return vec![format!(
            "INSERT INTO message_words (run_id, pos, words) SELECT id, 1, CAST('w' || (n % 50000) || {} AS tsvector) FROM numbers",
            some.join(" || ")
        )];
    }
    let mut words = WORDS.to_vec();
    words.sort_unstable();
    let insert = |(word, when)| {
        format!(
            "INSERT INTO message_words (word, run_id) SELECT '{word}', id FROM numbers WHERE {when}"
        )
    };
    words.into_iter().map(insert).collect()
}
