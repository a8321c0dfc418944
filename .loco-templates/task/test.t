{% set module = name | snake_case -%}
to: "tests/commands/{{module}}.rs"
skip_exists: true
message: "Its test is in tests/commands/{{module}}.rs: `cargo test {{module}}`."
injections:
- into: tests/commands/mod.rs
  before: "^mod "
  content: "mod {{module}};"
---
//! The task `{{module}}`, as a user calls it.

use super::{program, refused, sqlite, text};

#[test]
fn it_says_what_it_did_and_what_it_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(&folder.path().join("parley.sqlite"));
    let mut task = program(folder.path(), &database);
    let output = task.args(["task", "{{module}}"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout), @"0 run(s) have ended");
    let mut wrong = program(folder.path(), &database);
    let wrong = wrong.args(["task", "{{module}}", "surprise:1"]).output();
    refused(&wrong.unwrap(), &["surprise", "no argument"]);
}
