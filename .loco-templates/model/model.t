{# A field is a text of parts: 0 column, 1 kind, 2 "null" or nothing, 3 "unique" or nothing, 4 in the migration, 5 in the row, 6 in the conversation. -#}
{% set snake = name | snake_case -%}
{% set many = snake | plural -%}
{% set one = snake -%}
{% if snake is ending_with("ies") -%}
{% set stem = snake | trim_end_matches(pat="ies") -%}
{% set one = stem ~ "y" -%}
{% elif snake is ending_with("xes") or snake is ending_with("ches") or snake is ending_with("shes") -%}
{% set one = snake | trim_end_matches(pat="es") -%}
{% elif snake is ending_with("ss") or snake is ending_with("us") or snake is ending_with("is") -%}
{% elif snake is ending_with("s") -%}
{% set one = snake | trim_end_matches(pat="s") -%}
{% endif -%}
{% set type = one | pascal_case -%}
{% set form = type ~ "Form" -%}
{% set words = many | replace(from="_", to=" ") -%}
{% set word = one | replace(from="_", to=" ") -%}
{% set fields = [] -%}
{% for c in columns -%}
{% set stem = c.1 | replace(from="Null", to="") | replace(from="Uniq", to="") -%}
{% set end = "|" -%}
{% if c.1 is ending_with("Null") %}{% set end = "null|" %}{% elif c.1 is ending_with("Uniq") %}{% set end = "|unique" %}{% endif -%}
{% if stem == "String" %}{% set f = "string|" ~ end ~ "|string|String|String" -%}
{% elif stem == "Text" %}{% set f = "text|" ~ end ~ "|text|String|String" -%}
{% elif stem == "Uuid" %}{% set f = "uuid|" ~ end ~ "|uuid|Uuid|Uuid" -%}
{% elif stem == "SmallInteger" %}{% set f = "int|" ~ end ~ "|small_integer|i16|i16" -%}
{% elif stem == "BigInteger" %}{% set f = "int|" ~ end ~ "|big_integer|i64|i64" -%}
{% elif stem == "BigUnsigned" %}{% set f = "unsigned|" ~ end ~ "|big_integer|i64|i64" -%}
{% elif stem == "Float" %}{% set f = "float|" ~ end ~ "|float|f32|f32" -%}
{% elif stem == "Double" %}{% set f = "double|" ~ end ~ "|double|f64|f64" -%}
{% elif stem == "Boolean" %}{% set f = "bool|" ~ end ~ "|boolean|bool|bool" -%}
{% elif stem == "TimestampWithTimeZone" %}{% set f = "moment|" ~ end ~ "|big_integer|i64|Timestamp" -%}
{% elif stem == "Json" or stem == "JsonBinary" %}{% set f = "json|" ~ end ~ "|text|String|Value" -%}
{% else %}{{ throw(message="no type for " ~ c.1) }}
{% endif -%}
{% set_global fields = fields | concat(with=c.0 ~ "|" ~ f) -%}
{% endfor -%}
{# Whether it belongs to a run, and goes with it: "run", "run?" where it may, or nothing. -#}
{% set of_run = "" -%}
{% for r in references -%}
{% set end = "" -%}
{% if r.0 is ending_with("?") %}{% set end = "null" %}{% endif -%}
{% set column = r.0 | trim_end_matches(pat="?") -%}
{% set column = column ~ "_id" -%}
{% if r.1 %}{% set column = r.1 %}{% endif -%}
{% if column == "run_id" %}{% set_global of_run = r.0 %}{% endif -%}
{% set_global fields = fields | concat(with=column ~ "|ref|" ~ end ~ "||uuid|Uuid|Uuid") -%}
{% endfor -%}
{# Which kinds there are, as one text. -#}
{% set kinds = "" -%}
{% for field in fields -%}
{% set f = field | split(pat="|") -%}
{% set_global kinds = kinds ~ " " ~ f.1 ~ " " ~ f.3 ~ "." -%}
{% endfor -%}
{% set timed = false -%}
{% if with_tz is defined and with_tz %}{% set timed = true %}{% endif -%}
{% set only_table = is_link is defined -%}
{% set mig_ts = ts | date(format="%Y%m%d_%H%M%S") -%}
{% set migration = "m" ~ mig_ts ~ "_" ~ many -%}
to: "target/generated/model"
skip_glob: "migration/src/m????????_??????_{{many}}.rs"
{% if only_table -%}
message: "The table `{{many}}` is made at the next start. Name its columns in src/models when something reads them."
{% else -%}
message: "`{{type}}` is in src/conversation/{{many}}.rs, its table in migration/src/{{migration}}.rs, its finders are in src/models/{{many}}.rs."
{% endif -%}
injections:
- into: "migration/src/lib.rs"
  before: "inject-above"
  content: "            Box::new({{migration}}::Migration),"
- into: "migration/src/lib.rs"
  after_last: "^mod "
  content: "mod {{migration}};"
- into: "src/models/schema.rs"
  after: "// tables-inject"
  content: "    \"{{many}}\","
{% if of_run -%}
- into: "src/models/deletion.rs"
  after: "search::TABLE,"
  content: "            \"{{many}}\","
{% endif -%}
{% if not only_table -%}
- into: "src/models/_entities/mod.rs"
  after_last: "^pub mod "
  content: "pub mod {{many}};"
- into: "src/models/mod.rs"
  after: "^mod "
  content: "mod {{many}};"
- into: "src/conversation/mod.rs"
  before: "^mod "
  content: "mod {{many}};"
- into: "src/conversation/mod.rs"
  before: "^pub use "
  content: "pub use {{many}}::{ {{- type}}, {{form -}} };"
{% endif -%}
---
//=> migration/src/{{migration}}.rs
//! The table `{{many}}`.

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
                    .table("{{many}}")
                    .col(pk_uuid("id"))
{%- for field in fields %}{% set f = field | split(pat="|") %}
                    .col({{f.4}}{% if f.2 %}_null{% endif %}("{{f.0}}"))
{%- endfor %}
{%- if timed %}
                    .col(big_integer("created_at"))
                    .col(big_integer("updated_at"))
{%- endif %}
                    .to_owned(),
            )
            .await?;
{%- for field in fields %}{% set f = field | split(pat="|") %}{% if f.3 or f.1 == "ref" %}
        manager
            .create_index(
                Index::create()
                    {% if f.3 %}.unique(){% endif %}
                    .name("{{many}}_by_{{f.0}}")
                    .table("{{many}}")
                    .col("{{f.0}}")
                    .to_owned(),
            )
            .await?;
{%- endif %}{% endfor %}
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("{{many}}").to_owned())
            .await
    }
}
{% if not only_table -%}
//=> src/models/_entities/{{many}}.rs
//! Table `{{many}}`.

