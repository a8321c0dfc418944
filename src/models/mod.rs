//! The database: rows, finders and the transactions that keep log and projections together.
//!
//! **Invariant:** an event, its projection and the totals are written in one transaction, which begins with the guarded write
//! of the run's row: that row's lock orders owners, claimers and commands. A connection is held for one statement or one short
//! transaction, never across a wait for anything else: the in-memory default has exactly one.
//!
//! **May import:** conversation. The only room (beside the composition root) that knows sea-orm.

pub mod _entities;
mod audit;
mod changes;
mod commands;
mod connect;
mod db;
mod deletion;
mod driving_lock;
mod events;
mod history;
mod idempotency;
mod leases;
mod open_streams;
mod quotas;
mod rows;
mod runs;
mod schema;
mod search;
mod sessions;
mod transcript;
mod trouble;

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbBackend, DbErr};

pub use changes::{AttemptRecord, Change, Committed, Fence, Head};
pub use commands::{Applied, Command, CommandKind, Locked, Order, Ordered};
pub use connect::{Connections, PoolOptions, PostgresOptions, close, connect, is_memory, unsynced};
pub use driving_lock::DrivingLock;
pub use events::LoggedEvent;
pub use idempotency::KeptAnswer;
pub use leases::Takeover;
pub use runs::{Asked, Claimed, Inserted};
pub use schema::{SchemaError, TABLES, check_schema};
pub use sessions::{LiveSession, Session, SessionsOf};
pub use transcript::TranscriptReader;
pub use trouble::explain;

use crate::conversation::{Meter, RunError};

/// The database, behind the few things that Parley asks of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: db::Db,
}

impl Store {
    /// The store on this connection pool; the schema must be there. `patience`: how long a statement of a database elsewhere may
    /// take before it counts as failed.
    #[must_use]
    pub fn new(pool: DatabaseConnection, patience: Duration) -> Self {
        let elsewhere = pool.get_database_backend() == DbBackend::Postgres;
        Self {
            db: db::Db::new(pool, elsewhere.then_some(patience)),
        }
    }

    /// The same, telling how long the database takes for what.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self {
            db: self.db.metered(meter),
        }
    }

    /// The connections that are open, and how many of them are in use.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections::of(self.db.pool())
    }

    /// Asks the database for nothing.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.db.ping().await?)
    }
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database, or the way to it, failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// A row holds what this version of Parley cannot read.
    #[error("the database holds {what}, which this version cannot read")]
    Unreadable {
        /// What was found, and where.
        what: String,
    },
    /// The run is not driven by the caller (any more): another owner has written since.
    #[error("the run's lease was lost")]
    LeaseLost,
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_) if error.passes() => Self::Unavailable(Box::new(error)),
            StoreError::Database(_) | StoreError::Unreadable { .. } | StoreError::LeaseLost => {
                Self::Internal(Box::new(error))
            }
        }
    }
}
