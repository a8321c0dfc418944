//! The stand-in for the provider: takes requests, and leaves the answers to the pacer.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Context as _, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    chunk::{next, opening},
    clock::{go_first, now},
    pacer::{self, Answer, Counts, Fault, Order, Plan, Said},
};

/// What every topic begins with; the number behind it tells the runs apart.
pub(crate) const TOPIC: &str = "load-run-";

/// The provider, as the cases see it.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    /// Whether the thread that writes the deltas goes before those that read: it has to be root for that.
    pub(crate) goes_first: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Mutex<Plan>,
    /// Of a thousand requests, how many go wrong.
    faults: AtomicU64,
    /// Which runs are told at length: those whose number is a multiple of this. And the size of a delta's text there.
    lengthy: Mutex<Option<(u64, usize)>>,
    random: Mutex<u64>,
    said: Mutex<HashMap<u64, Arc<Said>>>,
    asked: AtomicUsize,
    counts: Arc<Counts>,
    orders: mpsc::Sender<Order>,
}

impl Provider {
    /// Listens at a port of its own.
    pub(crate) async fn start(plan: Plan) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (orders, told) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let (begun, begins) = mpsc::channel();
        thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || {
                // Whoever has started it waits for that.
                let _ = begun.send(go_first().is_ok());
                pacer::run(&told, &counted);
            })?;
        let goes_first = begins.recv()?;
        let shared = Arc::new(Shared {
            plan: Mutex::new(plan),
            faults: AtomicU64::new(0),
            lengthy: Mutex::default(),
            random: Mutex::new(0x1234_5678_9ABC_DEF1),
            said: Mutex::default(),
            asked: AtomicUsize::new(0),
            counts,
            orders,
        });
        let provider = Self {
            address,
            goes_first,
            shared: Arc::clone(&shared),
        };
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::task::spawn_local(async move {
                    // An error is a connection that has ended, as all do.
                    let _ = shared.attend(stream).await;
                });
            }
        });
        Ok(provider)
    }

    /// Forgets all that was, and speaks like this from now on.
    pub(crate) fn reset(&self, plan: Plan) {
        self.tell(Order::Clear);
        *lock(&self.shared.plan) = plan;
        lock(&self.shared.said).clear();
        self.shared.asked.store(0, Ordering::Relaxed);
        self.shared.counts.written.store(0, Ordering::Relaxed);
        self.take_lateness();
    }

    /// How late the deltas were since this was asked last, in nanoseconds and in order.
    pub(crate) fn take_lateness(&self) -> Vec<u64> {
        let mut lateness = std::mem::take(&mut *lock(&self.shared.counts.lateness));
        lateness.sort_unstable();
        lateness
    }

    pub(crate) fn tell(&self, order: Order) {
        // The pacer lives as long as the provider.
        let _ = self.shared.orders.send(order);
    }

    /// From now on so many of a thousand requests go wrong.
    pub(crate) fn fail(&self, of_thousand: u64) {
        self.shared.faults.store(of_thousand, Ordering::Relaxed);
    }

    /// From now on one run of so many is told in deltas of that size.
    pub(crate) fn lengthen(&self, one_of: u64, size: usize) {
        *lock(&self.shared.lengthy) = Some((one_of, size));
    }

    /// How many requests there were since the last reset.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// How many deltas were written since then.
    pub(crate) fn written(&self) -> u64 {
        self.shared.counts.written.load(Ordering::Relaxed)
    }

    /// What was said to a run.
    pub(crate) fn said(&self, run: u64) -> Arc<Said> {
        Arc::clone(lock(&self.shared.said).entry(run).or_default())
    }

    /// A run is over, and nobody asks for it again.
    pub(crate) fn forget(&self, run: u64) {
        lock(&self.shared.said).remove(&run);
    }
}

impl Shared {
    /// Answers the requests of one connection.
    async fn attend(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let mut buffer = Vec::new();
        loop {
            let run = request(&stream, &mut buffer).await?;
            let place = self.asked.fetch_add(1, Ordering::Relaxed);
            let said = Arc::clone(lock(&self.said).entry(run).or_default());
            lock(&said.text).clear();
            let mut plan = *lock(&self.plan);
            let lengthy = *lock(&self.lengthy);
            if let Some((_, size)) = lengthy.filter(|(one_of, _)| run.is_multiple_of(*one_of)) {
                plan.size = size;
            }
            match self.fault(&mut plan) {
                Some(refusal) => {
                    write(&stream, refusal.as_bytes()).await?;
                    continue;
                }
                None => write(&stream, &opening()).await?,
            }
            let (done, mut whole) = oneshot::channel();
            let answer = Answer {
                stream: Arc::clone(&stream),
                said: Arc::clone(&said),
                plan,
                place: u64::try_from(place)?,
                done,
            };
            self.orders
                .send(Order::Answer(Box::new(answer)))
                .context("the pacer has ended")?;
            tokio::select! {
                said = &mut whole => said.context("given up")?,
                () = closed(&stream) => {
                    said.closed.store(now(), Ordering::Release);
                    return Ok(());
                }
            }
        }
    }

    /// What goes wrong with this request, if anything: an answer at once, or something in the plan.
    fn fault(&self, plan: &mut Plan) -> Option<String> {
        let faults = self.faults.load(Ordering::Relaxed);
        let mut random = lock(&self.random);
        if u64::try_from(next(&mut random) % 1000).is_ok_and(|drawn| drawn >= faults) {
            return None;
        }
        let after = next(&mut random) % plan.deltas.max(1);
        let (status, more) = match next(&mut random) % 4 {
            0 => ("500 Internal Server Error", ""),
            1 => ("429 Too Many Requests", "retry-after: 1\r\n"),
            2 => {
                plan.fault = Some((Fault::Cut, after));
                return None;
            }
            _ => {
                plan.fault = Some((Fault::Stall, after));
                return None;
            }
        };
        let body =
            r#"{"error":{"message":"not now","type":"server_error","param":null,"code":null}}"#;
        let length = body.len();
        Some(format!(
            "HTTP/1.1 {status}\r\n{more}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }
}

/// Reads a request, and tells which run it is for.
async fn request(stream: &TcpStream, buffer: &mut Vec<u8>) -> Result<u64> {
    loop {
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            let end = head + 4 + length.unwrap_or(0);
            if buffer.len() >= end {
                let body = &buffer[head + 4..end];
                let at = memchr::memmem::find(body, TOPIC.as_bytes())
                    .context("no topic in the request")?;
                let digits = body[at + TOPIC.len()..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let run = digits.fold(0, |run, digit| run * 10 + u64::from(digit - b'0'));
                buffer.drain(..end);
                return Ok(run);
            }
        }
        stream.readable().await?;
        match stream.try_read_buf(buffer) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until the other side has closed the connection. Nothing is taken from it: whoever has read an answer's last byte may send its
/// next request before we have heard that the byte was written.
async fn closed(stream: &TcpStream) {
    if let Ok(1..) = stream.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
