//! The database's schema, as steps that go up and down.
//!
//! One schema for SQLite and PostgreSQL: times are integers of milliseconds since 1970, JSON is text, words are strings.
//! There are no foreign keys to `runs`: deleting a run takes its row first and the rest in batches.

pub use sea_orm_migration::prelude::*;

mod m20261124_000001_runs;
mod m20261124_000002_leases;
mod m20261124_000003_idempotency;
mod m20261124_000004_history;
mod m20261124_000006_cost;

/// All steps, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_runs::Migration),
            Box::new(m20261124_000002_leases::Migration),
            Box::new(m20261124_000003_idempotency::Migration),
            Box::new(m20261124_000004_history::Migration),
            Box::new(m20261124_000006_cost::Migration),
            // inject-above (do not remove this comment)
        ]
    }
}
