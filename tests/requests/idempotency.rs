//! `Idempotency-Key`: a request that comes twice makes one run.

use std::path::Path;

use parley::simulator::Script;
use serde_json::{Value, json};

use crate::support::{Answer, Database, TestApp, talk};

async fn start(app: &TestApp, key: &str, order: &Value) -> Answer {
    let request = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    app.send(request.body(order.to_string())).await
}

async fn runs(app: &TestApp) -> i64 {
    let statement = sea_orm::Statement::from_string(
        sea_orm::ConnectionTrait::get_database_backend(&app.ctx.db),
        "SELECT count(*) FROM runs",
    );
    let row = sea_orm::ConnectionTrait::query_one_raw(&app.ctx.db, statement).await;
    row.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_requests_at_once_make_one_run() {
    let app = TestApp::spawn(Script::text("Once.")).await;
    let order = talk(2);
    let sent = (0..20).map(|_| start(&app, "a key", &order));
    // A blank is no visible character.
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-idempotency-key")
        );
    }
    let sent = (0..20).map(|_| start(&app, "a-key", &order));
    let answers = futures_util::future::join_all(sent).await;
    let first = &answers[0];
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.text, first.text);
        assert_eq!(answer.header("location"), first.header("location"));
    }
    assert_eq!(runs(&app).await, 1);
    app.events(first.json()["run_id"].as_str().unwrap()).await;
    assert_eq!(app.simulator.requests().len(), 2);
    // In quotes it is the same key, and the order of members is no matter.
    let shuffled: Value = serde_json::from_str(
        r#"{"max_turns": 2, "bots": [
            {"model": "model-a", "name": "Ada", "provider": "openai"},
            {"system_prompt": "Be brief.", "name": "Bob", "provider": "anthropic", "model": "model-b"}],
            "topic": "Tea or coffee?"}"#,
    )
    .unwrap();
    assert_eq!(start(&app, "\"a-key\"", &shuffled).await.text, first.text);
    // Another key, another run; none, another one each time.
    assert_ne!(start(&app, "b-key", &order).await.text, first.text);
    assert_eq!(runs(&app).await, 2);
    app.post("/api/run", &order).await;
    app.post("/api/run", &order).await;
    assert_eq!(runs(&app).await, 4);
    app.close().await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let app = TestApp::spawn(Script::text("Once.")).await;
    assert_eq!(start(&app, "k", &talk(1)).await.status, 201);
    let answer = start(&app, "k", &talk(2)).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (422, "idempotency-key-reused")
    );
    // What was refused is not kept.
    let mut wrong = talk(1);
    wrong["max_turns"] = json!(0);
    assert_eq!(
        start(&app, "w", &wrong).await.problem(),
        "validation-failed"
    );
    assert_eq!(start(&app, "w", &talk(1)).await.status, 201);
    assert_eq!(runs(&app).await, 2);
    app.close().await;
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let app = TestApp::spawn(Script::default()).await;
    for key in ["", "\"\"", "a b", "a\tb", &"x".repeat(256), "é"] {
        let answer = start(&app, key, &talk(1)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-idempotency-key"),
            "{key}"
        );
    }
    let twice = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .header("idempotency-key", "a")
        .header("idempotency-key", "a");
    let answer = app.send(twice.body(talk(1).to_string())).await;
    assert_eq!(answer.problem(), "invalid-idempotency-key");
    assert_eq!(runs(&app).await, 0);
    app.close().await;
}

/// Kept on disk: the same answer after a restart, and none after a day.
#[tokio::test]
async fn a_key_outlives_its_process_and_lives_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let database = match Database::of_this_run().await {
        database if database.uri.contains(":memory:") => None,
        database => Some(database),
    };
    let file = Path::new("parley.sqlite");
    let uri = database.as_ref().map_or_else(
        || format!("sqlite://{}?mode=rwc", folder.path().join(file).display()),
        |database| database.uri.clone(),
    );
    let order = talk(1);
    let app = TestApp::on(Some(&uri), Script::text("Once."), json!({})).await;
    let first = start(&app, "k", &order).await;
    app.events(first.json()["run_id"].as_str().unwrap()).await;
    app.close().await;
    let app = TestApp::on(Some(&uri), Script::text("Once."), json!({})).await;
    assert_eq!(start(&app, "k", &order).await.text, first.text);
    assert_eq!(runs(&app).await, 1);
    let aged = "UPDATE idempotency_keys SET expires = expires - 86400000";
    sea_orm::ConnectionTrait::execute_unprepared(&app.ctx.db, aged)
        .await
        .unwrap();
    let second = start(&app, "k", &order).await;
    assert_eq!(second.status, 201);
    assert_ne!(second.text, first.text);
    assert_eq!(start(&app, "k", &order).await.text, second.text);
    app.events(second.json()["run_id"].as_str().unwrap()).await;
    app.close().await;
    if let Some(database) = database {
        database.remove().await;
    }
}
