//! Runs, their bots, what was said, what was asked of providers, the event log and the command inbox.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [runs(), bots(), messages(), attempts(), events(), commands()] {
            manager.create_table(table).await?;
        }
        // The claim scan: runs that want an owner, oldest first (ids are UUIDs of version 7).
        manager
            .create_index(
                Index::create()
                    .name("runs_by_lease")
                    .table("runs")
                    .col("lease_owner")
                    .col("id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["commands", "events", "attempts", "messages", "bots", "runs"] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}

fn runs() -> TableCreateStatement {
    Table::create()
        .table("runs")
        .col(pk_uuid("id"))
        .col(string("owner"))
        .col(string("status"))
        .col(string_null("reason"))
        .col(string_null("error_code"))
        .col(text_null("error_message"))
        .col(text("topic"))
        .col(integer("bot_count"))
        .col(integer("max_turns"))
        .col(integer("turns"))
        .col(big_integer_null("open_seq"))
        .col(text("usage"))
        .col(boolean("cost_complete"))
        .col(big_integer("last_seq"))
        .col(big_integer("last_command"))
        .col(string_null("lease_owner"))
        .col(big_integer("lease_epoch"))
        .col(big_integer("created_at"))
        .col(big_integer_null("started_at"))
        .col(big_integer_null("finished_at"))
        .to_owned()
}

fn bots() -> TableCreateStatement {
    Table::create()
        .table("bots")
        .col(uuid("run_id"))
        .col(integer("bot_index"))
        .col(integer("version"))
        .col(string("name"))
        .col(string("provider"))
        .col(string("model"))
        .col(text_null("system_prompt"))
        .col(text("params"))
        .col(integer_null("effective_from_turn"))
        .primary_key(
            Index::create()
                .col("run_id")
                .col("bot_index")
                .col("version"),
        )
        .to_owned()
}

fn messages() -> TableCreateStatement {
    Table::create()
        .table("messages")
        .col(uuid("run_id"))
        .col(big_integer("pos"))
        .col(string("kind"))
        .col(integer_null("turn"))
        .col(integer_null("bot_index"))
        .col(integer_null("bot_version"))
        .col(string("author"))
        .col(text("text"))
        .col(string("status"))
        .col(string_null("stop_reason"))
        .col(text("usage"))
        .col(string_null("provider"))
        .col(string_null("model"))
        .col(big_integer("at"))
        .primary_key(Index::create().col("run_id").col("pos"))
        .to_owned()
}

fn attempts() -> TableCreateStatement {
    Table::create()
        .table("attempts")
        .col(uuid("run_id"))
        .col(integer("turn"))
        .col(integer("attempt"))
        .col(string("provider"))
        .col(string("model"))
        .col(string("outcome"))
        .col(text("usage"))
        .col(big_integer("duration_ms"))
        .col(big_integer_null("first_delta_ms"))
        .col(big_integer("at"))
        .primary_key(Index::create().col("run_id").col("turn").col("attempt"))
        .to_owned()
}

fn events() -> TableCreateStatement {
    Table::create()
        .table("events")
        .col(uuid("run_id"))
        .col(big_integer("seq"))
        .col(string("name"))
        .col(text("payload"))
        .col(big_integer("at"))
        .primary_key(Index::create().col("run_id").col("seq"))
        .to_owned()
}

fn commands() -> TableCreateStatement {
    Table::create()
        .table("commands")
        .col(uuid("run_id"))
        .col(big_integer("id"))
        .col(string("kind"))
        .col(text("payload"))
        .col(big_integer("created_at"))
        .col(big_integer_null("applied_seq"))
        .col(string_null("outcome"))
        .primary_key(Index::create().col("run_id").col("id"))
        .to_owned()
}
