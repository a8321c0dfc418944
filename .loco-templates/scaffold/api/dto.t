{% set many = snake_plural -%}
{% set one = snake_singular -%}
{% set type = pascal_singular -%}
{% set form = type ~ "Form" -%}
{% set words = many | replace(from="_", to=" ") -%}
{% set word = one | replace(from="_", to=" ") -%}
{% set types = "" -%}
{% for f in fields %}{% set_global types = types ~ " " ~ f.rust_type %}{% if f.rust_type is containing("i64") and f.field_name is ending_with("_id") %}{% set_global types = types ~ " Uuid" %}{% endif %}{% endfor -%}
{% set moments = types is containing("DateTimeWithTimeZone") or with_tz -%}
{% set json = types is containing("Value") -%}
to: "target/generated/scaffold_door"
skip_glob: "src/views/{{many}}.rs"
message: "The door to {{words}} is in src/orchestrator/{{many}}.rs, their JSON in src/views/{{many}}.rs."
injections:
- into: src/views/mod.rs
  before: "^pub mod "
  content: "pub mod {{many}};"
- into: src/orchestrator/mod.rs
  before: "^mod "
  content: "mod {{many}};"
---
//=> src/orchestrator/{{many}}.rs
//! The part of the door that leads to {{words}}.

use uuid::Uuid;

use super::{Runs{% if with_tz %}, clock{% endif -%} };
use crate::conversation::{ {{- form}}, RunError, {{type -}} };

impl Runs {
    /// Makes a {{word}}.
    ///
    /// # Errors
    /// `Invalid` with every broken rule; `Unavailable`.
    pub async fn add_{{one}}(&self, form: {{form}}) -> Result<{{type}}, RunError> {
        form.check().map_err(RunError::Invalid)?;
        let (store, id) = (self.store().clone(), Uuid::now_v7());
{%- if with_tz %}
        let at = clock::now();
{%- endif %}
        self.tracked(async move { store.insert_{{one}}(id, &form{% if with_tz %}, at{% endif %}).await })
            .await
    }

    /// The {{word}} with that identity.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get_{{one}}(&self, id: Uuid) -> Result<Option<{{type}}>, RunError> {
        Ok(self.store().find_{{one}}(id).await?)
    }

    /// Up to `limit` {{words}}, newest first, from the one after `after` on; and the one after which more of them come.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn page_of_{{many}}(
        &self,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<(Vec<{{type}}>, Option<Uuid>), RunError> {
        let mut page = self.store().list_{{many}}(after, limit.saturating_add(1)).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = page.len() > limit;
        page.truncate(limit);
        let more_after = page.last().filter(|_| more).map(|last| last.id);
        Ok((page, more_after))
    }

    /// Puts that in place of what the {{word}} was; `None`: there is no such {{word}}.
    ///
    /// # Errors
    /// `Invalid` with every broken rule; `Unavailable`.
    pub async fn change_{{one}}(
        &self,
        id: Uuid,
        form: {{form}},
    ) -> Result<Option<{{type}}>, RunError> {
        form.check().map_err(RunError::Invalid)?;
        let store = self.store().clone();
{%- if with_tz %}
        let at = clock::now();
{%- endif %}
        self.tracked(async move { store.change_{{one}}(id, &form{% if with_tz %}, at{% endif %}).await })
            .await
    }

    /// Removes a {{word}}; whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_{{one}}(&self, id: Uuid) -> Result<bool, RunError> {
        let store = self.store().clone();
        self.tracked(async move { Ok(store.delete_{{one}}(id).await?) })
            .await
    }
}
//=> src/views/{{many}}.rs
//! {{words | capitalize}} as JSON.

use axum::http::StatusCode;
use serde::Serialize;
{%- if json %}
use serde_json::Value;
{%- endif %}
use utoipa::ToSchema;
use uuid::Uuid;

use super::problem::Problem;
use crate::conversation::{% if moments %}{ {{- type}}, Timestamp}{% else %}{{type}}{% endif %};

/// A {{word}}.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = {{type}})]
pub struct {{type}}View {
    id: Uuid,
{%- for f in fields %}
{%- set base = f.rust_type | replace(from="Option<", to="") | replace(from=">", to="") %}
{%- if base == "DateTimeWithTimeZone" %}{% set base = "Timestamp" %}{% elif base == "serde_json::Value" %}{% set base = "Value" %}
{%- elif base == "i64" and f.field_name is ending_with("_id") %}{% set base = "Uuid" %}{% endif %}
{%- if f.nullable %}
    #[schema(required)]
{%- endif %}
    {{f.field_name}}: {% if f.nullable %}Option<{{base}}>{% else %}{{base}}{% endif %},
{%- endfor %}
{%- if with_tz %}
    created_at: Timestamp,
    updated_at: Timestamp,
{%- endif %}
}

impl From<{{type}}> for {{type}}View {
    fn from({{one}}: {{type}}) -> Self {
        Self {
            id: {{one}}.id,
{%- for f in fields %}
            {{f.field_name}}: {{one}}.{{f.field_name}},
{%- endfor %}
{%- if with_tz %}
            created_at: {{one}}.created_at,
            updated_at: {{one}}.updated_at,
{%- endif %}
        }
    }
}

/// A page of {{words}}, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = {{pascal_plural}}Page)]
pub struct {{pascal_plural}}View {
    {{many}}: Vec<{{type}}View>,
    #[schema(required)]
    next_cursor: Option<Uuid>,
}

impl {{pascal_plural}}View {
    /// The page, and where the next one begins.
    #[must_use]
    pub fn new(page: Vec<{{type}}>, next_cursor: Option<Uuid>) -> Self {
        Self {
            {{many}}: page.into_iter().map({{type}}View::from).collect(),
            next_cursor,
        }
    }
}

/// Where a new {{word}} is.
#[must_use]
pub fn location(view: &{{type}}View) -> String {
    format!("/api/{{many}}/{}", view.id)
}

/// That there is no such {{word}}.
#[must_use]
pub fn no_{{one}}(id: Uuid) -> Problem {
    let detail = format!("there is no {{word}} {id}");
    Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
}
