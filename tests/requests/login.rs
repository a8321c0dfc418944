//! Who may come in, and how often.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use parley::simulator::Script;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, talk};

/// The bcrypt hash of "test password", at the lowest cost.
pub(crate) fn hash() -> String {
    bcrypt::hash("test password", 4).unwrap()
}

pub(crate) async fn guarded(settings: Value) -> TestApp {
    guarded_by(Script::text("Hello."), settings).await
}

/// The same, with that script.
pub(crate) async fn guarded_by(script: Script, settings: Value) -> TestApp {
    let mut all =
        json!({"dev_mode": false, "auth": {"basic": {"user": "ada", "password_hash": hash()}}});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    TestApp::with(script, all).await
}

pub(crate) fn right() -> String {
    format!("Basic {}", BASE64_STANDARD.encode("ada:test password"))
}

async fn start(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let mut request = app
        .request("POST", "/api/run")
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(talk(1).to_string())).await
}

#[tokio::test]
async fn every_route_but_health_wants_a_login() {
    let app = guarded(json!({})).await;
    let mut guarded = 0;
    for route in loco_rs::boot::list_endpoints::<parley::app::App>(&app.ctx) {
        let path = route
            .uri
            .replace("{run_id}", "00000000-0000-7000-8000-000000000000")
            .replace("{bot_index}", "0")
            .replace("{file}", "x.json");
        for method in &route.actions {
            let answer = app.send(app.request(method.as_str(), &path)).await;
            if path.starts_with("/_") {
                assert_eq!(answer.status, 200, "{method} {path}");
            } else if path.starts_with("/.well-known/") || path.starts_with("/auth/") {
                // There is nothing, which one finds whose body is a form.
                let nothing = [404, 415].contains(&answer.status);
                assert!(nothing, "{method} {path}: {}", answer.status);
            } else {
                assert_eq!(
                    (answer.status, answer.problem().as_str()),
                    (401, "unauthorized"),
                    "{method} {path}"
                );
                guarded += 1;
            }
        }
    }
    assert!(guarded >= 7, "only {guarded} routes were walked");
    assert_eq!(
        app.get("/api/nothing").await.status,
        401,
        "what is not there is not told either"
    );
    app.close().await;
}

#[tokio::test]
async fn only_programs_and_navigations_are_asked_to_log_in() {
    let app = guarded(json!({})).await;
    let challenge = |mode: Option<&'static str>| {
        let request = app.request("GET", "/api/providers");
        app.send(mode.map_or_else(
            || request.try_clone().unwrap(),
            |mode| request.try_clone().unwrap().header("sec-fetch-mode", mode),
        ))
    };
    for mode in [None, Some("navigate")] {
        assert_eq!(
            challenge(mode).await.header("www-authenticate"),
            "Basic realm=\"parley\", charset=\"UTF-8\""
        );
    }
    for mode in ["cors", "no-cors", "same-origin"] {
        let answer = challenge(Some(mode)).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, ""),
            "{mode}"
        );
    }
    app.close().await;
}

#[tokio::test]
async fn the_right_credentials_come_in_and_wrong_ones_are_counted() {
    let app = guarded(json!({"rate_limit": {"failed_logins_per_minute": 4}})).await;
    let providers = |credentials: String| {
        app.send(
            app.request("GET", "/api/providers")
                .header("authorization", credentials),
        )
    };
    assert_eq!(providers(right()).await.status, 200);
    let wrong = || format!("Basic {}", BASE64_STANDARD.encode("ada:wrong"));
    for _ in 0..4 {
        assert_eq!(providers(wrong()).await.status, 401);
    }
    let shut = providers(wrong()).await;
    assert_eq!(
        (shut.status, shut.problem().as_str()),
        (429, "too-many-failed-logins")
    );
    assert!(shut.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(
        providers(right()).await.status,
        200,
        "a remembered credential is not shut out"
    );
    assert_eq!(
        app.get("/api/providers").await.status,
        401,
        "no credentials are no failure"
    );
    app.close().await;
}

#[tokio::test]
async fn ten_runs_a_minute_and_client() {
    let app = guarded(json!({"http": {"trusted_proxies": ["127.0.0.1/32"]}})).await;
    let login = right();
    let from = |client: &'static str| {
        let login = login.clone();
        let app = &app;
        async move {
            start(
                app,
                &[("authorization", &login), ("x-forwarded-for", client)],
            )
            .await
        }
    };
    for left in (0..10).rev() {
        let answer = from("192.0.2.1").await;
        assert_eq!(answer.status, 201);
        assert!(
            answer
                .header("ratelimit")
                .starts_with(&format!("\"run-creations\";r={left};t=6")),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"run-creations\";q=10;w=60"
        );
        app.send(
            app.request(
                "GET",
                &format!("/api/stream/{}", answer.json()["run_id"].as_str().unwrap()),
            )
            .header("authorization", &login),
        )
        .await;
    }
    let refused = from("192.0.2.1").await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (429, "rate-limited")
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    let other = from("192.0.2.2").await;
    assert_eq!(other.status, 201, "another client has its own count");
    app.send(
        app.request(
            "GET",
            &format!("/api/stream/{}", other.json()["run_id"].as_str().unwrap()),
        )
        .header("authorization", &login),
    )
    .await;
    app.close().await;
}

