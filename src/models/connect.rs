//! Opens the database so that it keeps what it was given.

use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::StoreError;

/// How many connections the pool holds, and how long its callers wait.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The database's address.
    pub uri: String,
    /// The most connections. Not for memory: there is exactly one.
    pub max_connections: u32,
    /// How long opening a connection, or waiting for a free one, may take.
    pub timeout: Duration,
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
    let mut connect = ConnectOptions::new(&options.uri);
    connect
        .sqlx_logging(false)
        .connect_timeout(options.timeout)
        .acquire_timeout(options.timeout)
        .max_connections(options.max_connections);
    if is_memory(&options.uri) {
        connect
            .min_connections(1)
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None);
    } else if options.uri.starts_with("sqlite:") {
        connect.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .busy_timeout(Duration::from_secs(5))
        });
    }
    Ok(Database::connect(connect).await?)
}
