{% set many = snake_plural -%}
{% set one = snake_singular -%}
{% set type = pascal_singular -%}
{% set form = type ~ "Form" -%}
{% set words = many | replace(from="_", to=" ") -%}
{% set word = one | replace(from="_", to=" ") -%}
{% set slug = one | replace(from="_", to="-") -%}
{# Every member of the JSON, as `name|value|"null" or nothing`, in the order in which a snapshot shows them. -#}
{% set members = [] -%}
{% set of_run = false -%}
{% for f in fields -%}
{% set base = f.rust_type | replace(from="Option<", to="") | replace(from=">", to="") -%}
{% set value = "7" -%}
{% if base == "String" %}{% set value = '"a text"' -%}
{% elif base == "Uuid" %}{% set value = '"00000000-0000-7000-8000-000000000000"' -%}
{% elif base == "i64" and f.field_name == "run_id" %}{% set_global of_run = true %}{% set value = '"019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071"' -%}
{% elif base == "i64" and f.field_name is ending_with("_id") %}{% set value = '"00000000-0000-7000-8000-000000000000"' -%}
{% elif base == "f32" or base == "f64" %}{% set value = "0.5" -%}
{% elif base == "bool" %}{% set value = "true" -%}
{% elif base == "DateTimeWithTimeZone" %}{% set value = '"2026-11-24T12:00:00.000Z"' -%}
{% elif base == "serde_json::Value" %}{% set value = '"any JSON"' -%}
{% endif -%}
{% set end = "|" -%}
{% if f.nullable %}{% set end = "|null" %}{% endif -%}
{% set_global members = members | concat(with=f.field_name ~ "|" ~ value ~ end) -%}
{% endfor -%}
{% set answers = members | concat(with='id|"019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071"|') -%}
{% if with_tz -%}
{% set answers = answers | concat(with='created_at|"2026-11-24T12:00:00.000Z"|') | concat(with='updated_at|"2026-11-24T12:00:00.000Z"|') -%}
{% endif -%}
{% set answers = answers | sort -%}
{% set nulls = members | join(sep=" ") -%}
to: "target/generated/scaffold_routes"
skip_glob: "src/controllers/{{many}}.rs"
message: "Its routes are in src/controllers/{{many}}.rs, behind the login, and making one is limited; its snapshots are in tests/requests/{{many}}.rs. See what changed in the document of the API: `cargo insta review`, or `INSTA_UPDATE=always cargo test the_document`."
injections:
- into: src/controllers/mod.rs
  before: "^pub mod "
  content: "pub mod {{many}};"
- into: src/app.rs
  after: "AppRoutes::"
  content: "            .add_route(controllers::{{many}}::routes())"
- into: src/controllers/openapi/mod.rs
  before: "// openapi-paths-inject"
  content: "        super::{{many}}::list_{{many}},\n        super::{{many}}::create_{{one}},\n        super::{{many}}::get_{{one}},\n        super::{{many}}::replace_{{one}},\n        super::{{many}}::delete_{{one}},"
- into: src/controllers/openapi/mod.rs
  before: "// openapi-tags-inject"
  content: "        (name = \"{{many}}\", description = \"{{words | capitalize}}\"),"
- into: src/middleware/rate_limit.rs
  before: "// rate-limit-inject"
  content: "    Creation {\n        path: \"/api/{{many}}\",\n        what: \"{{words}}\",\n        title: \"Too many {{words}}\",\n        policy: \"{{slug}}-creations\",\n        keyed: false,\n    },"
- into: tests/requests/access.rs
  before: "// access-inject"
  content: "    (\"list_{{many}}\", Takes::Read),\n    (\"create_{{one}}\", Takes::Write),\n    (\"get_{{one}}\", Takes::Read),\n    (\"replace_{{one}}\", Takes::Write),\n    (\"delete_{{one}}\", Takes::Write),"
- into: tests/requests/mod.rs
  before: "^mod "
  content: "mod {{many}};"
---
//=> src/controllers/{{many}}.rs
//! `/api/{{many}}`: list, make, look, change, remove.

use axum::{
    Json,
    http::{HeaderName, StatusCode, header::LOCATION},
};
use loco_rs::{controller::Routes, prelude::get};

use super::{
    extract::{JsonBody, Reader, Writer},
    resource::{IdPath, Page, PageParams},
};
use crate::{
    conversation::{{form}},
    views::{
        {{many}}::{ {{- pascal_plural}}View, {{type}}View, location, no_{{one -}} },
        problem::Problem,
    },
};

/// List {{words}}
///
/// Newest first. `next_cursor` is where the next page begins; it is null on the last one.
#[utoipa::path(
    get,
    path = "/api/{{many}}",
    tag = "{{many}}",
    params(PageParams),
    responses(
        (status = 200, description = "A page of {{words}}", body = {{pascal_plural}}View),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn list_{{many}}(
    Reader { door, .. }: Reader,
    page: Page,
) -> Result<Json<{{pascal_plural}}View>, Problem> {
    let (page, more_after) = door.runs.page_of_{{many}}(page.after, page.limit).await?;
    Ok(Json({{pascal_plural}}View::new(page, more_after)))
}

/// Make a {{word}}
#[utoipa::path(
    post,
    path = "/api/{{many}}",
    tag = "{{many}}",
    request_body(content = {{form}}, example = json!({ {%- for member in members %}{% set m = member | split(pat="|") %}"{{m.0}}": {{m.1}}, {% endfor -%} })),
    responses(
        (status = 201, description = "The {{word}} is made", body = {{type}}View, headers(
            ("Location" = String, description = "Where the {{word}} is"),
        )),
        (status = 400, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 422, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn create_{{one}}(
    Writer { door, .. }: Writer,
    JsonBody(form): JsonBody<{{form}}>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<{{type}}View>), Problem> {
    let view = {{type}}View::from(door.runs.add_{{one}}(form).await?);
    Ok((StatusCode::CREATED, [(LOCATION, location(&view))], Json(view)))
}

/// Look at a {{word}}
#[utoipa::path(
    get,
    path = "/api/{{many}}/{id}",
    tag = "{{many}}",
    params(("id" = Uuid, Path, description = "The {{word}}")),
    responses(
        (status = 200, description = "The {{word}} as it stands", body = {{type}}View),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn get_{{one}}(
    Reader { door, .. }: Reader,
    IdPath(id): IdPath,
) -> Result<Json<{{type}}View>, Problem> {
    let found = door.runs.get_{{one}}(id).await?;
    Ok(Json(found.ok_or_else(|| no_{{one}}(id))?.into()))
}

/// Put another in place of a {{word}}
#[utoipa::path(
    put,
    path = "/api/{{many}}/{id}",
    tag = "{{many}}",
    params(("id" = Uuid, Path, description = "The {{word}}")),
    request_body(content = {{form}}, example = json!({ {%- for member in members %}{% set m = member | split(pat="|") %}"{{m.0}}": {{m.1}}, {% endfor -%} })),
    responses(
        (status = 200, description = "The {{word}} as it is now", body = {{type}}View),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 422, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn replace_{{one}}(
    Writer { door, .. }: Writer,
    IdPath(id): IdPath,
    JsonBody(form): JsonBody<{{form}}>,
) -> Result<Json<{{type}}View>, Problem> {
    let changed = door.runs.change_{{one}}(id, form).await?;
    Ok(Json(changed.ok_or_else(|| no_{{one}}(id))?.into()))
}

/// Remove a {{word}}
#[utoipa::path(
    delete,
    path = "/api/{{many}}/{id}",
    tag = "{{many}}",
    params(("id" = Uuid, Path, description = "The {{word}}")),
    responses(
        (status = 204, description = "The {{word}} is gone"),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn delete_{{one}}(
    Writer { door, .. }: Writer,
    IdPath(id): IdPath,
) -> Result<StatusCode, Problem> {
    if door.runs.remove_{{one}}(id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_{{one}}(id))
    }
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/{{many}}")
        .add("/", get(list_{{many}}).post(create_{{one}}))
        .add(
            "/{id}",
            get(get_{{one}}).put(replace_{{one}}).delete(delete_{{one}}),
        )
}
//=> tests/requests/{{many}}.rs
//! What `/api/{{many}}` answers: every status of every route, as a snapshot.

#![expect(
    clippy::too_many_lines,
    reason = "a test is as long as its snapshots"
)]

use parley::simulator::Script;
use serde_json::{Value, json};

use super::login::{guarded, right};
use crate::support::{Answer, TestApp, shown};

const NOBODY: &str = "/api/{{many}}/00000000-0000-7000-8000-000000000000";
{%- if of_run %}
const NO_RUN: &str = "00000000-0000-7000-8000-000000000000";
{%- endif %}

fn body({% if of_run %}run: &str{% endif %}) -> Value {
    json!({ {%- for member in members %}{% set m = member | split(pat="|") %}"{{m.0}}": {% if of_run and m.0 == "run_id" %}run{% else %}{{m.1}}{% endif %}, {% endfor -%} })
}
{%- if of_run %}

/// A run that is over.
async fn run(app: &TestApp) -> String {
    let run = app.start_run(1).await;
    app.events(&run).await;
    run
}
{%- endif %}

async fn sent(app: &TestApp, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    let request = app.request(method, path).header("content-type", kind);
    app.send(request.body(body.to_owned())).await
}

/// Answers to that method there that are the same for every body: no JSON, no JSON by its type, no object.
async fn refused(app: &TestApp, operation: &str, method: &str, path: &str) -> String {
    let answers = [
        sent(app, method, path, "application/json", "{").await,
        sent(app, method, path, "text/plain", "{}").await,
        sent(app, method, path, "application/json", "[]").await,
    ];
    answers.map(|answer| shown(operation, &answer)).join("\n\n")
}

#[tokio::test]
async fn from_the_first_to_the_last() {
    let app = TestApp::spawn(Script::default()).await;
{%- if of_run %}
    let run = run(&app).await;
{%- endif %}
    let new = app.post("/api/{{many}}", &body({% if of_run %}&run{% endif %})).await;
    insta::assert_snapshot!(shown("create_{{one}}", &new), @r#"
    create_{{one}} → 201
    content-type: application/json
    location: /api/{{many}}/019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071

    {
{% for member in answers %}{% set m = member | split(pat="|") %}      "{{m.0}}": {{m.1}}{% if not loop.last %},{% endif %}
{% endfor %}    }
    "#);
    let path = new.header("location").to_owned();
    let found = app.get(&path).await;
    assert_eq!(found.json(), new.json());
    insta::assert_snapshot!(shown("get_{{one}}", &found), @r#"
    get_{{one}} → 200
    content-type: application/json

    {
{% for member in answers %}{% set m = member | split(pat="|") %}      "{{m.0}}": {{m.1}}{% if not loop.last %},{% endif %}
{% endfor %}    }
    "#);
    let {% if nulls is containing("|null") %}mut {% endif %}least = body({% if of_run %}&run{% endif %});
{%- for member in members %}{% set m = member | split(pat="|") %}{% if m.2 %}
    least["{{m.0}}"] = Value::Null;
{%- endif %}{% endfor %}
    let least = sent(&app, "PUT", &path, "application/json", &least.to_string()).await;
    insta::assert_snapshot!(shown("replace_{{one}}", &least), @r#"
    replace_{{one}} → 200
    content-type: application/json

    {
{% for member in answers %}{% set m = member | split(pat="|") %}      "{{m.0}}": {% if m.2 %}null{% else %}{{m.1}}{% endif %}{% if not loop.last %},{% endif %}
{% endfor %}    }
    "#);
    let list = app.get("/api/{{many}}?limit=1").await;
    insta::assert_snapshot!(shown("list_{{many}}", &list), @r#"
    list_{{many}} → 200
    content-type: application/json

    {
{% set keys = [many, "next_cursor"] %}{% set keys = keys | sort %}{% if keys.0 == "next_cursor" %}      "next_cursor": null,
{% endif %}      "{{many}}": [
        {
{% for member in answers %}{% set m = member | split(pat="|") %}          "{{m.0}}": {% if m.2 %}null{% else %}{{m.1}}{% endif %}{% if not loop.last %},{% endif %}
{% endfor %}        }
      ]{% if keys.0 == many %},
      "next_cursor": null{% endif %}
    }
    "#);
    let gone = app.send(app.request("DELETE", &path)).await;
    insta::assert_snapshot!(shown("delete_{{one}}", &gone), @r"
    delete_{{one}} → 204
    ");
    app.close().await;
}

#[tokio::test]
async fn a_page_says_where_the_next_one_begins() {
    let app = TestApp::spawn(Script::default()).await;
{%- if of_run %}
    let run = run(&app).await;
{%- endif %}
    let id = app.post("/api/{{many}}", &body({% if of_run %}&run{% endif %})).await.json()["id"].clone();
    let after = |id: &Value| format!("/api/{{many}}?cursor={}", id.as_str().unwrap());
    let next = app.get(&after(&id)).await.json();
    assert_eq!(next, json!({"{{many}}": [], "next_cursor": null}));
    app.close().await;
}

/// Answers to that method where there is none: an id that is no id, and one that nobody has.
async fn missed(app: &TestApp, operation: &str, method: &str) -> String {
    let body = body({% if of_run %}NO_RUN{% endif %}).to_string();
    let answers = [
        sent(app, method, "/api/{{many}}/x", "application/json", &body).await,
        sent(app, method, NOBODY, "application/json", &body).await,
    ];
    answers.map(|answer| shown(operation, &answer)).join("\n\n")
}

#[tokio::test]
async fn of_a_{{one}}_that_there_is_not() {
    let app = TestApp::spawn(Script::default()).await;
{%- for way in ["get|GET", "delete|DELETE", "replace|PUT"] %}{% set w = way | split(pat="|") %}
    insta::assert_snapshot!(missed(&app, "{{w.0}}_{{one}}", "{{w.1}}").await, @r#"
    {{w.0}}_{{one}} → 400
    content-type: application/problem+json

    {
      "detail": "an id is a lower-case UUID with hyphens, such as 019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 400,
      "title": "Invalid id",
      "type": "/problems/invalid-id"
    }

    {{w.0}}_{{one}} → 404
    content-type: application/problem+json

    {
      "detail": "there is no {{word}} 00000000-0000-7000-8000-000000000000",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 404,
      "title": "Not found",
      "type": "/problems/not-found"
    }
    "#);
{%- endfor %}
    app.close().await;
}

#[tokio::test]
async fn of_what_breaks_a_rule() {
    let app = TestApp::spawn(Script::default()).await;
    let list = app.get("/api/{{many}}?limit=0").await;
    insta::assert_snapshot!(shown("list_{{many}}", &list), @r#"
    list_{{many}} → 400
    content-type: application/problem+json

    {
      "detail": "the query has 1 mistake(s)",
      "errors": [
        {
          "pointer": "/limit",
          "reason": "must be a whole number from 1 to 100"
        }
      ],
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 400,
      "title": "Invalid query",
      "type": "/problems/invalid-query"
    }
    "#);
{%- for way in ["create|POST", "replace|PUT"] %}{% set w = way | split(pat="|") %}
    insta::assert_snapshot!(refused(&app, "{{w.0}}_{{one}}", "{{w.1}}", {% if w.1 == "POST" %}"/api/{{many}}"{% else %}NOBODY{% endif %}).await, @r#"
    {{w.0}}_{{one}} → 400
    content-type: application/problem+json

    {
      "detail": "the body is no JSON: EOF while parsing an object at line 1 column 1",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 400,
      "title": "Not JSON",
      "type": "/problems/not-json"
    }

    {{w.0}}_{{one}} → 415
    content-type: application/problem+json

    {
      "detail": "the body must be application/json, not text/plain",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 415,
      "title": "Unsupported media type",
      "type": "/problems/unsupported-media-type"
    }

    {{w.0}}_{{one}} → 422
    content-type: application/problem+json

    {
      "detail": "the body breaks a rule",
      "errors": [
        {
          "pointer": "",
          "reason": "invalid type: sequence, expected an object at line 1 column 0"
        }
      ],
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 422,
      "title": "Validation failed",
      "type": "/problems/validation-failed"
    }
    "#);
{%- endfor %}
    app.close().await;
}
{% if of_run %}
#[tokio::test]
async fn {{many}}_are_of_a_run_and_go_with_it() {
    let app = TestApp::spawn(Script::default()).await;
    let orphan = app.post("/api/{{many}}", &body(NO_RUN)).await;
    assert_eq!((orphan.status, &orphan.json()["errors"][0]["pointer"]), (422, &json!("/run_id")));
    let run = run(&app).await;
    let new = app.post("/api/{{many}}", &body(&run)).await;
    let delete = app.request("DELETE", &format!("/api/run/{run}"));
    assert_eq!(app.send(delete).await.status, 204);
    assert_eq!(app.get(new.header("location")).await.status, 404);
    assert_eq!(app.post("/api/{{many}}", &body(&run)).await.status, 422);
    app.close().await;
}
{% endif %}
/// Whoever makes too many is told when to come again.
#[tokio::test]
async fn making_them_is_limited() {
    let app = guarded(json!({"rate_limit": {"run_creations_per_minute": 1}})).await;
    let post = async || {
        let request = app.request("POST", "/api/{{many}}").header("authorization", right());
        let request = request.header("content-type", "application/json");
        app.send(request.body(body({% if of_run %}NO_RUN{% endif %}).to_string())).await
    };
    assert_eq!(post().await.status, {% if of_run %}422{% else %}201{% endif %});
    let refused = post().await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "rate-limited"));
    assert_eq!(refused.header("ratelimit-policy"), "\"{{slug}}-creations\";q=1;w=60");
    app.close().await;
}
