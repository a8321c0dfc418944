//! The soak: hundreds of runs that are always live, thousands of subscribers that come, go, lag and come back, a provider that fails now
//! and then, and books that must balance.

use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    api::Api,
    chunk::next,
    clock::now,
    figures::Latency,
    pacer::Plan,
    provider::Provider,
    reader::{Heard, Kind, Meter, Reader},
    server::{Server, Starter},
};

/// What the soak wants of Parley's settings: trouble with the provider is over soon, and never closes the way to it.
pub(crate) const SETTINGS: &str = "  timeouts: { first_delta_ms: 3000, idle_ms: 3000 }
  breaker: { failures: 1000000 }
  retry: { max_attempts: 5, base_ms: 200, cap_ms: 1000 }
";
/// Of a thousand requests to the provider, how many go wrong.
const FAULTS: u64 = 50;
/// How often a line is written.
const LINE: Duration = Duration::from_secs(10);
/// How long runs go on after the last line.
const AFTER: Duration = Duration::from_secs(2);

/// The share of its size at minute two by which memory may grow: what an allocator keeps depends on what comes at the same time.
const PLAY: u64 = 10;
/// What a run leaves in a database in memory when it is deleted: who started, exported and deleted it is kept for 90 days.
const ACTS: u64 = 700;
/// How many descriptors there may be when nobody talks, beside the connections to the provider.
const DESCRIPTORS: usize = 50;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) minutes: f64,
    pub(crate) runs: usize,
    pub(crate) readers: usize,
}

/// What is counted.
#[derive(Debug, Default)]
struct Books {
    runs: Cell<u64>,
    streams: Cell<u64>,
    resumed: Cell<u64>,
    lagged: Cell<u64>,
    /// Subscribers whose text lacks something, or has too much.
    lost: Cell<u64>,
    doubled: Cell<u64>,
    /// What the first of them had, and should have had.
    example: RefCell<Option<String>>,
    live: Cell<u64>,
    open: Cell<u64>,
}

struct Soak {
    provider: Provider,
    server: Server,
    books: Books,
    /// Of readers that keep up: what counts for latency. And of all others.
    steady: Rc<Meter>,
    unsteady: Rc<Meter>,
    until: u64,
    random: Cell<u64>,
    numbers: Cell<u64>,
}

/// Memory in bytes, and descriptors.
type Held = (u64, usize);

/// Does it, and fails if the books do not balance.
#[expect(
    clippy::print_stdout,
    reason = "a line each ten seconds, and the books"
)]
pub(crate) async fn soak(provider: Provider, starter: &Starter, size: Size) -> Result<()> {
    let plan = Plan {
        deltas: 60,
        gate: false,
        ..Plan::paced(100)
    };
    provider.reset(plan);
    provider.fail(FAULTS);
    let length = Duration::from_secs_f64(size.minutes * 60.0);
    let soak = Rc::new(Soak {
        provider,
        server: starter.start(Kind::Parley).await?,
        books: Books::default(),
        steady: Rc::default(),
        unsteady: Rc::default(),
        // A little longer than is looked: the last look is at all runs.
        until: now() + u64::try_from((length + AFTER).as_nanos())?,
        random: Cell::new(0x00C0_FFEE_1234_5678),
        numbers: Cell::new(0),
    });
    soak.steady.open.set(true);
    let mut slots = JoinSet::new();
    for slot in 0..size.runs {
        let soak = Rc::clone(&soak);
        // What the readers are more than the runs, the first runs have.
        let readers = size.readers / size.runs + usize::from(slot < size.readers % size.runs);
        slots.spawn_local(async move {
            sleep(soak.some(Duration::ZERO, Duration::from_secs(10))).await;
            soak.slot(readers).await
        });
    }
    println!(
        "| s | runs live | streams | RSS, MiB | descriptors | p50, ms | p99, ms | runs ended |\n|---|---|---|---|---|---|---|---|"
    );
    let (began, minute_two) = (now(), LINE.max((length / 2).min(Duration::from_secs(120))));
    let (mut early, mut late) = (None, (0, 0));
    let end = began + u64::try_from(length.as_nanos())?;
    while now() < end {
        while let Some(slot) = slots.try_join_next() {
            slot?.with_context(|| soak.server.log())?;
        }
        sleep(LINE.min(Duration::from_nanos(end.saturating_sub(now())))).await;
        late = soak.line(began)?;
        if early.is_none() && u128::from(now() - began) >= minute_two.as_nanos() {
            early = Some((late, soak.books.runs.get()));
        }
    }
    while let Some(slot) = slots.join_next().await {
        slot?.with_context(|| soak.server.log())?;
    }
    sleep(Duration::from_secs(2)).await;
    let (early, runs) = early.unwrap_or((late, soak.books.runs.get()));
    let left = (soak.server.memory()?, soak.server.descriptors()?);
    println!("\n{}", soak.balance(early, late, left));
    let books = &soak.books;
    let example = books.example.take().unwrap_or_default();
    ensure!(
        books.lost.get() + books.doubled.get() == 0,
        "the books do not balance: {example}"
    );
    let acts = match starter.database {
        None => ACTS * (books.runs.get() - runs),
        Some(_) => 0,
    };
    ensure!(
        late.0 <= early.0 + early.0 / PLAY + acts,
        "memory has grown"
    );
    // For each run a connection to the provider is kept for the next one.
    ensure!(
        left.1 <= size.runs + DESCRIPTORS,
        "descriptors are left that nobody needs"
    );
    Ok(())
}

