//! Wrong logins in masses, from as many addresses: those who watch do not notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use parley::simulator::{Gate, Script};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    requests::login::right,
    support::{Scrape, SseClient, TestApp, number, talk, within},
};

/// Logins in a second that a debug build can send and answer beside other tests, and by how many connections: more than may wait, so that
/// there are always some that ask.
const PER_SECOND: usize = 200;
const CONNECTIONS: usize = 400;

/// How many deltas are measured while all is quiet.
const QUIET: usize = 200;

/// What a delta may take in any case: beside other tests, and on a machine of one's own, for whoever asks for a longer flood.
const FLOOR: Duration = Duration::from_secs(1);
const FLOOR_BY_HAND: Duration = Duration::from_millis(50);

/// What the process may grow by meanwhile, this client included.
const GROWTH: f64 = 64.0 * 1024.0 * 1024.0;

/// Who is flooded, and what came of it.
#[derive(Default)]
struct Flood {
    pace: Option<Arc<Semaphore>>,
    sent: AtomicU32,
    /// By 401, 503, and anything else.
    answers: [AtomicUsize; 3],
}

/// Wrong credentials, no two the same, each from an address of its own.
fn wrong(n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    let login = BASE64_STANDARD.encode(format!("ada:wrong {n}"));
    format!(
        "GET /api/providers HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 10.{a}.{b}.{c}\r\nauthorization: Basic {login}\r\n\r\n"
    )
}

/// The status of the next answer, which is read to its end.
async fn answer(socket: &mut TcpStream, raw: &mut Vec<u8>) -> Option<u16> {
    raw.clear();
    let mut buffer = [0; 2048];
    loop {
        if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&raw[..end]).unwrap();
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if raw.len() >= end + 4 + length {
                return head[9..12].parse().ok();
            }
        }
        let read = socket
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        raw.extend_from_slice(&buffer[..read]);
    }
}

async fn flood(address: String, flood: Arc<Flood>) {
    let pace = flood.pace.as_ref().unwrap();
    let turn = async || pace.acquire().await.unwrap().forget();
    // One that asks for nothing would be closed.
    turn().await;
    let (mut socket, mut raw) = (TcpStream::connect(&address).await.unwrap(), Vec::new());
    loop {
        let n = flood.sent.fetch_add(1, Ordering::Relaxed);
        if socket.write_all(wrong(n).as_bytes()).await.is_err() {
            return;
        }
        let place = match answer(&mut socket, &mut raw).await {
            Some(401) => 0,
            Some(503) => 1,
            _ => 2,
        };
        flood.answers[place].fetch_add(1, Ordering::Relaxed);
        turn().await;
    }
}

/// How long deltas take to the reader, shortest first: that many, and until `until` is over.
async fn delays(
    stream: &mut SseClient,
    gate: &Gate,
    least: usize,
    until: Instant,
) -> Vec<Duration> {
    let mut delays = Vec::new();
    while delays.len() < least || Instant::now() < until {
        let sent = Instant::now();
        gate.let_through(1);
        stream.until(|event| event.name == "turn.delta").await;
        delays.push(sent.elapsed());
        // At the pace of a quick model.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    delays.sort();
    delays
}

fn p99(delays: &[Duration]) -> Duration {
    delays[delays.len() * 99 / 100]
}

/// Set in the process that measures.
const ALONE: &str = "PARLEY_TEST_ALONE";

/// What the other tests of this process take would be counted, too.
async fn in_a_process_of_its_own() {
    let name = "floods::logins::a_flood_of_wrong_logins_delays_no_stream";
    let ended = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let wrong = String::from_utf8_lossy(&ended.stderr);
    println!("{said}");
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}\n{wrong}"
    );
}

async fn memory(app: &TestApp) -> f64 {
    Scrape::of(app)
        .await
        .sum("process_resident_memory_bytes", &[])
}