/// A client that did not hear the answer may ask again: that makes nothing.
#[tokio::test]
async fn a_request_that_comes_again_under_its_key_is_not_counted() {
    let app = guarded(json!({"rate_limit": {"run_creations_per_minute": 2}})).await;
    let login = right();
    let keyed =
        async |key| start(&app, &[("authorization", &login), ("idempotency-key", key)]).await;
    let left = |answer: &Answer, left: &str| {
        assert_eq!(answer.status, 201, "{answer:?}");
        let fields = answer.header("ratelimit");
        assert!(
            fields.starts_with(&format!("\"run-creations\";r={left};")),
            "{fields}"
        );
    };
    let first = keyed("first").await;
    left(&first, "1");
    for _ in 0..5 {
        let again = keyed("first").await;
        assert_eq!((again.status, &again.text), (201, &first.text));
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("ratelimit"), "");
    }
    left(&keyed("second").await, "0");
    // What is new is refused, with a key and without; what was answered is answered again.
    let refused = [
        keyed("third").await,
        start(&app, &[("authorization", &login)]).await,
    ];
    for refused in &refused {
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (429, "rate-limited")
        );
        assert!(
            refused
                .header("ratelimit")
                .starts_with("\"run-creations\";r=0;")
        );
        assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(keyed("first").await.text, first.text);
    // A key that cannot be used is no repeat.
    assert_eq!(keyed("a b").await.problem(), "rate-limited");
    let history = app
        .request("GET", "/api/run")
        .header("authorization", &login);
    assert_eq!(
        app.send(history).await.json()["runs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    read_to_its_end(&app, &login, &first).await;
    app.close().await;
}

/// Reads the run of that answer.
async fn read_to_its_end(app: &TestApp, login: &str, started: &Answer) {
    let stream = started.json()["stream_url"].as_str().unwrap().to_owned();
    let stream = app.request("GET", &stream).header("authorization", login);
    assert!(app.send(stream).await.text.contains("run.completed"));
}

#[tokio::test]
async fn in_dev_mode_there_is_no_login_and_no_limit() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    for _ in 0..15 {
        let answer = start(&app, &[]).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (201, ""));
        app.events(answer.json()["run_id"].as_str().unwrap()).await;
    }
    app.close().await;
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_not_even_in_dev_mode() {
    let app = TestApp::with(
        Script::text("Hello."),
        json!({"http": {"allowed_origins": ["https://app.example"]}}),
    )
    .await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        let answer = start(&app, headers).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (403, "cross-site"),
            "{headers:?}"
        );
    }
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example"),
        ][..],
        &[("sec-fetch-site", "same-origin")],
    ] {
        let answer = start(&app, headers).await;
        assert_eq!(answer.status, 201, "{headers:?}");
        app.events(answer.json()["run_id"].as_str().unwrap()).await;
    }
    let read = app
        .send(
            app.request("GET", "/api/providers")
                .header("sec-fetch-site", "cross-site"),
        )
        .await;
    assert_eq!(read.status, 200, "looking is not changing");
    app.close().await;
}

#[tokio::test]
async fn without_a_login_set_nobody_comes_in() {
    let app = TestApp::with(Script::text("Hello."), json!({"dev_mode": false})).await;
    assert_eq!(app.get("/api/providers").await.status, 401);
    let answer = app
        .send(
            app.request("GET", "/api/providers")
                .header("authorization", right()),
        )
        .await;
    assert_eq!(answer.status, 401);
    app.close().await;
}
