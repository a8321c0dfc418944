//! The index of the claim scan holds only the runs that live: a final one has no owner, and wants none.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Of all runs it would be as large as they are many, and SQLite would rather read them all in the order that the scan asks for.
const LIVE: &str =
    "CREATE INDEX runs_by_owner ON runs (lease_owner, id) WHERE lease_owner IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::take_the_time_it_takes(manager).await?;
        drop_index(manager, "runs_by_lease").await?;
        manager.get_connection().execute_unprepared(LIVE).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "runs_by_owner").await?;
        let mut all = Index::create();
        all.name("runs_by_lease")
            .table("runs")
            .col("lease_owner")
            .col("id");
        manager.create_index(all).await
    }
}

async fn drop_index(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    let index = Index::drop().name(name).table("runs").to_owned();
    manager.drop_index(index).await
}
