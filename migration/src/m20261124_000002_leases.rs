//! Who drives what: the processes that are alive, and how often a run has lost its owner.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

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
                    .table("nodes")
                    .col(string("id").primary_key())
                    .col(big_integer("expires"))
                    .to_owned(),
            )
            .await?;
        manager
            .alter_table(
                Table::alter()
                    .table("runs")
                    .add_column(integer("takeovers").default(0))
                    .to_owned(),
            )
            .await?;
        // The look for commands that wait: few are open at any time.
        manager
            .create_index(
                Index::create()
                    .name("commands_by_outcome")
                    .table("commands")
                    .col("outcome")
                    .col("run_id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(
                Index::drop()
                    .name("commands_by_outcome")
                    .table("commands")
                    .to_owned(),
            )
            .await?;
        manager
            .alter_table(
                Table::alter()
                    .table("runs")
                    .drop_column("takeovers")
                    .to_owned(),
            )
            .await?;
        manager
            .drop_table(Table::drop().table("nodes").to_owned())
            .await
    }
}
