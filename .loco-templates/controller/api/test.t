{% set module = name | snake_case -%}
{% set many = name | plural | snake_case -%}
to: "tests/requests/{{module}}.rs"
skip_exists: true
message: "Its tests are in `tests/requests/{{module}}.rs`: `cargo test {{module}}`."
injections:
- into: tests/requests/mod.rs
  before: "^mod "
  content: "mod {{module}};"
---
//! What `/api/{{many}}` answers.

use parley::simulator::Script;

use crate::support::{TestApp, shown};

#[tokio::test]
async fn the_answers() {
    let app = TestApp::spawn(Script::default()).await;
    let answer = app.get("/api/{{many}}").await;
    insta::assert_snapshot!(shown("list_{{many}}", &answer), @r#"
    list_{{many}} → 200
    content-type: application/json

    {
      "ok": true
    }
    "#);
{%- for action in actions %}
    let answer = app.send(app.request("{{action.verb | upper}}", "/api/{{many}}/{{action.name | snake_case}}")).await;
    insta::assert_snapshot!(shown("{{action.name | snake_case}}_{{many}}", &answer), @r#"
    {{action.name | snake_case}}_{{many}} → 200
    content-type: application/json

    {
      "ok": true
    }
    "#);
{%- endfor %}
    app.close().await;
}