impl Soak {
    /// One run after the other, until it is time.
    async fn slot(self: &Rc<Self>, readers: usize) -> Result<()> {
        let mut api = Api::open(self.server.address).await?;
        while now() < self.until {
            let number = self.numbers.replace(self.numbers.get() + 1);
            let id = api.start(number, 2).await?;
            up(&self.books.live);
            let mut subscribers = JoinSet::new();
            for place in 0..readers {
                let (soak, id) = (Rc::clone(self), id.clone());
                subscribers.spawn_local(async move { soak.subscriber(&id, place == 0).await });
            }
            let mut heard = Vec::new();
            while let Some(subscriber) = subscribers.join_next().await {
                heard.push(subscriber??);
            }
            let turns = api.export(&id).await?;
            for heard in heard {
                self.compare(&id, &heard, &turns);
            }
            api.delete(&id).await?;
            self.provider.forget(number);
            self.books.live.set(self.books.live.get() - 1);
            up(&self.books.runs);
        }
        Ok(())
    }

    /// Reads a run to its end: without a break, or with all that clients do.
    async fn subscriber(&self, id: &str, steady: bool) -> Result<Heard> {
        let path = format!("/api/stream/{id}");
        let meter = if steady { &self.steady } else { &self.unsteady };
        let mut heard = Heard::default();
        if !steady {
            sleep(self.some(Duration::ZERO, Duration::from_secs(6))).await;
        }
        loop {
            let reader =
                Reader::open(self.server.address, &path, "", Kind::Parley, meter, heard).await?;
            let mut reader = reader.context("answered 204 before the final event")?;
            up(&self.books.streams);
            self.books.open.set(self.books.open.get() + 1);
            let read = if steady {
                reader.read_all().await
            } else {
                self.unsteadily(&mut reader).await
            };
            self.books.open.set(self.books.open.get() - 1);
            read?;
            heard = reader.into_heard();
            if heard.final_event {
                return Ok(heard);
            }
            up(&self.books.resumed);
            sleep(self.some(Duration::ZERO, Duration::from_secs(2))).await;
        }
    }

    /// Reads for some time, stands still for some time, and at last ends or goes away.
    async fn unsteadily(&self, reader: &mut Reader) -> Result<()> {
        loop {
            // Nothing is lost if the time is over: what is waited for is that there is something to read.
            match timeout(
                self.some(Duration::from_millis(200), Duration::from_secs(4)),
                reader.read_all(),
            )
            .await
            {
                Ok(ended) => return ended,
                Err(_) if self.one_of(3) == 0 => return Ok(()),
                Err(_) if self.one_of(2) == 0 => {
                    up(&self.books.lagged);
                    sleep(self.some(Duration::from_millis(500), Duration::from_secs(4))).await;
                }
                Err(_) => {}
            }
        }
    }

    fn compare(&self, id: &str, heard: &Heard, turns: &[String]) {
        let (had, should) = (heard.turns.concat(), turns.concat());
        if heard.gaps == 0 && had == should {
            return;
        }
        up(if had.len() < should.len() {
            &self.books.lost
        } else {
            &self.books.doubled
        });
        let example = format!(
            "run {id}, {} gaps: {:?}, and the export: {turns:?}",
            heard.gaps, heard.turns
        );
        self.books.example.borrow_mut().get_or_insert(example);
    }

    /// One line of the table.
    #[expect(clippy::print_stdout, reason = "that is what it is for")]
    #[expect(clippy::cast_precision_loss, reason = "mebibytes")]
    fn line(&self, began: u64) -> Result<Held> {
        let held = (self.server.memory()?, self.server.descriptors()?);
        let mut latencies = std::mem::take(&mut *self.steady.latencies.borrow_mut());
        let latency = Latency::of(&mut latencies);
        let (seconds, memory) = ((now() - began) / 1_000_000_000, held.0 as f64 / 1_048_576.0);
        let books = &self.books;
        println!(
            "| {seconds} | {} | {} | {memory:.1} | {} | {:.2} | {:.2} | {} |",
            books.live.get(),
            books.open.get(),
            held.1,
            latency.p50 / 1000.0,
            latency.p99 / 1000.0,
            books.runs.get()
        );
        Ok(held)
    }

    #[expect(clippy::cast_precision_loss, reason = "mebibytes")]
    fn balance(&self, early: Held, late: Held, (memory, descriptors): Held) -> String {
        let books = &self.books;
        let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        format!(
            "runs {}, streams {}, of them resumed {}, pauses of readers {}, requests to the provider {}\n\
             deltas sent {}, delivered {}, readers that lost text {}, that have text twice {}\n\
             memory at minute two {:.1} MiB, at the end {:.1} MiB, without any run {:.1} MiB\n\
             descriptors at minute two {}, at the end {}, without any run {descriptors}",
            books.runs.get(),
            books.streams.get(),
            books.resumed.get(),
            books.lagged.get(),
            self.provider.asked(),
            self.provider.written(),
            self.steady.delivered.get() + self.unsteady.delivered.get(),
            books.lost.get(),
            books.doubled.get(),
            mebibytes(early.0),
            mebibytes(late.0),
            mebibytes(memory),
            early.1,
            late.1,
        )
    }

    /// Some time between these.
    fn some(&self, least: Duration, most: Duration) -> Duration {
        let milliseconds = usize::try_from((most - least).as_millis()).unwrap_or(usize::MAX);
        least + Duration::from_millis(u64::try_from(self.one_of(milliseconds.max(1))).unwrap_or(0))
    }

    fn one_of(&self, count: usize) -> usize {
        let mut random = self.random.get();
        let drawn = next(&mut random);
        self.random.set(random);
        drawn % count
    }
}

fn up(count: &Cell<u64>) {
    count.set(count.get() + 1);
}
