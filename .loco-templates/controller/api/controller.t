{% set module = name | snake_case -%}
{% set many = name | plural | snake_case -%}
{% set type = name | pascal_case -%}
{% set view = type ~ "View" -%}
{% set words = many | replace(from="_", to=" ") -%}
{% set policy = many | replace(from="_", to="-") -%}
to: "target/generated/controller"
skip_glob: "src/controllers/{{module}}.rs"
message: "The controller `{{module}}` wants a login and answers in the document of the API. See what changed there: `cargo insta review`, or `INSTA_UPDATE=always cargo test the_document`."
injections:
- into: src/controllers/mod.rs
  before: "^pub mod "
  content: "pub mod {{module}};"
- into: src/views/mod.rs
  before: "^pub mod "
  content: "pub mod {{module}};"
- into: src/app.rs
  after: "AppRoutes::"
  content: "            .add_route(controllers::{{module}}::routes())"
- into: src/controllers/openapi/mod.rs
  before: "// openapi-paths-inject"
  content: "        super::{{module}}::list_{{many}},{% for action in actions %}\n        super::{{module}}::{{action.name | snake_case}}_{{many}},{% endfor %}"
- into: src/controllers/openapi/mod.rs
  before: "// openapi-tags-inject"
  content: "        (name = \"{{many}}\", description = \"{{words | capitalize}}\"),"
- into: tests/requests/access.rs
  before: "// access-inject"
  content: "    (\"list_{{many}}\", Takes::Login),{% for action in actions %}\n    (\"{{action.name | snake_case}}_{{many}}\", Takes::Login),{% endfor %}"
{% for action in actions -%}
{% if action.verb == "post" -%}
- into: src/middleware/rate_limit.rs
  before: "// rate-limit-inject"
  content: "    Creation {\n        path: \"/api/{{many}}/{{action.name | snake_case}}\",\n        what: \"{{words}}\",\n        title: \"Too many {{words}}\",\n        policy: \"{{policy}}-{{action.name | kebab_case}}\",\n        keyed: false,\n    },"
{% endif -%}
{% endfor -%}
---
//=> src/controllers/{{module}}.rs
//! `/api/{{many}}`.

use axum::Json;
use loco_rs::{
    controller::Routes,
    prelude::{ {{- "get"}}{% for verb in ["delete", "post", "put"] %}{% for action in actions %}{% if action.verb == verb %}, {{verb}}{% break %}{% endif %}{% endfor %}{% endfor -%} },
};

use crate::views::{{module}}::{{view}};

/// List {{words}}
#[utoipa::path(
    get,
    path = "/api/{{many}}",
    tag = "{{many}}",
    responses(
        (status = 200, description = "All is well", body = {{view}}),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn list_{{many}}() -> Json<{{view}}> {
    Json({{view}}::well())
}
{% for action in actions %}
/// {{action.name | snake_case | replace(from="_", to=" ") | capitalize}} {{words}}
#[utoipa::path(
    {{action.verb}},
    path = "/api/{{many}}/{{action.name | snake_case}}",
    tag = "{{many}}",
    responses(
        (status = 200, description = "All is well", body = {{view}}),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn {{action.name | snake_case}}_{{many}}() -> Json<{{view}}> {
    Json({{view}}::well())
}
{% endfor %}
/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/{{many}}")
        .add("/", get(list_{{many}}))
{%- for action in actions %}
        .add("/{{action.name | snake_case}}", {{action.verb}}({{action.name | snake_case}}_{{many}}))
{%- endfor %}
}
//=> src/views/{{module}}.rs
//! What `/api/{{many}}` answers.

use serde::Serialize;
use utoipa::ToSchema;

/// That it was done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = {{name | pascal_case}})]
pub struct {{view}} {
    ok: bool,
}

impl {{view}} {
    /// All is well.
    #[must_use]
    pub fn well() -> Self {
        Self { ok: true }
    }
}
