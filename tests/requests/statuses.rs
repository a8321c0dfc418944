//! Every status of every route, as a snapshot. What is the same on many routes is asked of each of them and shown once.

use parley::{
    models::TABLES,
    simulator::{Gate, Script},
};
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::login::{guarded, right};
use crate::support::{Answer, Event, Operation, TestApp, contract, shown, shown_head, talk};

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// A request of that operation that is as the document says, for a run that there is not.
fn request(app: &TestApp, operation: Operation) -> reqwest::RequestBuilder {
    let path = operation
        .path
        .replace("{run_id}", NOBODY)
        .replace("{bot_index}", "0")
        .replace("{format}", "json")
        .replace("{file}", "index.html");
    // All others are ids.
    let parts = path.split('/').map(|part| match part.strip_prefix('{') {
        Some(_) => NOBODY,
        None => part,
    });
    let path = parts.collect::<Vec<_>>().join("/");
    let request = app.request(&operation.method.to_uppercase(), &path);
    match operation.request() {
        Some((kind, body)) => request.header("content-type", kind).body(body.to_string()),
        None => request,
    }
}

/// The answer that all routes which document that status give when they are asked so.
pub(super) async fn of_every_route(
    app: &TestApp,
    status: u16,
    of: impl Fn(Operation) -> bool,
    ask: impl Fn(Operation, reqwest::RequestBuilder) -> reqwest::RequestBuilder,
) -> String {
    let mut found: Option<String> = None;
    let operations = contract().operations();
    // It says which part of the process fails, and has a snapshot of its own.
    let operations = operations.filter(|operation| operation.id() != "readiness" && of(*operation));
    for operation in operations.filter(|operation| operation.statuses().contains(&status)) {
        let answer = app.send(ask(operation, request(app, operation))).await;
        assert_eq!(answer.status, status, "{}: {}", operation.id(), answer.text);
        let block = shown("every route", &answer);
        assert_eq!(
            found.get_or_insert_with(|| block.clone()),
            &block,
            "{}",
            operation.id()
        );
    }
    found.expect("a route with that status")
}

fn changes(operation: Operation) -> bool {
    operation.method != "get"
}

fn asks_the_database(operation: Operation) -> bool {
    operation.statuses().contains(&500)
}

#[tokio::test]
async fn without_a_login() {
    let app = guarded(json!({"rate_limit": {"failed_logins_per_minute": 1}})).await;
    let none = of_every_route(&app, 401, |_| true, |_, request| request).await;
    let wrong = |request: reqwest::RequestBuilder| request.basic_auth("ada", Some("wrong"));
    app.send(wrong(app.request("GET", "/api/providers"))).await;
    let closed = |operation: Operation| !operation.is_open();
    let shut = of_every_route(&app, 429, closed, |_, request| wrong(request)).await;
    insta::assert_snapshot!("without_a_login", format!("{none}\n\n{shut}"));
    for operation in contract().operations() {
        assert_eq!(operation.is_open(), !operation.statuses().contains(&401));
        if operation.is_open() {
            // Where no tokens are taken, there is nothing to say of them, and nobody logs in by a browser.
            let none =
                operation.path.starts_with("/.well-known/") || operation.path.starts_with("/auth/");
            let status = if none { 404 } else { 200 };
            assert_eq!(app.send(request(&app, operation)).await.status, status);
        }
    }
    app.close().await;
}

