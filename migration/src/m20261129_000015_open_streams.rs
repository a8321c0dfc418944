//! How many streams of an owner are open at which process, where there is a limit.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("open_streams")
                    .col(string("owner"))
                    // A row of `nodes`: without one, or once it has expired, nothing is open there.
                    .col(string("node"))
                    .col(big_integer("open"))
                    .primary_key(Index::create().col("owner").col("node"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("open_streams").to_owned())
            .await
    }
}
