//! The checker checked: a clean tree passes, and each kind of violation is told with its file, its line and what was named.

use super::check::{Source, check};

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn violations(path: &str, text: &str) -> Vec<String> {
    check(&[source(path, text)])
}

const INTRODUCTION: &str =
    "//! A room.\n//!\n//! **Invariant:** it stands.\n//!\n//! **May import:** conversation.\n";

#[test]
fn a_clean_tree_passes() {
    let door = format!("{INTRODUCTION}mod reader;\npub use reader::Reader;\n");
    let reader = "
use super::{frame::Frame, *};
use crate::{conversation::{EventId, Run}, models::{self, Store as Rows}};
use tokio::{self, sync::watch, task::spawn_blocking};
/// Not an import: [`crate::orchestrator::Runs`], `reqwest::Client`.
fn f(reqwest: &str) -> &'static str { /* crate::views::x */ \"crate::identity and reqwest::get\" }
mod deep { use super::super::Frame; mod tests { use super::*; use super::super::super::reader; } }
pub(crate) fn g() -> impl Sized + use<> { let axum = self.axum; Self::sea_orm; x.collect::<Vec<_>>() }
";
    let tree = [
        source("event_log/mod.rs", &door),
        source("event_log/reader.rs", reader),
        source(
            "app.rs",
            "//! All.\nuse crate::{settings::Settings, models};\nuse loco_rs::app;",
        ),
        source("app/serve.rs", "use axum::Router;\nuse sea_orm::Db;"),
        source(
            "bin/main.rs",
            "use parley::{app::App, tasks};\nuse loco_rs::cli;",
        ),
        source("lib.rs", "//! The map.\npub mod app;\npub mod event_log;"),
    ];
    assert_eq!(check(&tree), [""; 0]);
}

#[test]
fn a_forbidden_arrow_is_told_however_it_is_written() {
    for text in [
        "use crate::models::Run;",
        "pub use crate::models;",
        "use crate::models as rows;",
        "use crate::models::*;",
        "use crate::r#models::Store;",
        "use crate :: models :: Store;",
        "use crate::{conversation::{Run, RunId}, models::{self as m, rows}};",
        "use {std::fmt, crate::models::Store};",
        "use super::super::models::Store;",
        "use super::{Run, super::{models::Store}};",
        "use parley::models::Store;",
        "fn f() -> Option<crate::models::Store> { None }",
        "fn f() { super::super::models::g() }",
        "fn f() -> A { A { a: 1, ..crate::models::A } }",
        "type A = <crate::models::Row as B>::C;",
        "#[derive(crate::models::Row)] struct A;",
        "macro_rules! m { () => { $crate::models::f() } }",
        "mod a { mod b {} } use super::super::models;",
        "mod a { use self::super::super::super::models; }",
        "#[cfg(test)] mod tests { use crate::models::Store; }",
        "#[cfg(test)] mod tests { use super::super::super::models::Store; }",
    ] {
        let told = ["src/views/run.rs:1: `views` may not import `models`"];
        assert_eq!(violations("views/run.rs", text), told, "{text}");
    }
    for text in [
        "use crate::*;",
        "use crate as all;",
        "use crate::{self as all};",
        "use super::super as up;",
        "use super::super::*;",
    ] {
        let told = ["src/views/run.rs:1: `views` may not import the whole crate"];
        assert_eq!(violations("views/run.rs", text), told, "{text}");
    }
}

#[test]
fn a_forbidden_arrow_is_told_by_its_line_and_depth() {
    let group =
        "use crate::{\n    conversation::{Run,\n        RunId},\n    models::{self, rows},\n};";
    for (path, text, line) in [
        ("views/run.rs", group, 4),
        ("views/run.rs", "/*\n\n*/ use\n crate::models;", 4),
        (
            "views/run.rs",
            "const A: &str = \"\n\\\"\n\";\nuse crate::models;",
            4,
        ),
        (
            "views/mod.rs",
            &format!("{INTRODUCTION}use super::models::Store;"),
            6,
        ),
        ("views/a/mod.rs", "use super::super::models;", 1),
        ("views/a/b.rs", "\nuse super::super::super::models;", 2),
    ] {
        let told = [format!(
            "src/{path}:{line}: `views` may not import `models`"
        )];
        assert_eq!(violations(path, text), told, "{text}");
    }
}

#[test]
fn the_arrows_of_every_room_are_held() {
    for (room, target) in [
        ("conversation", "views"),
        ("controllers", "models"),
        ("event_log", "orchestrator"),
        ("identity", "views"),
        ("middleware", "settings"),
        ("models", "event_log"),
        ("orchestrator", "settings"),
        ("providers", "event_log"),
        ("settings", "conversation"),
        ("simulator", "conversation"),
        ("tasks", "controllers"),
        ("tasks", "settings"),
        ("views", "helpers"),
        ("workers", "models"),
    ] {
        let text = format!("use crate::{target}::X;");
        let told = [format!(
            "src/{room}/a.rs:1: `{room}` may not import `{target}`"
        )];
        assert_eq!(violations(&format!("{room}/a.rs"), &text), told);
    }
}