#[tokio::test]
async fn from_a_page_of_another_site() {
    let app = TestApp::spawn(Script::default()).await;
    let ask = |_, request: reqwest::RequestBuilder| request.header("sec-fetch-site", "cross-site");
    insta::assert_snapshot!(of_every_route(&app, 403, changes, ask).await, @r#"
    every route → 403
    content-type: application/problem+json

    {
      "detail": "a page of another site may not do this; if it should, list its origin in settings.http.allowed_origins",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 403,
      "title": "Cross-site request refused",
      "type": "/problems/cross-site"
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn with_a_body_that_is_too_large() {
    let app = TestApp::spawn(Script::default()).await;
    let ask = |_, request: reqwest::RequestBuilder| request.body(" ".repeat(300 * 1024));
    insta::assert_snapshot!(of_every_route(&app, 413, |_| true, ask).await, @r#"
    every route → 413
    content-type: application/problem+json

    {
      "detail": "the body is over the limit of 262144 bytes",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 413,
      "title": "Body too large",
      "type": "/problems/body-too-large"
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn with_a_body_that_does_not_come() {
    let app = TestApp::with(Script::default(), json!({"http": {"body_idle_ms": 50}})).await;
    let ask = |_, request: reqwest::RequestBuilder| {
        let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        request.body(reqwest::Body::wrap_stream(never))
    };
    insta::assert_snapshot!(of_every_route(&app, 408, |_| true, ask).await, @r#"
    every route → 408
    content-type: application/problem+json

    {
      "detail": "the body stood still for 50 ms",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 408,
      "title": "Request timeout",
      "type": "/problems/request-timeout"
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn when_the_database_is_broken_and_when_it_is_away() {
    let app = TestApp::spawn(Script::default()).await;
    // Whatever a route asks for is not there. What writes events or looks for free runs never comes by meanwhile.
    for table in TABLES.iter().filter(|table| **table != "nodes") {
        let rename = format!("ALTER TABLE {table} RENAME TO gone_{table}");
        app.ctx.db.execute_unprepared(&rename).await.unwrap();
    }
    let broken = of_every_route(&app, 500, |_| true, |_, request| request).await;
    for table in TABLES.iter().filter(|table| **table != "nodes") {
        let rename = format!("ALTER TABLE gone_{table} RENAME TO {table}");
        app.ctx.db.execute_unprepared(&rename).await.unwrap();
    }
    app.ctx.db.close_by_ref().await.unwrap();
    let away = of_every_route(&app, 503, asks_the_database, |_, request| request).await;
    let not_ready = shown("readiness", &app.get("/_readiness").await);
    insta::assert_snapshot!("database", format!("{broken}\n\n{away}\n\n{not_ready}"));
    app.close().await;
}

/// A run is seen to run.
fn open(event: &Event) -> bool {
    event.name == "turn.started"
}

/// The answers, one after the other.
fn all(operation: &str, answers: &[Answer]) -> String {
    let blocks: Vec<String> = answers
        .iter()
        .map(|answer| shown(operation, answer))
        .collect();
    blocks.join("\n\n")
}

async fn typed(app: &TestApp, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    let request = app.request(method, path).header("content-type", kind);
    app.send(request.body(body.to_owned())).await
}

#[tokio::test]
async fn of_start_run() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let keyed = |turns| {
        let request = app
            .request("POST", "/api/run")
            .header("idempotency-key", "a-key");
        let request = request.header("content-type", "application/json");
        app.send(request.body(talk(turns).to_string()))
    };
    let started = keyed(1).await;
    assert_eq!(started.status, 201);
    let answers = [
        typed(&app, "POST", "/api/run", "application/json", "{").await,
        typed(&app, "POST", "/api/run", "text/plain", "{}").await,
        keyed(2).await,
        app.post("/api/run", &json!({"topic": "", "bots": []}))
            .await,
    ];
    insta::assert_snapshot!("start_run", all("start_run", &answers));
    app.events(started.json()["run_id"].as_str().unwrap()).await;
    app.close().await;
    let app = guarded(json!({"rate_limit": {"run_creations_per_minute": 1}})).await;
    let mut last = None;
    for _ in 0..2 {
        let request = app
            .request("POST", "/api/run")
            .header("authorization", right());
        let request = request.header("content-type", "application/json");
        last = Some(app.send(request.body("{}")).await);
    }
    insta::assert_snapshot!(shown("start_run", &last.unwrap()), @r#"
    start_run → 429
    content-type: application/problem+json
    ratelimit-policy: "run-creations";q=1;w=60
    retry-after: 5

    {
      "detail": "this client may create 1 runs a minute; try again in 60 s",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 429,
      "title": "Too many runs",
      "type": "/problems/rate-limited"
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn of_list_runs() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    for _ in 0..2 {
        let id = app.start_run(1).await;
        app.events(&id).await;
    }
    let answers = [
        app.get("/api/run?limit=0&status=lost").await,
        app.get("/api/run?limit=1&q=tea").await,
    ];
    insta::assert_snapshot!("list_runs", all("list_runs", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_one_run() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["Hello."]).gate(&gate)).await;
    let id = app.start_run(1).await;
    app.stream(&id, "").await.until(open).await;
    let path = format!("/api/run/{id}");
    let delete = |path: &str| app.send(app.request("DELETE", path));
    let nobody = format!("/api/run/{NOBODY}");
    let live = delete(&path).await;
    gate.open();
    app.events(&id).await;
    let deleted = [
        delete(&path).await,
        delete("/api/run/x").await,
        delete(&nobody).await,
        live,
    ];
    insta::assert_snapshot!("delete_run", all("delete_run", &deleted));
    let missing = [app.get("/api/run/x").await, app.get(&nobody).await];
    insta::assert_snapshot!("get_run", all("get_run", &missing));
    app.close().await;
}

#[tokio::test]
async fn of_stop_run() {
    let app = TestApp::spawn(Script::silent()).await;
    let id = app.start_run(2).await;
    app.stream(&id, "").await.until(open).await;
    let path = format!("/api/run/{id}/stop");
    let answers = [
        app.post(&path, &json!({"mode": "after_turn"})).await,
        typed(&app, "POST", &path, "application/json", "{").await,
        app.stop(NOBODY).await,
        typed(&app, "POST", &path, "text/plain", "x").await,
        app.post(&path, &json!({"mode": "gently"})).await,
        app.stop(&id).await,
    ];
    insta::assert_snapshot!("stop_run", all("stop_run", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_update_bot() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["Hello."]).gate(&gate)).await;
    let id = app.start_run(1).await;
    app.stream(&id, "").await.until(open).await;
    let path = format!("/api/run/{id}/bot/1");
    let matching = async |tag: &str| {
        let request = app.request("PATCH", &path).header("if-match", tag);
        let request = request.header("content-type", "application/json");
        app.send(request.body("{}")).await
    };
    let mut answers = vec![
        app.patch(
            &path,
            &json!({"name": "Eve", "params": {"temperature": 0.5}}),
        )
        .await,
        matching("3").await,
        app.patch(&format!("/api/run/{id}/bot/2"), &json!({})).await,
        matching("\"1\"").await,
        typed(&app, "PATCH", &path, "text/plain", "{}").await,
        app.patch(&path, &json!({"provider": "nobody", "name": ""}))
            .await,
    ];
    gate.open();
    app.events(&id).await;
    answers.push(app.patch(&path, &json!({"name": "Eva"})).await);
    insta::assert_snapshot!("update_bot", all("update_bot", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_streams_and_exports() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    let events = app.events(&id).await;
    let path = format!("/api/stream/{id}");
    let after = async |cursor: &str| {
        app.send(app.request("GET", &path).header("last-event-id", cursor))
            .await
    };
    let answers = [
        after(&events.last().unwrap().id).await,
        after("x").await,
        after("99-0").await,
        app.get(&format!("/api/stream/{NOBODY}")).await,
    ];
    insta::assert_snapshot!("stream_run", all("stream_run", &answers));
    let answers = [
        app.get("/api/export/x.json").await,
        app.get(&format!("/api/export/{id}.exe")).await,
        app.get(&format!("/api/export/{NOBODY}.json")).await,
    ];
    insta::assert_snapshot!("export_run", all("export_run", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_the_audit() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    app.export(&id).await;
    let path = format!("/api/run/{id}/audit");
    let answers = [
        app.get(&path).await,
        app.get(&format!("{path}?limit=0&who=ada")).await,
        app.get(&format!("/api/run/{NOBODY}/audit")).await,
    ];
    insta::assert_snapshot!("list_acts", all("list_acts", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_tickets() {
    let app = guarded(json!({})).await;
    let ask = async |method: &str, path: String| {
        let request = app.request(method, &path);
        app.send(request.header("authorization", right())).await
    };
    let started = app.request("POST", "/api/run");
    let started = started.header("content-type", "application/json");
    let started = started.header("authorization", right());
    let started = app.send(started.body(talk(1).to_string())).await.json();
    let id = started["run_id"].as_str().unwrap();
    let events = ask("GET", format!("/api/stream/{id}")).await;
    assert!(events.text.contains("run.completed"), "{events:?}");
    let answers = [
        ask("POST", format!("/api/stream/{id}/ticket")).await,
        ask("POST", "/api/stream/x/ticket".to_owned()).await,
        ask("POST", format!("/api/stream/{NOBODY}/ticket")).await,
    ];
    insta::assert_snapshot!("make_ticket", all("make_ticket", &answers));
    app.close().await;
}

#[tokio::test]
async fn of_health() {
    let app = TestApp::spawn(Script::default()).await;
    let mut blocks = Vec::new();
    for (operation, path) in [
        ("ping", "/_ping"),
        ("health", "/_health"),
        ("readiness", "/_readiness"),
    ] {
        blocks.push(shown(operation, &app.get(path).await));
    }
    insta::assert_snapshot!(blocks.join("\n\n"), @r#"
    ping → 200
    content-type: application/json

    {
      "ok": true
    }

    health → 200
    content-type: application/json

    {
      "ok": true
    }

    readiness → 200
    content-type: application/json

    {
      "ok": true
    }
    "#);
    app.close().await;
}

#[tokio::test]
async fn of_the_documentation() {
    let app = TestApp::spawn(Script::default()).await;
    let document = app.get("/openapi.json").await;
    assert_eq!(document.json(), contract().document);
    let page = app.get("/docs/index.html").await;
    let blocks = [
        shown_head("get_document", &document),
        shown_head("show_docs", &app.get("/docs").await),
        shown_head("show_docs_file", &page),
        shown("show_docs_file", &app.get("/docs/%ff").await),
        shown("show_docs_file", &app.get("/docs/nothing.js").await),
    ];
    insta::assert_snapshot!(blocks.join("\n\n"), @r#"
    get_document → 200
    content-type: application/json

    show_docs → 307
    location: /docs/index.html

    show_docs_file → 200
    content-type: text/html

    show_docs_file → 400
    content-type: application/problem+json

    {
      "detail": "the path is not UTF-8 after percent-decoding",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 400,
      "title": "Invalid path",
      "type": "/problems/invalid-path"
    }

    show_docs_file → 404
    content-type: application/problem+json

    {
      "detail": "there is nothing at this address",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 404,
      "title": "Not found",
      "type": "/problems/not-found"
    }
    "#);
    app.close().await;
}

/// Nothing of the viewer comes from elsewhere, and its policy lets nothing in.
#[tokio::test]
async fn the_viewer_is_all_ours() {
    let app = TestApp::spawn(Script::default()).await;
    let page = app.get("/docs/index.html").await;
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(!page.text.contains("http"), "{}", page.text);
    let tags = page.text.split('<');
    let scripts: Vec<&str> = tags.filter(|tag| tag.starts_with("script")).collect();
    assert!(scripts.len() >= 2);
    for script in scripts {
        let (tag, inline) = script.split_once('>').unwrap();
        assert_eq!(inline.trim(), "", "a script in the page");
        let name = tag
            .split("src=\"./")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let file = app.get(&format!("/docs/{name}")).await;
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, "text/javascript"),
            "{name}"
        );
    }
    let start = app.get("/docs/swagger-initializer.js").await;
    assert!(start.text.contains("\"/openapi.json\""), "{}", start.text);
    app.close().await;
}
