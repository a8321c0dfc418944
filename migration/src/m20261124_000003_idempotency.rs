//! Answers that are given again to a request that comes twice.

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
                    .table("idempotency_keys")
                    // Who sent it; empty for nobody.
                    .col(string("subject"))
                    // Method and path.
                    .col(string("route"))
                    .col(string("key"))
                    .col(string("body_hash"))
                    .col(integer("status"))
                    .col(text("answer"))
                    .col(big_integer("expires"))
                    .primary_key(Index::create().col("subject").col("route").col("key"))
                    .to_owned(),
            )
            .await?;
        // Expired ones are taken away.
        manager
            .create_index(
                Index::create()
                    .name("idempotency_keys_by_expiry")
                    .table("idempotency_keys")
                    .col("expires")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("idempotency_keys").to_owned())
            .await
    }
}
