//! Finding runs again: by what they are, and by what was said in them.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Name, table and columns.
const INDEXES: [(&str, &str, &[&str]); 5] = [
    ("runs_by_status", "runs", &["status", "id"]),
    // What is old enough to be removed.
    ("runs_by_end", "runs", &["finished_at", "id"]),
    ("bots_by_provider", "bots", &["provider", "run_id"]),
    ("bots_by_model", "bots", &["model", "run_id"]),
    // Both at once: each may be common where the two together are not.
    (
        "bots_by_provider_and_model",
        "bots",
        &["provider", "model", "run_id"],
    ),
];

/// The words of each message, as PostgreSQL's full text search takes them. What a word is, is decided by Parley, so that it is the
/// same in every database: `conversation/history.rs`.
const POSTGRES: [&str; 2] = [
    "CREATE TABLE message_words (run_id uuid NOT NULL, pos bigint NOT NULL, words tsvector NOT NULL, PRIMARY KEY (run_id, pos))",
    "CREATE INDEX message_words_by_word ON message_words USING gin (words)",
];

/// The same words in SQLite: which runs a word occurs in.
const SQLITE: [&str; 2] = [
    "CREATE TABLE message_words (word TEXT NOT NULL, run_id BLOB NOT NULL, PRIMARY KEY (word, run_id)) WITHOUT ROWID",
    "CREATE INDEX message_words_by_run ON message_words (run_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::take_the_time_it_takes(manager).await?;
        for (name, table, columns) in INDEXES {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        let statements = match manager.get_database_backend() {
            DbBackend::Postgres => POSTGRES,
            _ => SQLITE,
        };
        for statement in statements {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("message_words").to_owned())
            .await?;
        for (name, table, _) in INDEXES {
            manager
                .drop_index(Index::drop().name(name).table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
