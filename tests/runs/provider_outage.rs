//! A provider that is down for a while under load: a few seconds in the suite, a minute by hand (`PARLEY_TEST_OUTAGE=60`).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parley::simulator::Script;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{TestApp, number, talk, within};

/// How many failures open the breaker.
const FAILURES: usize = 10;
/// How many clients start run after run: so many with a stand-in, and so many without.
const CLIENTS: usize = 4;

/// What stands before a provider: while it is down, every request is answered 503.
struct Balancer {
    address: SocketAddr,
    down: watch::Sender<bool>,
    /// How many requests came while it was down.
    refused: AtomicUsize,
}

impl Balancer {
    async fn before(provider: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            down: watch::Sender::new(false),
            refused: AtomicUsize::new(0),
        });
        let here = Arc::clone(&balancer);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&here).pass(client, provider));
            }
        });
        balancer
    }

    /// While it is down, one request a connection, so that each is seen; what was open before is cut.
    async fn pass(self: Arc<Self>, mut client: TcpStream, provider: SocketAddr) {
        let mut down = self.down.subscribe();
        if !*down.borrow() {
            let mut there = TcpStream::connect(provider).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut there) => {}
                _ = down.wait_for(|down| *down) => {}
            }
            return;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = client.read(&mut [0; 16 * 1024]).await;
        let _ = client.write_all(answer.as_bytes()).await;
        let _ = client.shutdown().await;
        // Reading to the end lets the answer through.
        let _ = client.read_to_end(&mut Vec::new()).await;
    }
}

/// A talk of two turns by the model that goes down.
fn order(stand_in: bool) -> Value {
    let mut order = talk(2);
    for bot in [0, 1] {
        let bot = &mut order["bots"][bot];
        bot["provider"] = json!("openai");
        bot["model"] = json!("model-a");
        if stand_in {
            bot["fallback"] = json!([{"provider": "anthropic", "model": "stand-in"}]);
        }
    }
    order
}

async fn ended(app: &TestApp, stand_in: bool) -> Value {
    let id = app.start(&order(stand_in)).await;
    app.events(&id).await;
    app.export(&id).await
}

/// Runs that end while the provider is down: those with a stand-in lose no turn, the others fail with the provider's own word.
async fn converse(app: &TestApp, stand_in: bool, until: Instant) -> usize {
    let mut failed = 0;
    while Instant::now() < until {
        let export = ended(app, stand_in).await;
        if export["status"] == "completed" {
            assert_eq!(export["turns"], 2, "{export}");
            continue;
        }
        assert!(!stand_in, "{export}");
        failed += 1;
        assert_eq!(export["error"]["code"], "overloaded", "{export}");
        let last = export["messages"].as_array().unwrap().last().unwrap();
        let bot = usize::try_from(last["bot_index"].as_u64().unwrap()).unwrap();
        // As a turn is a bot's only one here, its attempts are the bot's.
        assert_eq!(export["bots"][bot]["total"]["attempts"], 3, "{export}");
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_costs_no_turn_where_another_stands_in() {
    let outage = Duration::from_secs(number("PARLEY_TEST_OUTAGE").unwrap_or(2));
    let open = outage / 20;
    let simulator =
        parley::simulator::Simulator::start(([127, 0, 0, 1], 0).into(), Script::text("Well."));
    let provider = simulator.await.unwrap();
    let balancer = Balancer::before(provider.address()).await;
    let settings = json!({
        "providers": {"openai": {"base_url": format!("http://{}/v1", balancer.address)}},
        "breaker": {"failures": FAILURES, "window_ms": 30_000, "open_ms": open.as_millis()},
        "rate_limit": {"run_creations_per_minute": 1_000_000},
    });
    let app = TestApp::with(Script::text("Well."), settings).await;
    let breakers = async || {
        let all = app.get("/api/providers").await.json();
        let all = all["providers"].as_array().unwrap().clone();
        let openai = all.into_iter().find(|p| p["name"] == "openai").unwrap();
        openai["breakers"].clone()
    };
    assert_eq!(ended(&app, false).await["status"], "completed");

    balancer.down.send_replace(true);
    let until = Instant::now() + outage;
    let clients = (0..2 * CLIENTS).map(|client| converse(&app, client % 2 == 0, until));
    let down = async {
        // One looks at the breaker meanwhile: it opens after so many failures, and stays so but for its probes.
        let mut seen_open = 0;
        while Instant::now() < until {
            let open = !breakers().await.as_array().unwrap().is_empty();
            seen_open += usize::from(open);
        }
        // What still waits is waited for with the provider up again.
        balancer.down.send_replace(false);
        seen_open
    };
    let (failed, seen_open) = tokio::join!(
        within("the talks to end", futures_util::future::join_all(clients)),
        down
    );
    let failed: usize = failed.into_iter().sum();
    let refused = balancer.refused.load(Ordering::Relaxed);
    // So many open it; those that were on their way by then; and a probe each time it has been open.
    let probes = usize::try_from(outage.as_millis() / open.as_millis()).unwrap() + 1;
    let most = FAILURES + 2 * CLIENTS + probes;
    assert!((FAILURES..=most).contains(&refused), "{refused} of {most}");
    assert!(seen_open > 0 && failed > 0, "{seen_open} {failed}");

    // It closes by itself.
    let export = ended(&app, false).await;
    assert_eq!(export["status"], "completed", "{export}");
    assert_eq!(export["messages"][2]["provider"], "openai");
    assert_eq!(breakers().await, json!([]));
    println!("{refused} requests while it was down for {outage:?}, {failed} runs failed");
    app.close().await;
    provider.stop().await;
}
