//! Wrong logins in masses, while some watch: what that does to those who watch.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, value_parser};
use tokio::{
    runtime,
    sync::oneshot,
    task::{JoinSet, LocalSet},
    time::sleep,
};

use crate::{
    api::Api,
    clock::{give_way, now},
    figures::Latency,
    http::Connection,
    listening::{listen, until},
    pacer::{Order, Plan},
    provider::{Provider, lock},
    reader::{Kind, Meter},
    server::Starter,
    talk::{Shape, Window},
};

/// The hash of the password below, at bcrypt's cost of 12, which is what `hash_password` makes.
pub(crate) const HASH: &str = "$2b$12$lqnZ.qKZBhsjJU0DMX6LHOSzZZOiF6AEULGSCmKE75y81ERQSzIK2";
const PASSWORD: &str = "the load";
/// What the flood wants of Parley's settings: who sends it counts as a proxy, so that logins can come from many addresses.
pub(crate) const SETTINGS: &str = "  http: { trusted_proxies: [\"127.0.0.1/32\"] }
  rate_limit: { run_creations_per_minute: 1000000 }
";
/// How many runs talk, with a reader each.
const RUNS: usize = 20;
/// How many connections the logins come over.
const CONNECTIONS: usize = 200;

/// How much of it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// Logins in a second
    #[arg(long, default_value_t = 5000, value_parser = value_parser!(u64).range(1..))]
    pub(crate) logins: u64,
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// From how many addresses (`X-Forwarded-For` of a trusted proxy)
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    pub(crate) addresses: u64,
}

#[derive(Debug, Default)]
struct Flood {
    sent: AtomicU64,
    /// How often each status was answered; 0: the connection was closed.
    answers: Mutex<BTreeMap<u16, u64>>,
}

/// Does it, and tells the figures.
#[expect(clippy::print_stdout, reason = "the figures")]
#[expect(clippy::cast_precision_loss, reason = "figures of some digits")]
pub(crate) async fn flood(provider: Provider, starter: &Starter, size: Size) -> Result<()> {
    let plan = Plan::paced(20);
    provider.reset(plan);
    let server = starter.start(Kind::Parley).await?;
    let meter = Rc::new(Meter::default());
    let login = format!(
        "authorization: Basic {}\r\n",
        BASE64_STANDARD.encode(format!("ada:{PASSWORD}"))
    );
    let mut api = Api::open(server.address).await?;
    api.headers.clone_from(&login);
    let mut ids = Vec::new();
    for number in 0..RUNS {
        ids.push(api.start(u64::try_from(number)?, 1).await?);
    }
    let shape = Shape {
        runs: RUNS,
        readers: 1,
        plan,
        window: Window::Whole,
        http2: None,
    };
    let mut listening = listen(&server, &ids, shape, &login, &meter);
    until("all readers", &mut listening, || {
        meter.connected.get() == RUNS && provider.asked() == RUNS
    })
    .await?;
    provider.tell(Order::Go);
    sleep(Duration::from_secs(1)).await;
    meter.open.set(true);
    let window = Duration::from_secs(size.seconds);
    sleep(window).await;
    let quiet = Latency::of(&mut meter.latencies.borrow_mut());
    meter.latencies.borrow_mut().clear();
    let (before, cpu) = (server.memory()?, server.processor_time()?);
    let flood = Arc::new(Flood::default());
    let (end, ended) = oneshot::channel();
    let sending = {
        let (address, flood) = (server.address, Arc::clone(&flood));
        thread::spawn(move || send_until(ended, address, &flood, size))
    };
    sleep(window).await;
    meter.open.set(false);
    let flooded = Latency::of(&mut meter.latencies.borrow_mut());
    let cpu = (server.processor_time()? - cpu) as f64 / window.as_nanos() as f64;
    let sent = flood.sent.load(Ordering::Relaxed);
    let answers = lock(&flood.answers).clone();
    let after = server.memory()?;
    drop(end);
    sending.join().ok().context("the flood panicked")??;
    provider.tell(Order::Finish);
    for (number, heard) in listening.joined().await? {
        ensure!(
            heard.gaps == 0 && heard.turns == api.export(&ids[number]).await?,
            "a reader of run {number} has another text"
        );
    }
    tell(quiet, flooded);
    println!(
        "\n- {sent} logins sent in {} s from {} address(es); answers by status (0: closed): {answers:?}",
        size.seconds, size.addresses
    );
    println!("- cores that the server took meanwhile: {cpu:.2}");
    println!(
        "- RSS before {:.1} MiB, after {:.1} MiB",
        before as f64 / 1_048_576.0,
        after as f64 / 1_048_576.0
    );
    println!(
        "- p99 stays within 3 ×: {}",
        if flooded.p99 <= 3.0 * quiet.p99 {
            "reached"
        } else {
            "NOT reached"
        }
    );
    Ok(())
}