#[test]
fn a_fenced_crate_is_told_however_it_is_written() {
    for text in [
        "use axum::Json;",
        "use axum;",
        "use axum as web;",
        "pub use axum::Json;",
        "use ::axum::{Json, Router as R};",
        "use {std::fmt, axum::{self}};",
        "extern crate axum as web;",
        "fn f(_: Option<::axum::Json<u8>>) {}",
        "fn f() { axum::serve(a, b) }",
        "#[axum::debug_handler] async fn f() {}",
        "#[cfg(test)] mod tests { use axum::Json; }",
    ] {
        let told = ["src/models/a.rs:1: `models` may not use the crate `axum`"];
        assert_eq!(violations("models/a.rs", text), told, "{text}");
    }
}

#[test]
fn the_fence_of_every_crate_is_held() {
    for (room, outside) in [
        ("identity", "axum"),
        ("orchestrator", "axum"),
        ("middleware", "bcrypt"),
        ("tasks", "bcrypt"),
        ("settings", "loco_rs"),
        ("models", "loco_rs"),
        ("views", "migration"),
        ("orchestrator", "redis"),
        ("views", "reqwest"),
        ("controllers", "jsonwebtoken"),
        ("middleware", "ring"),
        ("simulator", "reqwest"),
        ("controllers", "sea_orm"),
        ("event_log", "sea_orm"),
        ("conversation", "axum"),
        ("conversation", "loco_rs"),
        ("conversation", "reqwest"),
        ("conversation", "sea_orm"),
        ("conversation", "tokio"),
    ] {
        let text = format!("use {outside}::x;");
        let told = [format!(
            "src/{room}/a.rs:1: `{room}` may not use the crate `{outside}`"
        )];
        assert_eq!(violations(&format!("{room}/a.rs"), &text), told);
    }
}

#[test]
fn an_untracked_task_is_told_in_every_room() {
    for text in [
        "fn f() { tokio::spawn(async {}); }",
        "use tokio::spawn;",
        "use tokio::{sync::mpsc, spawn as go};",
        "fn f() { tokio::task::spawn(async {}) }",
        "use tokio::task; fn f() { task::spawn(async {}) }",
    ] {
        for path in ["app/serve.rs", "simulator/reply.rs"] {
            let expected = format!("src/{path}:1: `tokio::spawn`: every task belongs to a tracker");
            assert_eq!(violations(path, text), [expected], "{text}");
        }
    }
}

#[test]
fn every_violation_of_a_file_is_told() {
    let text = "use crate::models::A;\nuse reqwest::B;\nfn f() { reqwest::get(); tokio::spawn(x) }";
    assert_eq!(
        violations("views/run.rs", text),
        [
            "src/views/run.rs:1: `views` may not import `models`",
            "src/views/run.rs:2: `views` may not use the crate `reqwest`",
            "src/views/run.rs:3: `views` may not use the crate `reqwest`",
            "src/views/run.rs:3: `tokio::spawn`: every task belongs to a tracker",
        ]
    );
}

#[test]
fn an_unknown_room_is_told() {
    for (path, room) in [
        ("services/mod.rs", "services"),
        ("cellar/a/b.rs", "cellar"),
        ("helpers.rs", "helpers"),
    ] {
        let expected = format!("src/{path}:1: `{room}` is no room of the house");
        assert_eq!(violations(path, INTRODUCTION), [expected]);
    }
}

#[test]
fn a_room_introduces_itself() {
    assert_eq!(violations("views/mod.rs", INTRODUCTION), [""; 0]);
    let told = [
        "src/views/mod.rs:1: a room's mod.rs opens with `//!`: its purpose, **Invariant:**, **May import:**",
    ];
    for text in [
        "",
        "mod run;",
        "//!\n//! **Invariant:** a.\n//! **May import:** b.",
        "//! A.\n//! **Invariant:** a.",
        "//! A.\n//! **May import:** b.",
        "//! A.\nmod run;\n//! **Invariant:** a.\n//! **May import:** b.",
        "// A.\n// **Invariant:** a.\n// **May import:** b.",
    ] {
        assert_eq!(violations("views/mod.rs", text), told, "{text}");
    }
    assert_eq!(
        violations("views.rs", INTRODUCTION),
        ["src/views.rs:1: a room is a folder with a mod.rs"]
    );
}

#[test]
fn a_long_file_is_told() {
    assert_eq!(violations("app/serve.rs", &"\n".repeat(500)), [""; 0]);
    assert_eq!(
        violations("app/serve.rs", &"\n".repeat(501)),
        ["src/app/serve.rs:501: 501 lines, over the limit of 500"]
    );
}
