{% set mig_ts = ts | date(format="%Y%m%d_%H%M%S") -%}
{% set step = name | snake_case -%}
{% set migration = "m" ~ mig_ts ~ "_" ~ step -%}
to: "migration/src/{{migration}}.rs"
skip_glob: "migration/src/m????????_??????_{{step}}.rs"
message: "The step `{{step}}` is empty: write its statements, both ways, in migration/src/{{migration}}.rs."
injections:
- into: "migration/src/lib.rs"
  before: "inject-above"
  content: "            Box::new({{migration}}::Migration),"
- into: "migration/src/lib.rs"
  after_last: "^mod "
  content: "mod {{migration}};"
---
//! The step `{{step}}`.

use sea_orm_migration::{prelude::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// What is done, and what takes it back; for SQLite and PostgreSQL alike.
const UP: &[&str] = &[];
const DOWN: &[&str] = &[];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
