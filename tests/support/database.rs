//! A database of a test's own.

use std::time::Duration;

use parley::models::{PoolOptions, PostgresOptions};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

/// A pool as the application opens it.
pub(crate) fn pool(uri: &str) -> PoolOptions {
    PoolOptions {
        uri: uri.into(),
        min_connections: 0,
        max_connections: 5,
        timeout: Duration::from_secs(5),
        postgres: PostgresOptions {
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(5),
            synchronous_commit: "on".to_owned(),
        },
    }
}

/// Made for one test; taken away by [`Database::remove`].
pub(crate) struct Database {
    pub(crate) uri: String,
    kind: Kind,
}

enum Kind {
    Memory,
    File(tempfile::TempDir),
    Postgres {
        name: String,
        server: DatabaseConnection,
    },
}

impl Database {
    /// By `PARLEY_TEST_DATABASE`: `memory` (without it), `file`, or `postgres` on the server of `PARLEY_TEST_POSTGRES_URL`.
    pub(crate) async fn of_this_run() -> Self {
        match std::env::var("PARLEY_TEST_DATABASE").as_deref() {
            Err(_) | Ok("" | "memory") => Self {
                uri: "sqlite::memory:".to_owned(),
                kind: Kind::Memory,
            },
            Ok("file") => {
                let folder = tempfile::tempdir().unwrap();
                Self {
                    uri: format!(
                        "sqlite://{}/parley.sqlite?mode=rwc",
                        folder.path().display()
                    ),
                    kind: Kind::File(folder),
                }
            }
            Ok("postgres") => Self::postgres()
                .await
                .expect("PARLEY_TEST_POSTGRES_URL is set"),
            Ok(other) => panic!("PARLEY_TEST_DATABASE={other}: memory, file or postgres"),
        }
    }

    /// A new one on the server that `PARLEY_TEST_POSTGRES_URL` names; `None`, and a word about it, without that variable.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server_uri) = std::env::var("PARLEY_TEST_POSTGRES_URL") else {
            eprintln!("skipped: PARLEY_TEST_POSTGRES_URL is not set");
            return None;
        };
        let server = sea_orm::Database::connect(&server_uri).await.unwrap();
        let name = format!("parley_test_{}", uuid::Uuid::now_v7().simple());
        server
            .execute_unprepared(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let mut uri = url::Url::parse(&server_uri).unwrap();
        uri.set_path(&name);
        Some(Self {
            uri: uri.into(),
            kind: Kind::Postgres { name, server },
        })
    }

    /// Takes it away with all that is in it.
    pub(crate) async fn remove(self) {
        match self.kind {
            Kind::Memory => {}
            Kind::File(folder) => folder.close().unwrap(),
            Kind::Postgres { name, server } => {
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                server.execute_unprepared(&drop).await.unwrap();
            }
        }
    }
}
