//! Who did what with which run.

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
                    .table("audit")
                    // A uuid v7: the rows of a run are in the order of their ids.
                    .col(uuid("id").primary_key())
                    // Which may be deleted: the row stays.
                    .col(uuid("run_id"))
                    .col(big_integer("at"))
                    // `start`, `update_bot`, `stop`, `export` or `delete`.
                    .col(string("act"))
                    // What tells one such act from another, as a JSON object.
                    .col(text("detail"))
                    // Who; empty where no login is asked for.
                    .col(string("owner"))
                    // By what login: `basic`, `bearer` or `session`.
                    .col(string_null("login"))
                    // From where; null for what no request asked for.
                    .col(string_null("address"))
                    .col(string("request_id"))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("audit_by_run", &["run_id", "id"][..]),
            ("audit_by_time", &["at"]),
        ] {
            let mut index = Index::create().name(name).table("audit").to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("audit").to_owned())
            .await
    }
}
