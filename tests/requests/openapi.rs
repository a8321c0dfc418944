//! The document of the API, and that it is the API's: every route and every status is in it, and has a snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use parley::{controllers::openapi::document, simulator::Script};
use serde_json::Value;

use crate::support::{TestApp, contract};

/// What is public changes before the eyes of whoever reviews it.
#[test]
fn the_document() {
    insta::assert_snapshot!("openapi", document());
}

/// The router takes no suffix after a parameter.
fn as_documented(path: &str) -> String {
    path.replace("/api/export/{file}", "/api/export/{run_id}.{format}")
        .trim_end_matches('/')
        .to_owned()
}

#[tokio::test]
async fn every_route_is_documented_and_nothing_else() {
    let app = TestApp::spawn(Script::default()).await;
    let routes = loco_rs::boot::list_endpoints::<parley::app::App>(&app.ctx);
    let routes: BTreeSet<(String, String)> = routes
        .iter()
        .flat_map(|route| {
            let methods = route.actions.iter();
            methods.map(|method| (as_documented(&route.uri), method.to_string()))
        })
        .collect();
    let documented: BTreeSet<(String, String)> = contract()
        .operations()
        .map(|operation| (operation.path.to_owned(), operation.method.to_uppercase()))
        .collect();
    assert_eq!(routes, documented);
    app.close().await;
}

#[tokio::test]
async fn every_other_method_is_refused_and_the_right_ones_named() {
    let app = TestApp::spawn(Script::default()).await;
    let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in contract().operations() {
        let methods = taken.entry(operation.path).or_default();
        methods.insert(operation.method);
        if operation.method == "get" {
            methods.insert("head");
        }
    }
    for (path, methods) in taken {
        for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
            if methods.contains(method) {
                continue;
            }
            let address = path.replace("{bot_index}", "0").replace(['{', '}'], "");
            let answer = app
                .send(app.request(&method.to_uppercase(), &address))
                .await;
            let allow = answer.header("allow").to_lowercase();
            let allow: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
            assert_eq!((answer.status, &allow), (405, &methods), "{method} {path}");
        }
    }
    app.close().await;
}

/// An answer in a snapshot: its body, if that is JSON, or its events, if it is a stream.
#[derive(Debug, Default)]
struct Shown {
    bodies: Vec<Value>,
}

/// The answers in all snapshots, by operation and status. A snapshot of an answer begins with `operation → status`.
fn snapshots() -> BTreeMap<(String, u16), Shown> {
    let mut found = BTreeMap::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests");
    for file in files(&tests) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines = text.lines().map(str::trim_end).peekable();
        while let Some(line) = lines.next() {
            let Some((operation, status)) = heading(line) else {
                continue;
            };
            let (mut body, mut frame) = (String::new(), serde_json::Map::new());
            let shown: &mut Shown = found.entry((operation, status)).or_default();
            let more =
                |line: &&str| heading(line).is_none() && !line.trim_start().starts_with("\"#");
            while let Some(line) = lines.next_if(more).map(str::trim_start) {
                match line.split_once(": ") {
                    Some((field @ ("event" | "id"), value)) => {
                        frame.insert(field.to_owned(), value.into());
                    }
                    Some(("data", data)) => {
                        frame.insert("data".to_owned(), data.into());
                        shown.bodies.push(std::mem::take(&mut frame).into());
                    }
                    // Headers stand before the body.
                    _ if body.is_empty() && !line.starts_with('{') => {}
                    _ => body.push_str(line),
                }
            }
            shown
                .bodies
                .extend(serde_json::from_str::<Value>(&body).ok());
        }
    }
    found
}

fn heading(line: &str) -> Option<(String, u16)> {
    let (operation, status) = line.trim_start().split_once(" → ")?;
    let word = operation
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_ ".contains(&byte));
    Some((operation.to_owned(), status.parse().ok().filter(|_| word)?))
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "snap")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_status_of_every_route_has_its_snapshot() {
    let snapshots = snapshots();
    let mut missing = Vec::new();
    for operation in contract().operations() {
        for status in operation.statuses() {
            let shown = |id: &str| snapshots.contains_key(&(id.to_owned(), status));
            if !shown(operation.id()) && !shown("every route") {
                missing.push(format!("{} → {status}", operation.id()));
            }
        }
    }
    assert!(missing.is_empty(), "no snapshot begins with: {missing:#?}");
}

/// Where the examples are. Write it anew by `PARLEY_TEST_EXAMPLES=write`.
const EXAMPLES: &str = "src/controllers/openapi/examples.json";

/// A longer answer explains nothing.
const MAX_EXAMPLE: usize = 6_000;

/// One line a body.
fn written(examples: &BTreeMap<String, BTreeMap<String, Value>>) -> String {
    let operations = examples.iter().map(|(operation, answers)| {
        let answers = answers.iter();
        let lines = answers.map(|(status, body)| format!("    \"{status}\": {body}"));
        let lines: Vec<String> = lines.collect();
        format!("  \"{operation}\": {{\n{}\n  }}", lines.join(",\n"))
    });
    let operations: Vec<String> = operations.collect();
    format!("{{\n{}\n}}\n", operations.join(",\n"))
}

/// Every example of an answer is one that the tests have got.
#[test]
fn the_examples_are_answers_of_the_server() {
    let snapshots = snapshots();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLES);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut examples: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(&text).unwrap();
    if std::env::var("PARLEY_TEST_EXAMPLES").is_ok_and(|word| word == "write") {
        for answers in examples.values_mut() {
            answers.retain(|status, _| status == "request");
        }
        for ((operation, status), shown) in &snapshots {
            let body = shown.bodies.last();
            if let Some(body) = body.filter(|body| body.to_string().len() < MAX_EXAMPLE) {
                let answers = examples.entry(operation.clone()).or_default();
                answers.insert(status.to_string(), body.clone());
            }
        }
        std::fs::write(&file, written(&examples)).unwrap();
    }
    for (operation, answers) in &examples {
        for (status, example) in answers.iter().filter(|(status, _)| *status != "request") {
            let shown = snapshots.get(&(operation.clone(), status.parse().unwrap()));
            assert!(
                shown.is_some_and(|shown| shown.bodies.contains(example)),
                "the example of {operation} → {status} is no answer in a snapshot: set PARLEY_TEST_EXAMPLES=write"
            );
        }
    }
}

/// What is shown as an example is what the schema beside it says.
#[test]
fn the_examples_fit_their_schemas() {
    let mut checked = 0;
    let document = &contract().document;
    let mut look = |pointer: String, content: &Value| {
        for (kind, content) in content.as_object().into_iter().flatten() {
            let Some(example) = content.get("example") else {
                continue;
            };
            let schema = format!("{pointer}/{}/schema", kind.replace('/', "~1"));
            assert_eq!(
                contract().errors(&schema, example),
                Vec::<String>::new(),
                "{schema}"
            );
            checked += 1;
        }
    };
    for operation in contract().operations() {
        let path = operation.path.replace('/', "~1");
        let whole = format!("/paths/{path}/{}", operation.method);
        let body = format!("{whole}/requestBody/content");
        look(
            body.clone(),
            document.pointer(&body).unwrap_or(&Value::Null),
        );
        for status in operation.statuses() {
            let part = format!("{whole}/responses/{status}/content");
            look(
                part.clone(),
                document.pointer(&part).unwrap_or(&Value::Null),
            );
        }
    }
    assert!(checked > 50, "only {checked} examples");
}
