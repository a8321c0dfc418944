//! Providers that mean ill, or are broken in ways that no provider should be: what one of them costs is bounded in time and memory,
//! and what is told of it is right.
//!
//! Bounds are proved from outside: by how many bytes the provider got rid of before its connection was closed, and by the clock.

mod connections;
mod endless;
mod heads;
mod secrets;
mod tls;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parley::{conversation::FailureCode, providers::Timeouts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Heard, OPENAI, PATIENT, ask, registry, server::read_request};
use crate::support::within;

pub(crate) const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
pub(crate) const WORD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
pub(crate) const END: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// What the two kernels' buffers and the client's may hold of what was sent and never looked at.
const BUFFERS: usize = 12 * 1024 * 1024;

/// A provider that does with each connection as the test says.
pub(crate) struct Hostile {
    pub(crate) base: String,
    /// How many connections were made.
    pub(crate) connections: Arc<AtomicUsize>,
    /// How many bytes were sent.
    sent: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// A connection to it.
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    sent: Arc<AtomicUsize>,
}

impl Hostile {
    /// Listens; `act` is done with each connection.
    pub(crate) async fn start<F, A>(act: F) -> Self
    where
        F: Fn(Wire) -> A + Send + 'static,
        A: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (connections, sent) = (Arc::default(), Arc::default());
        let (counted, tally) = (Arc::clone(&connections), Arc::clone(&sent));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                AtomicUsize::fetch_add(&counted, 1, Ordering::Relaxed);
                let sent = Arc::clone(&tally);
                let acting = act(Wire { socket, sent });
                // The client closes when it has had enough: that is what the tests are about.
                open.spawn(async move { drop(acting.await) });
            }
        });
        Self {
            base,
            connections,
            sent,
            _tasks: tasks,
        }
    }

    /// Sends these bytes to each request, and closes.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self::start(move |mut wire| {
            let bytes = Arc::clone(&bytes);
            async move {
                wire.request().await?;
                wire.say(&bytes).await
            }
        })
        .await
    }

    /// Sends the first bytes and then the others, again and again until nobody takes them.
    pub(crate) async fn endless(first: &str, again: &str) -> Self {
        let (first, again) = (first.to_owned(), again.to_owned());
        Self::start(move |mut wire| {
            let (first, again) = (first.clone(), again.clone());
            async move {
                wire.request().await?;
                wire.say(first.as_bytes()).await?;
                wire.for_ever(again.as_bytes()).await
            }
        })
        .await
    }

    /// Sends the first bytes and then the others one by one, each after a while, until nobody takes them.
    pub(crate) async fn dripping(first: &str, again: &str) -> Self {
        let (first, again) = (first.to_owned(), again.to_owned());
        Self::start(move |mut wire| {
            let (first, again) = (first.clone(), again.clone());
            async move {
                wire.request().await?;
                wire.say(first.as_bytes()).await?;
                loop {
                    for byte in again.as_bytes() {
                        wire.say(&[*byte]).await?;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        })
        .await
    }

    /// How many bytes were sent in all, once that many do not become more.
    pub(crate) async fn sent(&self) -> usize {
        within("nothing more to be sent", async {
            let mut before = usize::MAX;
            loop {
                let now = self.sent.load(Ordering::Relaxed);
                if now == before {
                    return now;
                }
                before = now;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }
}

impl Wire {
    pub(crate) async fn request(&mut self) -> io::Result<String> {
        self.socket.set_nodelay(true)?;
        read_request(&mut self.socket).await
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(64 * 1024) {
            self.socket.write_all(piece).await?;
            self.sent.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) async fn for_ever(&mut self, bytes: &[u8]) -> io::Result<()> {
        let block = bytes.repeat((64 * 1024 / bytes.len()).max(1));
        loop {
            self.say(&block).await?;
        }
    }

    /// Waits until the client closes.
    pub(crate) async fn hold(mut self) -> io::Result<()> {
        let mut rest = [0; 4096];
        while self.socket.read(&mut rest).await? > 0 {}
        Ok(())
    }

    /// Ends the connection the hard way.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_zero_linger()
    }
}

/// Short waits, so that what has to end by them does so while a test runs.
pub(crate) fn short(first_delta: u64, idle: u64) -> Timeouts {
    Timeouts {
        first_delta: Duration::from_millis(first_delta),
        idle: Duration::from_millis(idle),
        usage: Duration::from_millis(200),
        ..PATIENT
    }
}

/// Asks it by `OpenAI`'s older API, and makes sure that it did not take longer than that.
pub(crate) async fn in_time(most: Duration, server: &Hostile, timeouts: Timeouts) -> Heard {
    asked(most, OPENAI, &server.base, timeouts).await
}

/// The same by another API or at another address.
pub(crate) async fn asked(most: Duration, kind: &str, base: &str, timeouts: Timeouts) -> Heard {
    let registry = registry(kind, base, timeouts);
    let began = Instant::now();
    let heard = ask(&registry).await;
    let took = began.elapsed();
    assert!(took <= most, "it took {took:?}: {:?}", told(&heard));
    heard
}

/// What was told, in short.
pub(crate) fn told(heard: &Heard) -> (Option<FailureCode>, &str) {
    (heard.failure, heard.message.as_str())
}
