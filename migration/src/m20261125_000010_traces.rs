//! Where the trace is that a run belongs to, so that whoever takes the run over goes on with it.

use sea_orm_migration::{prelude::*, schema::*};

/// As W3C writes them; null where the run was started without.
const COLUMNS: [&str; 2] = ["traceparent", "tracestate"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column a statement.
        for column in COLUMNS {
            manager
                .alter_table(
                    Table::alter()
                        .table("runs")
                        .add_column(string_len_null(column, 512))
                        .to_owned(),
                )
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            manager
                .alter_table(Table::alter().table("runs").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