use sea_orm::entity::prelude::*;

/// A row of `{{many}}`.
#[derive(Clone, Debug, PartialEq, {% if not kinds is containing("float") and not kinds is containing("double") %}Eq, {% endif %}DeriveEntityModel)]
#[sea_orm(table_name = "{{many}}")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
{%- for field in fields %}{% set f = field | split(pat="|") %}
{%- if f.4 == "text" %}
    #[sea_orm(column_type = "Text"{% if f.2 %}, nullable{% endif %})]
{%- elif f.4 == "float" %}
    #[sea_orm(column_type = "Float"{% if f.2 %}, nullable{% endif %})]
{%- elif f.4 == "double" %}
    #[sea_orm(column_type = "Double"{% if f.2 %}, nullable{% endif %})]
{%- elif f.3 %}
    #[sea_orm(unique)]
{%- endif %}
    pub {{f.0}}: {% if f.2 %}Option<{{f.5}}>{% else %}{{f.5}}{% endif %},
{%- endfor %}
{%- if timed %}
    pub created_at: i64,
    pub updated_at: i64,
{%- endif %}
}

/// No relations are declared: rows are read by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
//=> src/conversation/{{many}}.rs
//! {{words | capitalize}}: what a {{word}} is, and the rules for one that comes in.

use serde::Deserialize;
{%- if kinds is containing("json") %}
use serde_json::Value;
{%- endif %}
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{
{%- if timed or kinds is containing("moment") %}
    time::Timestamp,
{%- endif %}
    validate::{Violation, check{% if kinds is containing("string") %}, no_control{% endif %}{% if kinds is containing("text") %}, within_text_limit{% endif %}},
};

/// A {{word}} as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct {{type}} {
    /// Its identity: a UUID of version 7, so that newer ones sort after older ones.
    pub id: Uuid,
{%- for field in fields %}{% set f = field | split(pat="|") %}
    /// Its {{f.0 | replace(from="_", to=" ")}}.
    pub {{f.0}}: {% if f.2 %}Option<{{f.6}}>{% else %}{{f.6}}{% endif %},
{%- endfor %}
{%- if timed %}
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
{%- endif %}
}

