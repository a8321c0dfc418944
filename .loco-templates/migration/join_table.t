{% set mig_ts = ts | date(format="%Y%m%d_%H%M%S") -%}
{% set step = name | snake_case -%}
{% set migration = "m" ~ mig_ts ~ "_" ~ step -%}
{% set table = table | plural | snake_case -%}
to: "migration/src/{{migration}}.rs"
skip_glob: "migration/src/m????????_??????_{{step}}.rs"
message: "The table `{{table}}` is made at the next start. Name its columns in src/models when something reads them."
injections:
- into: "migration/src/lib.rs"
  before: "inject-above"
  content: "            Box::new({{migration}}::Migration),"
- into: "migration/src/lib.rs"
  after_last: "^mod "
  content: "mod {{migration}};"
- into: "src/models/schema.rs"
  after: "// tables-inject"
  content: "    \"{{table}}\","
---
//! The table `{{table}}`, which joins two others; its key is that of both.

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
                    .table("{{table}}")
{% for r in references -%}
{% set column = r.0 | trim_end_matches(pat="?") -%}
{% set column = column ~ "_id" -%}
{% if r.1 %}{% set column = r.1 %}{% endif %}                    .col(uuid{% if r.0 is ending_with("?") %}_null{% endif %}("{{column}}"))
{% endfor -%}
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
{% if c.1 is ending_with("Null") %}{% set column = make ~ '_null("' ~ c.0 ~ '")' %}{% endif %}                    .col({{column}})
{% endfor -%}
                    .primary_key(Index::create(){% for r in references | slice(end=2) %}{% set column = r.0 | trim_end_matches(pat="?") %}.col("{{column}}_id"){% endfor %})
                    .to_owned(),
            )
            .await?;
{% for r in references | slice(start=1, end=2) -%}
{% set column = r.0 | trim_end_matches(pat="?") -%}
        manager
            .create_index(Index::create().name("{{table}}_by_{{column}}_id").table("{{table}}").col("{{column}}_id").to_owned())
            .await
{% endfor -%}
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("{{table}}").to_owned())
            .await
    }
}