/// `PARLEY_TEST_FLOOD` says for how many seconds, `PARLEY_TEST_FLOOD_RATE` how many in each.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_logins_delays_no_stream() {
    if std::env::var_os(ALONE).is_some() {
        measure().await;
    } else {
        in_a_process_of_its_own().await;
    }
}

async fn measure() {
    let by_hand = number("PARLEY_TEST_FLOOD");
    let (seconds, floor) = by_hand.map_or((3, FLOOR), |seconds| (seconds, FLOOR_BY_HAND));
    let rate: usize = number("PARLEY_TEST_FLOOD_RATE").unwrap_or(PER_SECOND);
    let gate = Gate::closed();
    // As dear as passwords are.
    let hash = bcrypt::hash("test password", bcrypt::DEFAULT_COST).unwrap();
    let app = TestApp::with(
        Script::endless("tick ").gate(&gate),
        json!({
            "dev_mode": false,
            "auth": {"basic": {"user": "ada", "password_hash": hash}},
            "http": {"trusted_proxies": ["127.0.0.1/32"]},
            "metrics": {"public": true},
        }),
    )
    .await;
    let start = app.request("POST", "/api/run").body(talk(1).to_string());
    let start = start.header("content-type", "application/json");
    let started = app.send(start.header("authorization", right())).await;
    let id = started.json()["run_id"].as_str().unwrap().to_owned();
    let path = format!("/api/stream/{id}");
    let mut stream = SseClient::open(&app.address, &path, &[("authorization", &right())]).await;
    stream.until(|event| event.name == "turn.started").await;
    let quiet = delays(&mut stream, &gate, QUIET, Instant::now()).await;

    let pace = Arc::new(Semaphore::new(0));
    let told = Arc::new(Flood {
        pace: Some(Arc::clone(&pace)),
        ..Flood::default()
    });
    let (clients, ended) = (TaskTracker::new(), CancellationToken::new());
    for _ in 0..CONNECTIONS {
        let one = flood(app.address.clone(), Arc::clone(&told));
        clients.spawn(ended.clone().run_until_cancelled_owned(one));
    }
    let beat = {
        let pace = Arc::clone(&pace);
        async move {
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            loop {
                beat.tick().await;
                // What could not be sent in time is not sent later, all at once.
                let due = rate / 100;
                pace.add_permits(due.saturating_sub(pace.available_permits()));
            }
        }
    };
    clients.spawn(ended.clone().run_until_cancelled_owned(beat));
    clients.close();
    // Until it has its size.
    let size = Instant::now() + Duration::from_secs(1);
    delays(&mut stream, &gate, 1, size).await;
    let before = memory(&app).await;
    let (from, sent) = (Instant::now(), told.sent.load(Ordering::Relaxed));
    let flooded = delays(
        &mut stream,
        &gate,
        QUIET,
        from + Duration::from_secs(seconds),
    )
    .await;
    let sent = f64::from(told.sent.load(Ordering::Relaxed) - sent) / from.elapsed().as_secs_f64();
    let growth = memory(&app).await - before;
    ended.cancel();
    within("the flood to end", clients.wait()).await;

    let answers = told.answers.each_ref().map(|it| it.load(Ordering::Relaxed));
    let (quiet, flooded) = (p99(&quiet), p99(&flooded));
    println!(
        "{sent:.0} logins a second, answered 401, 503, otherwise: {answers:?}; p99 {quiet:?} quiet, {flooded:?} flooded; {growth} bytes more"
    );
    assert!(
        answers[0] > 0 && answers[1] > 0 && answers[2] == 0,
        "{answers:?}"
    );
    let most = floor.max(quiet * 3);
    assert!(flooded <= most, "{flooded:?} is over {most:?}");
    assert!(growth < GROWTH, "{growth} bytes more");
    let stop = app.request("POST", &format!("/api/run/{id}/stop"));
    let stopped = app.send(stop.header("authorization", right())).await;
    assert_eq!(stopped.status, 200);
    app.close().await;
}
