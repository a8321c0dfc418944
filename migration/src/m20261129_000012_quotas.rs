//! What owners have taken of their quotas, and how fast runs are created.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The runs of an owner that are not over.
const LIVE: &str = "CREATE INDEX live_runs_of_owner ON runs (owner) WHERE lease_owner IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::take_the_time_it_takes(manager).await?;
        manager
            .create_table(
                Table::create()
                    .table("creation_rates")
                    // `owner` or `address`, a blank, and which.
                    .col(string("subject").primary_key())
                    // When all that was created would be, at the allowed rate: microseconds since 1970. Of no use once it is over.
                    .col(big_integer("due"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("spending")
                    .col(string("owner"))
                    // Since 1970, UTC.
                    .col(big_integer("day"))
                    // Which of the day's sums: each run adds to one, so that an owner's runs do not all wait for the same row.
                    .col(integer("part"))
                    // In and out.
                    .col(big_integer("tokens"))
                    // 10⁻¹² dollars.
                    .col(big_integer("cost"))
                    .primary_key(Index::create().col("day").col("owner").col("part"))
                    .to_owned(),
            )
            .await?;
        manager.get_connection().execute_unprepared(LIVE).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop()
            .name("live_runs_of_owner")
            .table("runs")
            .to_owned();
        manager.drop_index(index).await?;
        for table in ["spending", "creation_rates"] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
