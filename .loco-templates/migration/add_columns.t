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
//! More columns of `{{table}}`. Rows that are there get the default.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
{% for c in columns -%}
{% set stem = c.1 | replace(from="Null", to="") | replace(from="Uniq", to="") -%}
{% set default = "" -%}
{% if stem == "String" %}{% set make = "string" %}{% set default = '""' -%}
{% elif stem == "Text" %}{% set make = "text" %}{% set default = '""' -%}
{% elif stem == "Uuid" %}{% set make = "uuid" %}{% set default = "Uuid::nil()" -%}
{% elif stem == "SmallInteger" %}{% set make = "small_integer" %}{% set default = "0" -%}
{% elif stem == "BigInteger" or stem == "BigUnsigned" or stem == "TimestampWithTimeZone" %}{% set make = "big_integer" %}{% set default = "0" -%}
{% elif stem == "Float" %}{% set make = "float" %}{% set default = "0.0" -%}
{% elif stem == "Double" %}{% set make = "double" %}{% set default = "0.0" -%}
{% elif stem == "Boolean" %}{% set make = "boolean" %}{% set default = "false" -%}
{% elif stem == "Json" or stem == "JsonBinary" %}{% set make = "text" %}{% set default = '"null"' -%}
{% else %}{{ throw(message="no type for " ~ c.1) }}
{% endif -%}
{% set column = make ~ '("' ~ c.0 ~ '")' -%}
{% if c.1 is ending_with("Null") %}{% set column = make ~ '_null("' ~ c.0 ~ '")' -%}
{% elif stem == "Uuid" %}{% set column = column ~ '.default("00000000-0000-7000-8000-000000000000")' -%}
{% else %}{% set column = column ~ ".default(" ~ default ~ ")" -%}
{% endif %}        manager
            .alter_table(Table::alter().table("{{table}}").add_column({{column}}).to_owned())
            .await?;
{% endfor -%}
{% for r in references -%}
{% set column = r.0 | trim_end_matches(pat="?") -%}
{% set column = column ~ "_id" -%}
{% if r.1 %}{% set column = r.1 %}{% endif %}        manager
            .alter_table(Table::alter().table("{{table}}").add_column(uuid_null("{{column}}")).to_owned())
            .await?;
        manager
            .create_index(Index::create().name("{{table}}_by_{{column}}").table("{{table}}").col("{{column}}").to_owned())
            .await?;
{% endfor -%}
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A connection that has not seen the step before would not find the column: it has to look first.
        manager.get_connection().execute_unprepared("SELECT 1 FROM {{table}} LIMIT 0").await?;
{% for r in references -%}
{% set column = r.0 | trim_end_matches(pat="?") -%}
{% set column = column ~ "_id" -%}
{% if r.1 %}{% set column = r.1 %}{% endif %}        manager
            .drop_index(Index::drop().name("{{table}}_by_{{column}}").table("{{table}}").to_owned())
            .await?;
        manager
            .alter_table(Table::alter().table("{{table}}").drop_column("{{column}}").to_owned())
            .await?;
{% endfor -%}
{% for c in columns %}        manager
            .alter_table(Table::alter().table("{{table}}").drop_column("{{c.0}}").to_owned())
            .await?;
{% endfor -%}
        Ok(())
    }
}
