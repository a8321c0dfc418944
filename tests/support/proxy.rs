//! A proxy before PostgreSQL that can break what passes it, at a chosen exchange of the protocol
//! (<https://www.postgresql.org/docs/current/protocol.html>).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// When an exchange is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The server never hears of it.
    Before,
    /// The server has done it, and nobody is told.
    After,
}

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Open,
    /// Each exchange waits so long.
    Slow(Duration),
    /// Connections are closed, and new ones at once.
    Closed,
    /// Nothing passes, and nobody is told.
    Frozen,
}

/// The proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    /// The database's address, by way of the proxy.
    pub(crate) uri: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    road: watch::Sender<Road>,
    /// Counts down to the exchange that is broken; below zero: none is.
    countdown: AtomicI64,
    after: std::sync::atomic::AtomicBool,
    /// Counts down to the exchange in a transaction that is held, and for how long. Locked for a moment only.
    hold: Mutex<Option<(u32, Duration)>>,
    exchanges: AtomicU64,
}

impl Proxy {
    /// A proxy before the database at `uri`.
    pub(crate) async fn before(uri: &str) -> Self {
        let mut url = url::Url::parse(uri).unwrap();
        let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        url.set_query(Some("sslmode=disable"));
        let shared = Arc::new(Shared {
            road: watch::Sender::new(Road::Open),
            countdown: AtomicI64::new(-1),
            after: false.into(),
            hold: Mutex::new(None),
            exchanges: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *accepting.road.borrow() == Road::Closed {
                    continue;
                }
                let (shared, upstream) = (Arc::clone(&accepting), upstream.clone());
                connections.spawn(async move {
                    // An end of either side is the end of both.
                    let _ = shared.carry(client, &upstream).await;
                });
            }
        });
        Self {
            uri: url.into(),
            shared,
            task,
        }
    }

    pub(crate) fn open(&self) {
        self.shared.road.send_replace(Road::Open);
    }

    pub(crate) fn close(&self) {
        self.shared.road.send_replace(Road::Closed);
    }

    pub(crate) fn freeze(&self) {
        self.shared.road.send_replace(Road::Frozen);
    }

    pub(crate) fn slow(&self, wait: Duration) {
        self.shared.road.send_replace(Road::Slow(wait));
    }

    /// Breaks the connection that makes the exchange number `count` from now on, counted from 0.
    pub(crate) fn break_at(&self, count: u32, when: When) {
        self.shared
            .after
            .store(when == When::After, Ordering::SeqCst);
        self.shared
            .countdown
            .store(i64::from(count), Ordering::SeqCst);
    }

    /// Holds the exchange number `count` that is made in a transaction from now on, counted from 0: neither side hears of the other
    /// for so long.
    pub(crate) fn hold_in_transaction(&self, count: u32, wait: Duration) {
        *self.shared.hold.lock().unwrap() = Some((count, wait));
    }

    /// Whether that exchange has come.
    pub(crate) fn has_held(&self) -> bool {
        self.shared.hold.lock().unwrap().is_none()
    }

    /// How many exchanges there were.
    pub(crate) fn exchanges(&self) -> u64 {
        self.shared.exchanges.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    in_transaction: bool,
    /// Whether neither side hears of the other now.
    held: bool,
    /// Whether the client is told nothing more until the server is ready again, which is the end.
    swallow: bool,
}

impl Shared {
    /// How long the exchange is held that comes now, in a transaction.
    fn hold(&self) -> Option<Duration> {
        let mut hold = self.hold.lock().unwrap();
        match hold.as_mut()? {
            (0, wait) => {
                let wait = *wait;
                *hold = None;
                Some(wait)
            }
            (count, _) => {
                *count -= 1;
                None
            }
        }
    }

    async fn carry(&self, client: TcpStream, upstream: &str) -> std::io::Result<()> {
        let server = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let standing = watch::Sender::new(Standing::default());
        let mut road = self.road.subscribe();
        tokio::select! {
            ended = self.requests(from_client, to_server, &standing) => ended,
            ended = self.answers(from_server, to_client, &standing) => ended,
            _ = road.wait_for(|road| *road == Road::Closed) => Ok(()),
        }
    }

    /// What the client says, exchange by exchange: the one that ends with `Sync` or is a simple `Query`.
    async fn requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        standing: &watch::Sender<Standing>,
    ) -> std::io::Result<()> {
        let mut road = self.road.subscribe();
        // The first message has no kind.
        let length = from.read_u32().await?;
        let mut exchange = length.to_be_bytes().to_vec();
        take(&mut from, length, &mut exchange).await?;
        to.write_all(&exchange).await?;
        exchange.clear();
        loop {
            let kind = from.read_u8().await?;
            let length = from.read_u32().await?;
            exchange.push(kind);
            exchange.extend(length.to_be_bytes());
            take(&mut from, length, &mut exchange).await?;
            if matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C') {
                continue;
            }
            if matches!(kind, b'S' | b'Q') {
                self.exchanges.fetch_add(1, Ordering::SeqCst);
                let wait = match *road.borrow_and_update() {
                    Road::Slow(wait) => wait,
                    _ => Duration::ZERO,
                };
                tokio::time::sleep(wait).await;
                let in_transaction = standing.borrow().in_transaction;
                if let Some(wait) = in_transaction.then(|| self.hold()).flatten() {
                    standing.send_modify(|standing| standing.held = true);
                    tokio::time::sleep(wait).await;
                    standing.send_modify(|standing| standing.held = false);
                    // What the server has said meanwhile comes first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // The sender is ours.
                let _ = road.wait_for(|road| *road != Road::Frozen).await;
                if self.countdown.fetch_sub(1, Ordering::SeqCst) == 0 {
                    if !self.after.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    standing.send_modify(|standing| standing.swallow = true);
                }
            }
            to.write_all(&exchange).await?;
            exchange.clear();
        }
    }

    /// What the server says.
    async fn answers(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        standing: &watch::Sender<Standing>,
    ) -> std::io::Result<()> {
        let (mut road, mut holds) = (self.road.subscribe(), standing.subscribe());
        loop {
            let kind = from.read_u8().await?;
            let length = from.read_u32().await?;
            let mut message = vec![kind];
            message.extend(length.to_be_bytes());
            take(&mut from, length, &mut message).await?;
            let _ = road.wait_for(|road| *road != Road::Frozen).await;
            // The sender lives as long as the connection.
            let _ = holds.wait_for(|standing| !standing.held).await;
            if kind == b'Z' {
                let in_transaction = message.last() == Some(&b'T');
                standing.send_modify(|standing| standing.in_transaction = in_transaction);
            }
            if standing.borrow().swallow {
                if kind == b'Z' {
                    return Ok(());
                }
                continue;
            }
            to.write_all(&message).await?;
        }
    }
}

/// Reads the rest of a message, whose length counts itself.
async fn take(from: &mut OwnedReadHalf, length: u32, into: &mut Vec<u8>) -> std::io::Result<()> {
    let at = into.len();
    into.resize(at + length as usize - 4, 0);
    from.read_exact(&mut into[at..]).await?;
    Ok(())
}