/// The latencies as a table.
#[expect(clippy::print_stdout, reason = "the figures")]
fn tell(quiet: Latency, flooded: Latency) {
    println!("| added latency, µs | quiet | flooded | ratio |\n|---|---|---|---|");
    for (name, quiet, flooded) in [
        ("p50", quiet.p50, flooded.p50),
        ("p99", quiet.p99, flooded.p99),
        ("p99.9", quiet.p999, flooded.p999),
        ("max", quiet.max, flooded.max),
    ] {
        println!(
            "| {name} | {quiet:.0} | {flooded:.0} | {:.2} |",
            flooded / quiet
        );
    }
}

/// Sends the logins until `ended`, on a thread of its own that gives way to those who watch: in earnest whoever sends them has another
/// machine.
fn send_until(
    ended: oneshot::Receiver<()>,
    address: SocketAddr,
    flood: &Arc<Flood>,
    size: Size,
) -> Result<()> {
    give_way()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let _connections = send(address, flood, size);
        // Its sender says nothing: it is dropped.
        let _ = ended.await;
    });
    Ok(())
}

/// Sends the logins, spread over connections that are kept alive.
fn send(address: SocketAddr, flood: &Arc<Flood>, size: Size) -> JoinSet<Result<()>> {
    let mut connections = JoinSet::new();
    let began = now();
    // Some are kept waiting for long: whichever is free sends the next.
    let next = Rc::new(Cell::new(0));
    for _ in 0..CONNECTIONS {
        let (flood, next) = (Arc::clone(flood), Rc::clone(&next));
        connections.spawn_local(async move {
            let mut open = None;
            loop {
                let number = next.get();
                next.set(number + 1);
                let due = began + number * 1_000_000_000 / size.logins;
                if let Some(wait) = due.checked_sub(now()) {
                    sleep(Duration::from_nanos(wait)).await;
                }
                let mut wire = match open.take() {
                    Some(wire) => wire,
                    None => Connection::open(address).await?,
                };
                flood.sent.fetch_add(1, Ordering::Relaxed);
                let answer = wire
                    .ask("GET", "/api/providers", &wrong(number, size.addresses), "")
                    .await;
                let status = answer.as_ref().map_or(0, |answer| answer.status);
                *lock(&flood.answers).entry(status).or_default() += 1;
                open = answer.is_ok().then_some(wire);
            }
        });
    }
    connections
}

/// Wrong credentials, no two the same.
fn wrong(number: u64, addresses: u64) -> String {
    let login = BASE64_STANDARD.encode(format!("ada:wrong {number}"));
    let [.., a, b, c] = (number % addresses.max(1)).to_be_bytes();
    let from = if addresses > 1 {
        format!("x-forwarded-for: 10.{a}.{b}.{c}\r\n")
    } else {
        String::new()
    };
    format!("authorization: Basic {login}\r\n{from}")
}
