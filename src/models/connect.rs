//! Opens the database so that it keeps what it was given.

use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseConnectionType,
    DbBackend, SqlxError, Statement, sqlx::Connection as _,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::StoreError;

/// A connection that has just been used is handed out again without a question; one that was idle for longer is asked first,
/// so that the end of a server is not noticed by whoever comes next.
const FRESH: Duration = Duration::from_millis(100);

/// How long whoever writes to a SQLite file waits for another.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that comes back may take to say that it is whole.
const RETURN: Duration = Duration::from_secs(5);

/// How many connections the pool holds, and how long its callers wait.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The database's address, which may hold a password.
    pub uri: SecretString,
    /// The connections that are kept open. Not for memory: there is exactly one.
    pub min_connections: u32,
    /// The most connections. Not for memory.
    pub max_connections: u32,
    /// How long opening a connection, or waiting for a free one, may take.
    pub timeout: Duration,
    /// What goes for connections to PostgreSQL.
    pub postgres: PostgresOptions,
}

/// What each connection to PostgreSQL is told
/// (<https://www.postgresql.org/docs/current/runtime-config-client.html>).
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The server gives a statement up after this.
    pub statement_timeout: Duration,
    /// A statement that waits so long for another's lock is given up: a frozen process must not block a takeover.
    pub lock_timeout: Duration,
    /// A transaction whose process says nothing for so long is rolled back, and its locks with it.
    pub idle_in_transaction_timeout: Duration,
    /// When a commit is answered: `on` once it is on disk.
    pub synchronous_commit: String,
}

/// The connections of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Those that are open.
    pub open: u32,
    /// Those of them that nobody uses now.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

impl Connections {
    pub(super) fn of(db: &DatabaseConnection) -> Self {
        macro_rules! of {
            ($pool:expr) => {
                Self {
                    open: $pool.size(),
                    idle: u32::try_from($pool.num_idle()).unwrap_or(u32::MAX),
                    most: $pool.options().get_max_connections(),
                }
            };
        }
        match db.inner {
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                of!(db.get_postgres_connection_pool())
            }
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                of!(db.get_sqlite_connection_pool())
            }
            DatabaseConnectionType::Disconnected => Self::default(),
        }
    }
}

/// Whether the address names SQLite's memory, which is gone with the process.
#[must_use]
pub fn is_memory(uri: &str) -> bool {
    uri.starts_with("sqlite:") && (uri.contains(":memory:") || uri.contains("mode=memory"))
}

/// Opens the pool.
///
/// A memory database lives in its connection, so its pool is exactly one connection that is never retired: with the pool's
/// usual lifetime the tables would be gone after half an hour. Nor is it tested before use: a caller that leaves during the
/// test (an HTTP client that hangs up) would take the connection, and all tables, with it. A SQLite file is written with WAL and synced at every commit, on
/// every connection.
///
/// # Errors
/// When the address is wrong or the database cannot be reached.
pub async fn connect(options: &PoolOptions) -> Result<DatabaseConnection, StoreError> {
    let uri = options.uri.expose_secret();
    let mut connect = ConnectOptions::new(uri);
    connect
        .sqlx_logging(false)
        .connect_timeout(options.timeout)
        .acquire_timeout(options.timeout)
        .min_connections(options.min_connections)
        .max_connections(options.max_connections);
    if is_memory(uri) {
        connect
            .min_connections(1)
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None);
    } else if uri.starts_with("sqlite:") {
        connect.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .busy_timeout(BUSY_TIMEOUT)
        });
        // A full disk makes SQLite roll back by itself, after which sqlx counts a transaction that is none: the next one on that
        // connection would be a savepoint in nothing, and its commit no commit.
        connect.map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
        });
    } else {
        postgres(&mut connect, options.postgres.clone());
    }
    Ok(Database::connect(connect).await?)
}

/// Closes all connections. What SQLite has in its log is put into the file before that, so that a copy of it is whole; where another process
/// is at work on it, as far as that goes without keeping anybody waiting.
///
/// # Errors
/// When the database fails.
pub async fn close(db: DatabaseConnection) -> Result<(), StoreError> {
    if db.get_database_backend() == DbBackend::Sqlite {
        db.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)")
            .await?;
    }
    Ok(db.close().await?)
}

fn postgres(connect: &mut ConnectOptions, told: PostgresOptions) {
    connect
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(FRESH)
        .map_sqlx_postgres_opts(move |postgres| {
            let millis = |wait: Duration| wait.as_millis().to_string();
            postgres.application_name("parley").options([
                ("statement_timeout", millis(told.statement_timeout)),
                ("lock_timeout", millis(told.lock_timeout)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(told.idle_in_transaction_timeout),
                ),
                ("synchronous_commit", told.synchronous_commit.clone()),
            ])
        })
        .map_sqlx_postgres_pool_opts(|pool| {
            // The pool asks every connection that comes back whether it is whole, and would wait for ever for one whose server
            // is frozen: after a few of those there would be no place left. So they are asked here, with an end.
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    match tokio::time::timeout(RETURN, connection.ping()).await {
                        Ok(whole) => whole.map(|()| true),
                        Err(_) => Err(SqlxError::PoolTimedOut),
                    }
                })
            })
        });
}

/// What an operator has set so that a commit may be lost at a power cut: the setting and its value.
///
/// # Errors
/// When the database fails.
pub async fn unsynced(db: &DatabaseConnection) -> Result<Vec<(&'static str, String)>, StoreError> {
    let mut found = Vec::new();
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(found);
    }
    for setting in ["synchronous_commit", "fsync", "full_page_writes"] {
        let query = Statement::from_string(DbBackend::Postgres, format!("SHOW {setting}"));
        let row = db.query_one_raw(query).await?;
        let value: String = row
            .map(|row| row.try_get_by_index(0))
            .transpose()?
            .unwrap_or_default();
        if value == "off" {
            found.push((setting, value));
        }
    }
    Ok(found)
}
