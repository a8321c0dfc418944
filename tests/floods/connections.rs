//! More connections than there may be.

use std::net::SocketAddr;

use parley::simulator::Script;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::h2::{self, Connection};
use crate::{
    requests::login::guarded,
    support::{Scrape, TestApp, within},
};

/// A connection from that address of this machine.
async fn connect(app: &TestApp, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    let to: SocketAddr = app.address.parse().unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// One that has been answered, and is kept.
async fn hold(app: &TestApp, from: &str) -> TcpStream {
    let mut socket = connect(app, from).await;
    socket
        .write_all(b"GET /api/providers HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    within("an answer", socket.read_exact(&mut head))
        .await
        .unwrap();
    assert_ne!(&head[9..], b"503");
    socket
}

/// What another one is answered, to its end.
async fn ask(app: &TestApp, from: &str, request: &[u8]) -> String {
    let mut socket = connect(app, from).await;
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", socket.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8(answer).unwrap()
}

const ONE_MORE: &[u8] =
    b"GET /api/providers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const HERE: &str = "127.0.0.1";
const THERE: &str = "127.0.0.2";
const PROXY: &str = "127.0.0.3";

fn is_refusal(answer: &str) -> bool {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let refused = head.starts_with("HTTP/1.1 503");
    if refused {
        for line in [
            "retry-after: 5",
            "connection: close",
            "content-type: application/problem+json",
        ] {
            assert!(head.lines().any(|has| has == line), "{line}: {head}");
        }
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "/problems/too-many-connections");
        let id = body["request_id"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
    }
    refused
}

/// How many were refused because there is no place for anybody. Asked for beside the connections: one to ask by might be refused.
fn refused(app: &TestApp) -> f64 {
    let limit = [("limit", "connections")];
    Scrape::inside(app).sum("parley_connections_refused_total", &limit)
}

/// Asks until there is a place again: that a connection is gone, the server hears when it hears it.
async fn until_let_in(app: &TestApp, from: &str) {
    within("a place", async {
        while is_refusal(&ask(app, from, ONE_MORE).await) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_there_may_be_is_told_so() {
    let settings = json!({
        "limits": {"connections": 2},
        "http": {"allowed_origins": ["https://ours.example"]},
    });
    let app = TestApp::with(Script::default(), settings).await;
    let held = [hold(&app, HERE).await, hold(&app, THERE).await];
    assert!(is_refusal(&ask(&app, HERE, ONE_MORE).await));
    // It has sent much already: it sees the answer, and no reset.
    let mut order = b"POST /api/run HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n".to_vec();
    order.resize(order.len() + 4_000_000, b' ');
    assert!(is_refusal(&ask(&app, HERE, &order).await));
    // A full process is alive.
    let ping = ask(
        &app,
        HERE,
        b"GET /_ping HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    assert!(ping.starts_with("HTTP/1.1 200"), "{ping}");
    assert!(ping.contains("connection: close"), "{ping}");
    // A browser would give a stream up for good.
    let stream = b"GET /api/stream/x HTTP/1.1\r\nhost: localhost\r\nsec-fetch-mode: cors\r\n\r\n";
    let stream = ask(&app, HERE, stream).await;
    assert!(stream.starts_with("HTTP/1.1 200"), "{stream}");
    assert!(stream.ends_with("retry: 2000\n\n"), "{stream}");
    // One of another origin may not even read that, unless the origin is listed.
    for (origin, listed) in [
        ("https://ours.example", true),
        ("https://other.example", false),
    ] {
        for path in ["/api/stream/x", "/api/providers"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\nsec-fetch-mode: cors\r\n\r\n"
            );
            let answer = ask(&app, HERE, request.as_bytes()).await;
            let head = answer.split("\r\n\r\n").next().unwrap();
            let has = |line: &str| head.lines().any(|has| has == line);
            let named = has(&format!("access-control-allow-origin: {origin}"));
            let credentials = has("access-control-allow-credentials: true");
            assert_eq!((named, credentials), (listed, listed), "{head}");
            assert!(head.contains("vary: origin"), "{head}");
            assert_eq!(head.contains("\naccess-control-"), listed, "{head}");
        }
    }
    // By HTTP/2, too.
    let mut connection = Connection::open(&app.address).await;
    connection.send(&h2::get(1, "/api/providers")).await;
    let (mut body, mut ended) = (Vec::new(), false);
    while let Some(frame) = connection.next().await {
        match frame.kind {
            h2::DATA => body.extend(frame.payload),
            h2::GOAWAY => ended = true,
            _ => {}
        }
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(ended && body["status"] == 503, "{body}");
    drop(held);
    until_let_in(&app, HERE).await;
    let refused = refused(&app);
    assert!(refused >= 5.0, "{refused}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_own_share_and_a_proxy_is_many() {
    let settings = json!({
        "limits": {"connections_per_client": 2},
        "http": {"trusted_proxies": [format!("{PROXY}/32")]},
    });
    let app = guarded(settings.clone()).await;
    let held = [hold(&app, HERE).await, hold(&app, HERE).await];
    assert!(is_refusal(&ask(&app, HERE, ONE_MORE).await));
    let mut others = Vec::new();
    for from in [THERE, THERE, PROXY, PROXY, PROXY] {
        others.push(hold(&app, from).await);
    }
    drop(held);
    until_let_in(&app, HERE).await;
    drop(others);
    app.close().await;
    // In DEV_MODE nobody is counted.
    let app = TestApp::with(Script::default(), settings).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(hold(&app, HERE).await);
    }
    drop(held);
    app.close().await;
}

/// However many come, few are told at the same time, and all are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_is_bounded() {
    const FLOOD: usize = 300;
    let app = TestApp::with(Script::default(), json!({"limits": {"connections": 1}})).await;
    let held = hold(&app, HERE).await;
    // They ask for nothing yet, so each that is to be told holds its place.
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(connect(&app, HERE).await);
    }
    // The system lets in at once who comes; the server gets to the last of them when it does.
    within("the last one's refusal", async {
        while refused(&app) < 300.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut told = 0;
    for socket in &mut flood {
        let mut answer = Vec::new();
        let _ = socket.write_all(ONE_MORE).await;
        let _ = within("its end", socket.read_to_end(&mut answer)).await;
        told += usize::from(answer.starts_with(b"HTTP/1.1 503"));
    }
    assert!(told <= 64, "{told} were told");
    drop(held);
    until_let_in(&app, HERE).await;
    app.close().await;
}
