//! `/metrics`: who may read it, and that it counts those who may not.

use serde_json::json;

use super::login::{guarded, right};
use crate::support::{Scrape, TestApp, shown_head, talk};

async fn scrape(app: &TestApp) -> Scrape {
    let request = app.request("GET", "/metrics");
    let answer = app.send(request.header("authorization", right())).await;
    assert_eq!(answer.status, 200);
    Scrape::read(&answer.text)
}

#[tokio::test]
async fn the_metrics_want_the_login_of_the_api() {
    let app = guarded(json!({})).await;
    assert_eq!(app.get("/metrics").await.status, 401);
    let request = app.request("GET", "/metrics");
    let answer = app.send(request.header("authorization", right())).await;
    insta::assert_snapshot!(shown_head("show_metrics", &answer), @r"
    show_metrics → 200
    content-type: text/plain; version=0.0.4; charset=utf-8
    ");
    app.close().await;
}

#[tokio::test]
async fn the_settings_may_open_the_metrics_and_nothing_else() {
    let app = guarded(json!({"metrics": {"public": true}})).await;
    assert_eq!(app.get("/metrics").await.status, 200);
    for path in ["/metrics/", "/metrics/x", "/api/providers"] {
        assert_eq!(app.get(path).await.status, 401, "{path}");
    }
    app.close().await;
}

#[tokio::test]
async fn who_is_turned_away_is_counted() {
    let limits = json!({"failed_logins_per_minute": 3, "run_creations_per_minute": 2});
    let app = guarded(json!({"rate_limit": limits})).await;
    let count = |scrape: &Scrape| {
        let failures = |reason| scrape.sum("parley_auth_failures_total", &[("reason", reason)]);
        let limited = scrape.sum("parley_rate_limited_total", &[("limit", "run-creations")]);
        [
            failures("no_credentials"),
            failures("wrong_credentials"),
            failures("too_many"),
            limited,
        ]
    };
    assert_eq!(count(&scrape(&app).await), [0.0; 4]);
    for _ in 0..3 {
        app.get("/api/providers").await;
    }
    let wrong = || {
        app.request("GET", "/api/providers")
            .basic_auth("ada", Some("wrong"))
    };
    for status in [401, 401, 401, 429, 429] {
        assert_eq!(app.send(wrong()).await.status, status);
    }
    for status in [201, 201, 429, 429, 429] {
        let request = app
            .request("POST", "/api/run")
            .header("content-type", "application/json")
            .header("authorization", right());
        let answer = app.send(request.body(talk(1).to_string())).await;
        assert_eq!(answer.status, status);
    }
    let seen = scrape(&app).await;
    assert_eq!(count(&seen), [3.0, 3.0, 2.0, 3.0]);
    let refused = [("status", "429")];
    assert_eq!(seen.sum("parley_http_requests_total", &refused), 5.0);
    app.close().await;
}