/// A {{word}} as a caller gives it: to make one, or in place of one.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct {{form}} {
{%- for field in fields %}{% set f = field | split(pat="|") %}
    /// Its {{f.0 | replace(from="_", to=" ")}}.
{%- if f.1 == "string" and f.2 %}
    #[validate(
        length(max = 255, message = "must have at most 255 characters"),
        custom(function = "no_control")
    )]
    #[schema(max_length = 255)]
{%- elif f.1 == "string" %}
    #[validate(
        length(min = 1, max = 255, message = "must have 1 to 255 characters"),
        custom(function = "no_control")
    )]
    #[schema(min_length = 1, max_length = 255)]
{%- elif f.1 == "text" %}
    #[validate(custom(function = "within_text_limit"))]
    #[schema(max_length = 32_768)]
{%- elif f.1 == "unsigned" %}
    #[validate(range(min = 0, message = "must not be negative"))]
    #[schema(minimum = 0)]
{%- elif f.1 == "float" %}
    #[validate(range(min = -3.4e38, max = 3.4e38, message = "is too large"))]
{%- endif %}
    pub {{f.0}}: {% if f.2 %}Option<{{f.6}}>{% else %}{{f.6}}{% endif %},
{%- endfor %}
}

impl {{form}} {
    /// Checks every rule.
    ///
    /// # Errors
    /// Every rule that it breaks.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        check(self)
    }
}
//=> src/models/{{many}}.rs
//! {{words | capitalize}}: made, found, changed, removed.

use sea_orm::{
{%- if of_run %}
    sea_query::LockType,
{%- endif %}
    ActiveModelTrait as _,
    ActiveValue::{Set{% if timed or fields | length > 0 %}, Unchanged{% endif -%} },
    ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use super::{
    _entities::{% if of_run %}{runs, {% endif %}{{many}}::{ActiveModel, Column, Entity, Model}{% if of_run %}}{% endif %},
    Store, StoreError,
{%- if of_run %}
    db::Transaction,
{%- endif %}
{%- if kinds is containing("json") %}
    rows::{json, read_json},
{%- endif %}
};
use crate::conversation::{ {{- type}}, {{form}}, RunError{% if timed or kinds is containing("moment") %}, Timestamp{% endif %}{% if of_run or kinds is containing("unique") %}, Violation{% endif -%} };

impl Store {
    /// Writes a new {{word}}.
    ///
    /// # Errors
    /// {% if of_run %}`Invalid` where there is no such run{% if kinds is containing("unique") %}, or another one has what is unique{% endif %}; w{% elif kinds is containing("unique") %}`Invalid` where another one has what is unique; w{% else %}W{% endif %}hen the database fails.
    pub async fn insert_{{one}}(
        &self,
        id: Uuid,
        form: &{{form}},
{%- if timed %}
        at: Timestamp,
{%- endif %}
    ) -> Result<{{type}}, RunError> {
        let row = ActiveModel {
            id: Set(id),
{%- if timed %}
            created_at: Set(at.as_millis()),
            updated_at: Set(at.as_millis()),
{%- endif %}
            ..given(form)?
        };
{%- if of_run %}
        let txn = self.db.begin().await.map_err(refused)?;
        let row = row.insert(&txn).await.map_err(refused)?;
        of_a_run(&txn, row.run_id).await?;
        txn.commit().await.map_err(refused)?;
{%- else %}
        let row = row.insert(&self.db).await.map_err(refused)?;
{%- endif %}
        Ok(read(row)?)
    }

    /// The {{word}} with that identity.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_{{one}}(&self, id: Uuid) -> Result<Option<{{type}}>, StoreError> {
        let row = Entity::find_by_id(id).one(&self.db).await?;
        row.map(read).transpose()
    }

    /// Up to `limit` {{words}}, newest first, from the one after `after` on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_{{many}}(
        &self,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<{{type}}>, StoreError> {
        let mut rows = Entity::find().order_by_desc(Column::Id).limit(limit);
        if let Some(after) = after {
            rows = rows.filter(Column::Id.lt(after));
        }
        let rows = rows.all(&self.db).await?;
        rows.into_iter().map(read).collect()
    }

    /// Puts that in place of what the {{word}} was; `None`: there is no such {{word}}.
    ///
    /// # Errors
    /// {% if of_run %}`Invalid` where there is no such run{% if kinds is containing("unique") %}, or another one has what is unique{% endif %}; w{% elif kinds is containing("unique") %}`Invalid` where another one has what is unique; w{% else %}W{% endif %}hen the database fails.
    pub async fn change_{{one}}(
        &self,
        id: Uuid,
        form: &{{form}},
{%- if timed %}
        at: Timestamp,
{%- endif %}
    ) -> Result<Option<{{type}}>, RunError> {
{%- if not timed and fields | length == 0 %}
        // There is nothing in it that could change.
        given(form)?;
        Ok(self.find_{{one}}(id).await?)
{%- else %}
        let row = ActiveModel {
            id: Unchanged(id),
{%- if timed %}
            updated_at: Set(at.as_millis()),
{%- endif %}
            ..given(form)?
        };
{%- if of_run %}
        let txn = self.db.begin().await.map_err(refused)?;
        let row = match row.update(&txn).await {
            Ok(row) => row,
            Err(DbErr::RecordNotUpdated) => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        of_a_run(&txn, row.run_id).await?;
        txn.commit().await.map_err(refused)?;
        Ok(Some(read(row)?))
{%- else %}
        match row.update(&self.db).await {
            Ok(row) => Ok(Some(read(row)?)),
            Err(DbErr::RecordNotUpdated) => Ok(None),
            Err(error) => Err(refused(error)),
        }
{%- endif %}
{%- endif %}
    }

    /// Removes a {{word}}; whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_{{one}}(&self, id: Uuid) -> Result<bool, StoreError> {
        let gone = Entity::delete_by_id(id).exec(&self.db).await?;
        Ok(gone.rows_affected == 1)
    }
}

