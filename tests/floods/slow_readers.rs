//! Readers that do not read: what waits for them is bounded, and they are cut while others go on.

use parley::simulator::{Gate, Script};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::h2::{self, Connection};
use crate::support::{Scrape, SseDecoder, TestApp, within};

/// How many turns talk, and how much each.
const TURNS: u32 = 30;
const TEXT: usize = 100 * 1024;

/// The most that may wait for one reader: what the system holds on both sides, what the server holds, and one block, which is as long
/// as the text of a turn. A good deal less than a run says.
const HELD: f64 = 1_500_000.0;

/// A run that talks much, and then waits in its last turn.
async fn talkative(gate: &Gate) -> (TestApp, String) {
    let app = TestApp::with(
        Script::endless("more ").gate(gate),
        json!({"http": {"write_timeout_ms": 2_000}}),
    )
    .await;
    let text = "x".repeat(2_000) + " ";
    for _ in 0..TURNS {
        app.simulator
            .enqueue(Script::text(&text.repeat(TEXT / text.len())));
    }
    let id = app.start_run(TURNS + 1).await;
    (app, id)
}

/// All bytes of streams that were handed to connections.
async fn handed(app: &TestApp) -> f64 {
    let route = [("route", "/api/stream/{run_id}")];
    let scrape = Scrape::of(app).await;
    scrape.sum("parley_http_response_bytes_total", &route)
}

/// Waits until only so many streams are open.
async fn until_open(app: &TestApp, readers: usize) {
    within("the slow reader to be cut", async {
        while app.parts().log.readers() > readers {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_by_http_1_is_cut_and_little_waits_for_it() {
    let gate = Gate::closed();
    let (app, id) = talkative(&gate).await;
    let path = format!("/api/stream/{id}");
    let mut slow = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut slow, request.as_bytes())
        .await
        .unwrap();
    let mut fast = app.stream(&id, "").await;
    let last = |event: &crate::support::Event| {
        event.name == "turn.started" && event.json()["turn"] == TURNS
    };
    fast.until(last).await;
    let waits = handed(&app).await - fast.taken as f64;
    assert!(waits > 0.0 && waits < HELD, "{waits} bytes wait");
    assert!(fast.taken as f64 > 3.0 * HELD);
    until_open(&app, 1).await;
    // The other one goes on.
    gate.let_through(1);
    fast.until(|event| event.name == "turn.delta").await;
    // It has no end, as a whole answer has.
    let mut rest = Vec::new();
    let _ = within("the rest", slow.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
    assert!((rest.len() as f64) < HELD);
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_one_stream_of_http_2_loses_that_one_alone() {
    let gate = Gate::closed();
    let (app, id) = talkative(&gate).await;
    let path = format!("/api/stream/{id}");
    let (slow, fast) = (1, 3);
    let mut connection = Connection::open(&app.address).await;
    connection.send(&h2::get(slow, &path)).await;
    connection.send(&h2::get(fast, &path)).await;
    let (mut decoder, mut taken, mut ended) = (SseDecoder::default(), [0, 0], false);
    let (mut last, mut more) = (false, 0);
    // Until the slow one is ended, and the fast one has had the last turn and a delta after that.
    while !(ended && more > 0) {
        let frame = connection.next().await.expect("the connection goes on");
        if frame.kind == h2::RESET {
            assert_eq!(frame.stream, slow);
            ended = true;
            gate.let_through(1);
        }
        assert_ne!(frame.kind, h2::GOAWAY, "{frame:?}");
        if frame.kind != h2::DATA {
            continue;
        }
        let size = u32::try_from(frame.payload.len()).unwrap();
        taken[usize::from(frame.stream == fast)] += frame.payload.len();
        if size > 0 {
            // The connection's window is open; the slow one's own is not.
            connection.give(0, size).await;
        }
        if frame.stream == slow {
            continue;
        }
        if size > 0 {
            connection.give(fast, size).await;
        }
        for event in decoder.feed(&frame.payload) {
            let started = event.name == "turn.started" && event.json()["turn"] == TURNS;
            if started && !ended {
                let waits = handed(&app).await - taken[1] as f64;
                assert!(waits > 0.0 && waits < HELD, "{waits} bytes wait");
            }
            last |= started;
            more += usize::from(last && event.name == "turn.delta");
        }
    }
    assert_eq!(taken[0], 65_535, "the window that each stream begins with");
    assert!(taken[1] as f64 > 3.0 * HELD);
    until_open(&app, 1).await;
    app.stop(&id).await;
    app.close().await;
}

/// An answer that is not read holds its connection no longer than a stream.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_not_read_is_cut() {
    let gate = Gate::closed();
    let (app, id) = talkative(&gate).await;
    let last = |event: &crate::support::Event| {
        event.name == "turn.started" && event.json()["turn"] == TURNS
    };
    app.stream(&id, "").await.until(last).await;
    let path = format!("/api/export/{id}.json");
    let mut connection = Connection::open(&app.address).await;
    connection.send(&h2::get(1, &path)).await;
    let mut taken = 0;
    loop {
        let frame = connection.next().await.expect("the connection goes on");
        match frame.kind {
            h2::DATA => taken += frame.payload.len(),
            h2::RESET => break,
            _ => {}
        }
    }
    assert_eq!(taken, 65_535);
    app.stop(&id).await;
    app.close().await;
}
