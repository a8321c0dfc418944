//! Money: what each attempt cost, and what runs and their bots have cost so far. Amounts are whole 10⁻¹² dollars.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            // Null: unknown, which is not zero.
            ("attempts", big_integer_null("cost")),
            // Of the attempt that gave the text.
            ("messages", big_integer_null("cost")),
            // The sum of what is known; `cost_complete` says whether that is all. What was asked before has no price, and was not
            // complete either.
            ("runs", big_integer("cost").default(0).to_owned()),
            // The part of each bot, by index, as JSON; shorter than there are bots where nobody has counted.
            ("runs", text("spent").default("[]").to_owned()),
        ] {
            let mut alter = Table::alter();
            alter.table(table).add_column(column);
            manager.alter_table(alter).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("runs", "spent"),
            ("runs", "cost"),
            ("messages", "cost"),
            ("attempts", "cost"),
        ] {
            let mut alter = Table::alter();
            alter.table(table).drop_column(column);
            manager.alter_table(alter).await?;
        }
        Ok(())
    }
}
