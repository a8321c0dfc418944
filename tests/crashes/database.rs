//! A PostgreSQL database of a test's own.

use sea_orm::{ConnectionTrait as _, DatabaseConnection};

/// Made for one test; taken away by [`Database::remove`].
pub(super) struct Database {
    pub(super) uri: String,
    name: String,
    server: DatabaseConnection,
}

impl Database {
    /// A new one on the server that `PARLEY_TEST_POSTGRES_URL` names; `None`, and a word about it, without that variable.
    pub(super) async fn postgres() -> Option<Self> {
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
            name,
            server,
        })
    }

    pub(super) async fn remove(self) {
        self.server
            .execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await
            .unwrap();
    }
}
