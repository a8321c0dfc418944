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
to: "tests/models/{{many}}.rs"
skip_exists: true
message: "Its test on every database is in tests/models/{{many}}.rs: `cargo test {{many}}`."
injections:
- into: "tests/models/mod.rs"
  before: "^mod "
  content: "mod {{many}};"
---
//! {{words | capitalize}}: kept as they were given, in every database.

use std::time::Duration;

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{ {{- form -}} {% if timed %}, Timestamp{% endif %}{% if of_run or kinds is containing("unique") %}, RunError{% endif -%} },
    models::Store,
};
use serde_json::json;
use uuid::Uuid;

use super::{% if of_run %}{new_run, open}{% else %}open{% endif %};
use crate::support::Database;

fn form({% if of_run %}run: Uuid{% endif %}) -> {{form}} {
    serde_json::from_value(json!({
{%- for field in fields %}{% set f = field | split(pat="|") %}
        "{{f.0}}": {% if f.1 == "string" or f.1 == "text" %}"a text"
{%- elif f.0 == "run_id" and of_run %}run
{%- elif f.1 == "uuid" or f.1 == "ref" %}"00000000-0000-7000-8000-000000000000"
{%- elif f.1 == "int" or f.1 == "unsigned" %}7
{%- elif f.1 == "float" or f.1 == "double" %}0.5
{%- elif f.1 == "bool" %}true
{%- elif f.1 == "moment" %}"2026-11-24T12:00:00.000Z"
{%- else %}{"any": ["JSON"]}
{%- endif %},
{%- endfor %}
    }))
    .unwrap()
}

{% if of_run -%}
fn refused_for_its_run<T: std::fmt::Debug>(answer: Result<T, RunError>) {
    let Err(RunError::Invalid(broken)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(broken[0].pointer, "/run_id");
}

{% endif -%}
async fn kept(uri: &str) {
    let db = open(uri).await;
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db.clone(), Duration::from_secs(5));
{%- if of_run %}
    let (nobody, run) = (Uuid::nil(), new_run(&store).await.as_uuid());
    let (orphan, form, id) = (form(nobody), form(run), Uuid::now_v7());
{%- else %}
    let (form, id) = (form(), Uuid::now_v7());
{%- endif %}
    form.check().unwrap();
{%- if timed %}
    let (then, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(2_000));
{%- endif %}
{%- if of_run %}
    refused_for_its_run(store.insert_{{one}}(id, &orphan{% if timed %}, then{% endif %}).await);
{%- endif %}
    let new = store.insert_{{one}}(id, &form{% if timed %}, then{% endif %}).await.unwrap();
    assert_eq!(new.id, id);
{%- for field in fields %}{% set f = field | split(pat="|") %}
    assert_eq!(new.{{f.0}}, form.{{f.0}});
{%- endfor %}
    assert_eq!(store.find_{{one}}(id).await.unwrap(), Some(new.clone()));
    let changed = store.change_{{one}}(id, &form{% if timed %}, later{% endif %}).await.unwrap().unwrap();
{%- if timed %}
    assert_eq!((changed.created_at, changed.updated_at), (then, later));
{%- else %}
    assert_eq!(changed, new);
{%- endif %}
{%- if of_run %}
    refused_for_its_run(store.change_{{one}}(id, &orphan{% if timed %}, later{% endif %}).await);
{%- endif %}
    let second = Uuid::now_v7();
    let inserted = store.insert_{{one}}(second, &form{% if timed %}, then{% endif %}).await;
{%- if kinds is containing("unique") %}
    let Err(RunError::Invalid(taken)) = inserted else {
        panic!("{inserted:?}");
    };
    assert_eq!(taken[0].reason, "is taken");
    assert_ne!(taken[0].pointer, "/");
    assert_eq!(store.list_{{many}}(None, 9).await.unwrap(), [changed]);
{%- else %}
    let inserted = inserted.unwrap();
    let listed = store.list_{{many}}(None, 9).await.unwrap();
    assert_eq!(listed, [inserted, changed.clone()]);
    let rest = store.list_{{many}}(Some(second), 9).await.unwrap();
    assert_eq!(rest, [changed]);
{%- endif %}
    assert!(store.delete_{{one}}(id).await.unwrap());
    assert!(!store.delete_{{one}}(id).await.unwrap());
    let changed = store.change_{{one}}(id, &form{% if timed %}, later{% endif %}).await;
    assert_eq!(changed.unwrap(), None);
    db.close().await.unwrap();
}

#[tokio::test]
async fn {{many}}_are_kept_in_memory() {
    kept("sqlite::memory:").await;
}

#[tokio::test]
async fn {{many}}_are_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parley.sqlite");
    kept(&format!("sqlite://{}?mode=rwc", file.display())).await;
}

#[tokio::test]
async fn {{many}}_are_kept_in_postgresql() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    kept(&database.uri).await;
    database.remove().await;
}