{% if of_run -%}
/// Makes sure that the run is there, and stays until the transaction has ended: whoever deletes it waits, and then finds this row. Asked
/// after the row is written, when SQLite has its lock.
async fn of_a_run(txn: &Transaction, run: {% if of_run is ending_with("?") %}Option<Uuid>{% else %}Uuid{% endif %}) -> Result<(), RunError> {
{%- if of_run is ending_with("?") %}
    let Some(run) = run else {
        return Ok(());
    };
{%- endif %}
    let run = runs::Entity::find_by_id(run).lock(LockType::KeyShare);
    match run.one(txn).await.map_err(StoreError::Database)? {
        Some(_) => Ok(()),
        None => Err(RunError::Invalid(vec![Violation::new("/run_id", "there is no such run")])),
    }
}

{% endif -%}
/// What the caller gives of a row.
fn given(form: &{{form}}) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
{%- for field in fields %}{% set f = field | split(pat="|") %}
{%- if f.1 == "json" and f.2 %}
        {{f.0}}: Set(form.{{f.0}}.as_ref().map(json).transpose()?),
{%- elif f.1 == "json" %}
        {{f.0}}: Set(json(&form.{{f.0}})?),
{%- elif f.1 == "moment" and f.2 %}
        {{f.0}}: Set(form.{{f.0}}.map(Timestamp::as_millis)),
{%- elif f.1 == "moment" %}
        {{f.0}}: Set(form.{{f.0}}.as_millis()),
{%- elif f.6 == "String" %}
        {{f.0}}: Set(form.{{f.0}}.clone()),
{%- else %}
        {{f.0}}: Set(form.{{f.0}}),
{%- endif %}
{%- endfor %}
        ..Default::default()
    })
}

fn read(row: Model) -> Result<{{type}}, StoreError> {
    Ok({{type}} {
        id: row.id,
{%- for field in fields %}{% set f = field | split(pat="|") %}
{%- if f.1 == "json" and f.2 %}
        {{f.0}}: row.{{f.0}}.as_deref().map(read_json).transpose()?,
{%- elif f.1 == "json" %}
        {{f.0}}: read_json(&row.{{f.0}})?,
{%- elif f.1 == "moment" and f.2 %}
        {{f.0}}: row.{{f.0}}.map(Timestamp::from_millis),
{%- elif f.1 == "moment" %}
        {{f.0}}: Timestamp::from_millis(row.{{f.0}}),
{%- else %}
        {{f.0}}: row.{{f.0}},
{%- endif %}
{%- endfor %}
{%- if timed %}
        created_at: Timestamp::from_millis(row.created_at),
        updated_at: Timestamp::from_millis(row.updated_at),
{%- endif %}
    })
}

/// Why a {{word}} was not written.
fn refused(error: DbErr) -> RunError {
{%- if kinds is containing("unique") %}
    let Some(sea_orm::SqlErr::UniqueConstraintViolation(told)) = error.sql_err() else {
        return StoreError::Database(error).into();
    };
    // SQLite names the column, PostgreSQL the index.
    let taken = |column: &&&str| {
        let (column, index) = (format!("{{many}}.{column}"), format!("{{many}}_by_{column}"));
        told.ends_with(&column) || told.contains(&format!("\"{index}\""))
    };
    let column = UNIQUE.iter().find(taken).copied().unwrap_or_default();
    RunError::Invalid(vec![Violation::new(format!("/{column}"), "is taken")])
}

/// What no two {{words}} may have in common.
const UNIQUE: &[&str] = &[{% for field in fields %}{% set f = field | split(pat="|") %}{% if f.3 %}"{{f.0}}", {% endif %}{% endfor %}];
{%- else %}
    StoreError::Database(error).into()
}
{%- endif %}
{% endif -%}
