//! The database's schema, as steps that go up and down.
//!
//! One schema for SQLite and PostgreSQL: times are integers of milliseconds since 1970, JSON is text, words are strings.
//! Each step is one transaction: a process that is killed within it leaves nothing of it behind, and the next one begins anew.
//! There are no foreign keys to `runs`: deleting a run takes its row first and the rest in batches.

pub use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m20261124_000001_runs;
mod m20261124_000002_leases;
mod m20261124_000003_idempotency;
mod m20261124_000004_history;
mod m20261124_000005_live_runs;
mod m20261124_000006_reasoning;
mod m20261124_000007_fallback;
mod m20261124_000008_cost;
mod m20261125_000009_context;
mod m20261125_000010_traces;
mod m20261125_000011_owners;
mod m20261129_000012_quotas;
mod m20261129_000013_audit;
mod m20261129_000014_sessions;
mod m20261129_000015_open_streams;

/// That a step is one transaction, in SQLite too, where it is none if nothing is said.
const WHOLE: Option<bool> = Some(true);

/// Building an index takes longer, on a large database, than a statement of the application may.
async fn take_the_time_it_takes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        let unlimited = "SET LOCAL statement_timeout = 0";
        manager
            .get_connection()
            .execute_unprepared(unlimited)
            .await?;
    }
    Ok(())
}

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
            Box::new(m20261124_000005_live_runs::Migration),
            Box::new(m20261124_000006_reasoning::Migration),
            Box::new(m20261124_000007_fallback::Migration),
            Box::new(m20261124_000008_cost::Migration),
            Box::new(m20261125_000009_context::Migration),
            Box::new(m20261125_000010_traces::Migration),
            Box::new(m20261125_000011_owners::Migration),
            Box::new(m20261129_000012_quotas::Migration),
            Box::new(m20261129_000013_audit::Migration),
            Box::new(m20261129_000014_sessions::Migration),
            Box::new(m20261129_000015_open_streams::Migration),
            // inject-above (do not remove this comment)
        ]
    }
}
