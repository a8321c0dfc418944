//! What no client library sends: requests written byte by byte.

use parley::simulator::Script;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{TestApp, talk, within};

/// The answer to those bytes, head and body.
async fn ask(app: &TestApp, request: &[u8]) -> String {
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
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
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
            b"POST /api/run HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n".to_vec();
        request.extend(format!("content-length: {}\r\nidempotency-key: a", body.len()).bytes());
        request.push(character);
        request.extend(format!("b\r\n\r\n{body}").bytes());
        let answer = ask(&app, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{character}: {answer}");
    }
    assert_eq!(
        app.get("/api/run").await.json()["runs"],
        serde_json::json!([])
    );
    app.close().await;
}
