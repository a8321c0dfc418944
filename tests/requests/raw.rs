//! What no client library sends: requests written byte by byte.

use parley::simulator::Script;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::login::{guarded, right};
use crate::support::{TestApp, talk, within};

/// The answer to those bytes, head and body.
pub(super) async fn ask(app: &TestApp, request: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", socket.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// A query that is not percent-encoded is understood, and the link to the next page is one that every client can follow.
#[tokio::test]
async fn a_query_in_utf8_keeps_its_link() {
    let app = TestApp::spawn(Script::text("Un café, merci.")).await;
    for _ in 0..2 {
        let id = app.start_run(1).await;
        app.events(&id).await;
    }
    let path = "/api/run?q=café&limit=1";
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let answer = ask(&app, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let link = answer.lines().find_map(|line| line.strip_prefix("link: <"));
    let (next, _) = link.unwrap().split_once(">; rel=\"next\"").unwrap();
    assert!(
        next.starts_with("/api/run?q=caf%C3%A9&limit=1&cursor="),
        "{next}"
    );
    let page = app.get(next).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(page.json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(page.header("link"), "");
    app.close().await;
}

/// Such a header is refused before it reaches us, so the answer is bare: HTTP itself forbids it.
#[tokio::test]
async fn a_key_with_control_characters_is_refused() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let body = talk(1).to_string();
    for character in [b'\x00', b'\x01', b'\x1f', b'\x7f'] {
        let mut request =
            b"POST /api/run HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n".to_vec();
        request.extend(format!("content-length: {}\r\nidempotency-key: a", body.len()).bytes());
        request.push(character);
        request.extend(format!("b\r\n\r\n{body}").bytes());
        let answer = ask(&app, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{character}: {answer}");
    }
    assert_eq!(app.get("/api/run").await.json()["runs"], json!([]));
    app.close().await;
}

/// Whoever is refused before the body was read sees the answer all the same, and not a reset: the rest is thrown away. More of it than the
/// system takes from a client by itself, less than is thrown away at most.
#[tokio::test]
async fn who_is_refused_early_sees_the_answer() {
    let app = guarded(json!({"rate_limit": {"run_creations_per_minute": 1}})).await;
    let right = right();
    let first = app
        .request("POST", "/api/run")
        .header("authorization", &right);
    let first = first.header("content-type", "application/json");
    let first = app.send(first.body(talk(1).to_string())).await;
    assert_eq!(first.status, 201);
    let login = format!("authorization: {right}\r\n");
    let foreign = format!("{login}sec-fetch-site: cross-site\r\n");
    for (line, headers, status) in [
        ("POST /api/run", "", 401),
        ("POST /api/run", login.as_str(), 429),
        ("POST /api/run", foreign.as_str(), 403),
        ("POST /api/nowhere", login.as_str(), 404),
        ("PUT /api/providers", login.as_str(), 405),
        ("POST /api/run/nobody/stop", login.as_str(), 400),
    ] {
        let mut request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-type: application/json\r\ncontent-length: 4000000\r\n\r\n"
        )
        .into_bytes();
        request.resize(request.len() + 4_000_000, b' ');
        let answer = ask(&app, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {answer}"
        );
    }
    app.close().await;
}

/// Who asks first whether to send a body, and may not, is not asked for it.
#[tokio::test]
async fn who_waits_with_the_body_is_refused_without_it() {
    let app = guarded(json!({})).await;
    let request = "POST /api/run HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2000000\r\n\r\n";
    let answer = ask(&app, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    app.close().await;
}

/// Whoever begins a body and does not go on with it holds no connection: neither where it is read, nor where it is thrown away.
#[tokio::test]
async fn a_body_that_stands_still_is_not_waited_for() {
    let app = guarded(json!({"http": {"body_idle_ms": 100}})).await;
    let login = format!("authorization: {}\r\n", right());
    for (line, headers, status) in [
        ("POST /api/run", login.as_str(), 408),
        ("POST /api/run", "", 401),
        ("GET /_ping", "", 200),
    ] {
        for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
            let request = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/json\r\n{framing}\r\n\r\n5\r\n{{\"a\":"
            );
            // It ends: the connection was closed.
            let answer = ask(&app, request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{line} {framing}: {answer}"
            );
            if status == 408 {
                assert!(answer.contains("connection: close\r\n"), "{answer}");
                assert!(answer.contains("/problems/request-timeout"), "{answer}");
            }
        }
    }
    let history = app
        .request("GET", "/api/run")
        .header("authorization", right());
    assert_eq!(app.send(history).await.json()["runs"], json!([]));
    app.close().await;
}

/// What the headers say is judged by them: who asks first whether to send such a body, or sends none of it, is not waited for.
#[tokio::test]
async fn length_and_type_are_judged_before_the_body() {
    // In DEV_MODE, where no login stands before it.
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let nobody = "00000000-0000-7000-8000-000000000000";
    for path in [
        "POST /api/run",
        &format!("POST /api/run/{nobody}/stop"),
        &format!("PATCH /api/run/{nobody}/bot/0"),
    ] {
        for (headers, status) in [
            (
                "content-type: application/json\r\ncontent-length: 262145",
                413,
            ),
            ("content-type: text/plain\r\ncontent-length: 2", 415),
            ("content-length: 2", 415),
        ] {
            let request = format!(
                "{path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{headers}\r\n\r\n"
            );
            let answer = ask(&app, request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{path} {headers}: {answer}"
            );
        }
    }
    app.close().await;
}
