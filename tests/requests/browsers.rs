//! What browsers are told: who may read, how answers are packed, and what to be careful about.

use std::io::Read as _;

use parley::simulator::Script;
use serde_json::json;

use super::login::{guarded, right};
use crate::support::{Answer, TestApp};

const OURS: &str = "https://app.example";

async fn open_to_ours() -> TestApp {
    guarded(json!({"http": {"allowed_origins": [OURS]}})).await
}

async fn preflight(app: &TestApp, origin: &str, path: &str) -> Answer {
    let request = app
        .request("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header(
            "access-control-request-headers",
            "authorization,last-event-id,if-match",
        );
    app.send(request).await
}

fn names(answer: &Answer, header: &str) -> Vec<String> {
    let values = answer.headers.get_all(header).iter();
    let mut names: Vec<String> = values
        .flat_map(|value| value.to_str().unwrap().split(','))
        .map(|name| name.trim().to_lowercase())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_listed_origin_is_told_what_it_may_do_before_any_login() {
    let app = open_to_ours().await;
    for path in [
        "/api/run",
        "/api/run/x/bot/0",
        "/api/stream/x",
        "/api/nothing",
    ] {
        let answer = preflight(&app, OURS, path).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), OURS);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(
            names(&answer, "access-control-allow-methods"),
            ["delete", "get", "head", "patch", "post", "put"]
        );
        let headers = names(&answer, "access-control-allow-headers");
        for name in [
            "authorization",
            "cache-control",
            "content-type",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "last-event-id",
            "tracestate",
        ] {
            assert!(headers.contains(&name.to_owned()), "{name} in {headers:?}");
        }
        assert_eq!(answer.header("access-control-max-age"), "7200");
    }
    app.close().await;
}

/// Also what goes wrong: a page that cannot read a 401 or a 429 cannot say what is wrong.
#[tokio::test]
async fn a_listed_origin_reads_every_answer() {
    let app = open_to_ours().await;
    let id = "00000000-0000-7000-8000-000000000000";
    for (path, login, status) in [
        ("/api/providers".to_owned(), true, 200),
        ("/api/providers".to_owned(), false, 401),
        (format!("/api/run/{id}"), true, 404),
        (format!("/api/stream/{id}"), true, 404),
    ] {
        let mut request = app.request("GET", &path).header("origin", OURS);
        if login {
            request = request.header("authorization", right());
        }
        let answer = app.send(request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), OURS, "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        let exposed = names(&answer, "access-control-expose-headers");
        for name in [
            "etag",
            "link",
            "location",
            "retry-after",
            "ratelimit",
            "x-request-id",
        ] {
            assert!(exposed.contains(&name.to_owned()), "{name} in {exposed:?}");
        }
        // Or a cache gives one origin what was meant for another.
        assert!(
            names(&answer, "vary").contains(&"origin".to_owned()),
            "{path}"
        );
    }
    app.close().await;
}

#[tokio::test]
async fn no_other_origin_is_named_and_none_is_echoed() {
    let app = open_to_ours().await;
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil",
        "http://app.example",
        "*",
    ] {
        let answer = preflight(&app, origin, "/api/run").await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let request = app
            .request("GET", "/api/providers")
            .header("origin", origin);
        let answer = app.send(request.header("authorization", right())).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, ""),
            "{origin}"
        );
    }
    app.close().await;
}

