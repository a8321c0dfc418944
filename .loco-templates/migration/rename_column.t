{% set mig_ts = ts | date(format="%Y%m%d_%H%M%S") -%}
{% set step = name | snake_case -%}
{% set migration = "m" ~ mig_ts ~ "_" ~ step -%}
{% set table = table | plural | snake_case -%}
to: "migration/src/{{migration}}.rs"
skip_glob: "migration/src/m????????_??????_{{step}}.rs"
message: "Name what it changed in src/models/_entities/{{table}}.rs, too: no generator writes over code that is there."
injections:
- into: "migration/src/lib.rs"
  before: "inject-above"
  content: "            Box::new({{migration}}::Migration),"
- into: "migration/src/lib.rs"
  after_last: "^mod "
  content: "mod {{migration}};"
---
//! `{{from}}` of `{{table}}` is called `{{to}}`.

use sea_orm_migration::{prelude::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A connection that has not seen the step before would not find the column: it has to look first.
        manager.get_connection().execute_unprepared("SELECT 1 FROM {{table}} LIMIT 0").await?;
        manager
            .alter_table(
                Table::alter()
                    .table("{{table}}")
                    .rename_column("{{from}}", "{{to}}")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A connection that has not seen the step before would not find the column: it has to look first.
        manager.get_connection().execute_unprepared("SELECT 1 FROM {{table}} LIMIT 0").await?;
        manager
            .alter_table(
                Table::alter()
                    .table("{{table}}")
                    .rename_column("{{to}}", "{{from}}")
                    .to_owned(),
            )
            .await
    }
}
