//! HTTP/2 floods: requests that are taken back at once (CVE-2023-44487), headers without an end (CVE-2024-27316).

use std::time::Duration;

use parley::simulator::{Gate, Script};
use tokio::io::AsyncWriteExt as _;

use super::h2::{self, Connection};
use crate::support::{Scrape, SseClient, TestApp, within};

/// How many requests are taken back, and how many frames of headers are sent.
const REQUESTS: u32 = 50_000;
const FRAMES: u32 = 10_000;

/// The server has had enough of a client.
const ENHANCE_YOUR_CALM: u32 = 11;

/// A run whose provider speaks when the gate lets it, and who watches it.
async fn watched() -> (TestApp, Gate, String, SseClient) {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::endless("tick ").gate(&gate)).await;
    let id = app.start_run(1).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "turn.started").await;
    (app, gate, id, stream)
}

/// Sends that to a new connection until it is closed, and says what the server had to say to it.
async fn attack(address: String, bytes: Vec<u8>) -> Option<u32> {
    let mut connection = Connection::open(&address).await;
    // It breaks off where the server has closed.
    let written = within("the attack", connection.socket.write_all(&bytes)).await;
    let mut said = None;
    while let Some(frame) = connection.next().await {
        if frame.kind == h2::GOAWAY {
            said = Some(frame.code());
        }
    }
    // A reset may take away what was said.
    assert!(said.is_some() || written.is_err());
    said
}

/// Attacks, and sees deltas come all the while.
async fn deltas_come_during(app: &TestApp, gate: &Gate, stream: &mut SseClient, bytes: Vec<u8>) {
    let attack = tokio::spawn(attack(app.address.clone(), bytes));
    let mut seen = 0;
    while !attack.is_finished() || seen < 20 {
        gate.let_through(1);
        stream.until(|event| event.name == "turn.delta").await;
        seen += 1;
    }
    let said = attack.await.unwrap();
    assert_eq!(said.unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_requests_back_in_masses_is_sent_away_and_streams_go_on() {
    let (app, gate, id, mut stream) = watched().await;
    let requests = (0..REQUESTS).map(|n| 2 * n + 1);
    let bytes = requests.flat_map(|stream| {
        let mut both = h2::get(stream, "/api/run");
        both.extend(h2::reset(stream));
        both
    });
    deltas_come_during(&app, &gate, &mut stream, bytes.collect()).await;
    // It was sent away before most of them were looked at.
    let list = [("route", "/api/run"), ("method", "GET")];
    let answered = Scrape::of(&app)
        .await
        .sum("parley_http_requests_total", &list);
    assert!(answered < f64::from(REQUESTS) / 10.0, "{answered} answers");
    app.stop(&id).await;
    app.close().await;
}

/// Taken back one by one, each after the server has begun with it: that is what a client may do, and it leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_one_by_one_leaves_nothing_behind() {
    let (app, gate, id, mut stream) = watched().await;
    let mut connection = Connection::open(&app.address).await;
    for n in 0..500 {
        let number = 2 * n + 1;
        connection
            .send(&h2::get(number, &format!("/api/stream/{id}")))
            .await;
        // The stream has begun.
        while connection.next().await.expect("it goes on").stream != number {}
        connection.send(&h2::reset(number)).await;
    }
    within("the streams to be let go of", async {
        while app.parts().log.readers() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    gate.let_through(1);
    stream.until(|event| event.name == "turn.delta").await;
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_are_cut() {
    let (app, gate, id, mut stream) = watched().await;
    let mut bytes = h2::begin_get(1, "/api/run");
    for _ in 0..FRAMES {
        // One header more, of a hundred bytes.
        let mut field = vec![0x00, 1, b'a', 100];
        field.extend([b'b'; 100]);
        bytes.extend(h2::frame(h2::CONTINUATION, 0, 1, &field));
    }
    deltas_come_during(&app, &gate, &mut stream, bytes).await;
    app.stop(&id).await;
    app.close().await;
}