/// Only a preflight of a listed origin is special.
#[tokio::test]
async fn any_other_options_is_a_request_like_others() {
    let app = open_to_ours().await;
    let asks = ("access-control-request-method", "PATCH");
    for (headers, login, path, status) in [
        (&[][..], true, "/api/run", 405),
        (&[("origin", OURS)], true, "/api/run", 405),
        (&[asks], true, "/api/run", 405),
        (
            &[("origin", "https://evil.example"), asks],
            true,
            "/api/run",
            405,
        ),
        (&[], true, "/nothing", 404),
        (&[], false, "/api/run", 401),
    ] {
        let mut request = app.request("OPTIONS", path);
        if login {
            request = request.header("authorization", right());
        }
        let headers = headers.iter();
        let request = headers.fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let answer = app.send(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-methods"), "");
        if status == 405 {
            assert_eq!(answer.header("allow"), "POST,GET,HEAD");
        }
    }
    app.close().await;
}

#[tokio::test]
async fn nothing_is_said_of_origins_unless_one_is_listed() {
    let app = TestApp::spawn(Script::default()).await;
    let request = app.request("GET", "/api/providers").header("origin", OURS);
    let answer = app.send(request).await;
    let said: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    assert!(
        !said.iter().any(|name| name.starts_with("access-control")),
        "{said:?}"
    );
    assert_eq!(preflight(&app, OURS, "/api/run").await.status, 405);
    app.close().await;
}

#[tokio::test]
async fn texts_are_packed_for_those_who_take_them_so_and_streams_never() {
    let app = TestApp::spawn(Script::text("A word. ".repeat(400).as_str())).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    let export = format!("/api/export/{id}.json");
    let file = |kind: &str| format!("/api/export/{id}.{kind}");
    let plain = app.get(&export).await;
    assert_eq!(plain.header("content-encoding"), "");
    // What the client sends back as it came is not text: straight from the socket.
    for (coding, path, packed) in [
        ("gzip", export.as_str(), true),
        ("zstd", &export, true),
        ("gzip", "/openapi.json", true),
        ("gzip", &file("html"), true),
        ("zstd", &file("md"), true),
        ("gzip", &file("pdf"), false),
        (
            "gzip, deflate, br, zstd",
            &format!("/api/stream/{id}"),
            false,
        ),
        // Not worth it.
        ("gzip", "/_ping", false),
    ] {
        let url = app.url(path);
        let answer = crate::support::client()
            .get(&url)
            .header("accept-encoding", coding)
            .send()
            .await
            .unwrap();
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        assert_eq!(
            header("content-encoding"),
            if packed { coding } else { "" },
            "{path}"
        );
        if packed {
            assert!(
                header("vary").to_lowercase().contains("accept-encoding"),
                "{path}"
            );
        }
        if coding == "gzip" && path == export {
            let bytes = answer.bytes().await.unwrap();
            assert!(bytes.len() * 4 < plain.text.len(), "{} bytes", bytes.len());
            let mut text = String::new();
            flate2::read::GzDecoder::new(&bytes[..])
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, plain.text);
        }
    }
    app.close().await;
}

/// A problem is made anew on its way out; what is packed is the whole of it.
#[tokio::test]
async fn a_long_problem_is_packed_whole() {
    let app = TestApp::spawn(Script::default()).await;
    let query: Vec<String> = (0..60)
        .map(|number| format!("unknown_{number}=1"))
        .collect();
    let request = app.request("GET", &format!("/api/run?{}", query.join("&")));
    let request = request.header("accept-encoding", "gzip");
    let answer = request.send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            &answer.headers()["content-encoding"]
        ),
        (400, &"gzip".parse().unwrap())
    );
    let bytes = answer.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 60);
    app.close().await;
}

#[tokio::test]
async fn every_answer_says_what_to_be_careful_about() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    for path in [
        "/api/providers",
        "/api/run/x",
        "/nothing",
        "/_ping",
        &format!("/api/run/{id}"),
        "/docs/index.html",
        "/openapi.json",
    ] {
        let answer = app.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {path}");
        }
        let kept = if path.starts_with("/docs") {
            "private, max-age=600"
        } else {
            "no-store"
        };
        assert_eq!(answer.header("cache-control"), kept, "{path}");
        for name in ["x-powered-by", "server", "strict-transport-security"] {
            assert_eq!(answer.header(name), "", "{name} of {path}");
        }
    }
    let stream = app.stream(&id, "").await;
    let head = stream.head.to_lowercase();
    assert!(
        head.contains("cache-control: no-cache, no-transform"),
        "{head}"
    );
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    drop(stream);
    app.close().await;
}
