//! What becomes of runs that outgrow a context window, where it was cut, and of which attempts no more can be charged than was counted.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Of a message that is a cut: the oldest turn that its bot is still shown, and how many attempts of its turn had ended.
const CUT: [&str; 2] = ["kept_from_turn", "after_attempt"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table("runs")
                    .add_column(string("context_policy").default("fail"))
                    .to_owned(),
            )
            .await?;
        manager
            .alter_table(
                Table::alter()
                    .table("attempts")
                    .add_column(boolean("settled").default(false))
                    .to_owned(),
            )
            .await?;
        let completed = Query::update()
            .table("attempts")
            .value("settled", true)
            .and_where(Expr::col("outcome").eq("completed"))
            .to_owned();
        manager.execute(completed).await?;
        // SQLite adds one column a statement.
        for column in CUT {
            manager
                .alter_table(
                    Table::alter()
                        .table("messages")
                        .add_column(integer_null(column))
                        .to_owned(),
                )
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in CUT {
            manager
                .alter_table(
                    Table::alter()
                        .table("messages")
                        .drop_column(column)
                        .to_owned(),
                )
                .await?;
        }
        manager
            .alter_table(
                Table::alter()
                    .table("attempts")
                    .drop_column("settled")
                    .to_owned(),
            )
            .await?;
        manager
            .alter_table(
                Table::alter()
                    .table("runs")
                    .drop_column("context_policy")
                    .to_owned(),
            )
            .await
    }
}
