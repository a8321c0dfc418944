//! The soak: hundreds of runs that are always live, thousands of subscribers that come, go, lag and come back, a provider that fails now
//! and then, and books that must balance.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, value_parser};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    api::Api,
    chunk::next,
    clock::now,
    figures::{Figure, Latency, percentile},
    http::Connection,
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
/// One run of so many is told at length: a reader of it that stands still is more than sockets hold.
const LENGTHY: u64 = 20;
/// The size of a delta's text there.
const LENGTHY_SIZE: usize = 4096;
/// How often a line is written.
const LINE: Duration = Duration::from_secs(10);
/// How long runs go on after the last line.
const AFTER: Duration = Duration::from_secs(2);

/// The share of its size at minute two by which memory may grow: what an allocator keeps depends on what comes at the same time.
const PLAY: u64 = 10;
/// What a run leaves in a database in memory when it is deleted: who started, exported and deleted it is kept for 90 days.
const ACTS: u64 = 700;
/// How many descriptors more than at minute two there may be at the end, beside those of streams; and how many when nobody talks, beside the
/// connections to the provider.
const DESCRIPTORS: usize = 50;
/// How many lines make the figures of minute two, and of the end.
const LINES: usize = 6;
/// By how much p99 may have grown: it differs by a half from one line to the next.
const LATER: f64 = 2.0;

/// How much of it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// One at least
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// How many are live at a time
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..))]
    runs: u32,
    /// How many are there to read them: two for each run at least, of which one does all that clients do
    #[arg(long, default_value_t = 2000, value_parser = value_parser!(u32).range(2..))]
    readers: u32,
}

impl Size {
    pub(crate) fn length(self) -> Duration {
        Duration::from_mins(self.minutes)
    }
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
    /// Those who were told of something out of order, and those whose deltas were not the text of their turn.
    gaps: Cell<u64>,
    spoiled: Cell<u64>,
    /// Those who stood still for so long that the server went on without them: text came with its turn's end alone.
    behind: Cell<u64>,
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

/// What a line says.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// In bytes.
    memory: u64,
    descriptors: usize,
    /// Streams that are open, each with a descriptor.
    streams: u64,
    /// In microseconds.
    p99: f64,
    runs: u64,
}

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
    provider.lengthen(LENGTHY, LENGTHY_SIZE);
    let length = size.length();
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
    let (runs, readers) = (usize::try_from(size.runs)?, usize::try_from(size.readers)?);
    ensure!(readers >= 2 * runs, "each run wants two readers at least");
    for slot in 0..runs {
        let soak = Rc::clone(&soak);
        // What the readers are more than the runs, the first runs have.
        let readers = readers / runs + usize::from(slot < readers % runs);
        slots.spawn_local(async move {
            sleep(soak.some(Duration::ZERO, Duration::from_secs(10))).await;
            soak.slot(readers).await
        });
    }
    println!(
        "| s | runs live | streams | RSS, MiB | descriptors | p50, ms | p99, ms | provider late p99, ms | runs ended |\n|---|---|---|---|---|---|---|---|---|"
    );
    let began = now();
    let end = began + u64::try_from(length.as_nanos())?;
    let mut looks = Vec::new();
    let talked = async {
        while now() < end {
            while let Some(slot) = slots.try_join_next() {
                slot??;
            }
            sleep(LINE.min(Duration::from_nanos(end.saturating_sub(now())))).await;
            looks.push(soak.line(began)?);
        }
        while let Some(slot) = slots.join_next().await {
            slot??;
        }
        anyhow::Ok(())
    };
    if let Err(error) = talked.await {
        // What had been read until then was right or wrong all the same.
        println!("\n{}", soak.balance(None));
        return Err(error.context(soak.server.log()));
    }
    sleep(Duration::from_secs(2)).await;
    let (early, late) = (at_minute_two(&looks), middle(&looks, looks.len()));
    let left = (soak.server.memory()?, soak.server.descriptors()?);
    println!("\n{}", soak.balance(Some((early, late, left))));
    soak.judge(early, late, starter.database.is_none())?;
    // For each run a connection to the provider is kept for the next one.
    ensure!(
        left.1 <= runs + DESCRIPTORS,
        "descriptors are left that nobody needs"
    );
    Ok(())
}

/// The middle of the lines around minute two, or of those in the middle of a shorter soak.
fn at_minute_two(looks: &[Look]) -> Look {
    const MINUTE_TWO: usize = 12;
    middle(looks, (looks.len() / 2).clamp(1, MINUTE_TWO + LINES / 2))
}

/// The middle of the last lines before that one, each figure by itself.
fn middle(looks: &[Look], before: usize) -> Look {
    let before = before.min(looks.len());
    let lines = &looks[before.saturating_sub(LINES)..before];
    let mut memory: Vec<u64> = lines.iter().map(|look| look.memory).collect();
    memory.sort_unstable();
    let last = lines.last();
    Look {
        memory: memory.get(memory.len() / 2).copied().unwrap_or(0),
        descriptors: last.map_or(0, |look| look.descriptors),
        streams: last.map_or(0, |look| look.streams),
        p99: Figure::of(lines.iter().map(|look| look.p99)).median,
        runs: last.map_or(0, |look| look.runs),
    }
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
            let lengthy = number.is_multiple_of(LENGTHY);
            for place in 0..readers {
                let (soak, id, steady) = (Rc::clone(self), id.clone(), place == 0);
                subscribers.spawn_local(async move {
                    let heard = if lengthy && !steady {
                        soak.laggard(&id).await?
                    } else {
                        soak.subscriber(&id, steady).await?
                    };
                    anyhow::Ok((steady, heard))
                });
            }
            let mut heard = Vec::new();
            while let Some(subscriber) = subscribers.join_next().await {
                heard.push(subscriber??);
            }
            let turns = api.export(&id).await?;
            for (steady, heard) in heard {
                self.compare(&id, &heard, &turns);
                if lengthy && !steady && heard.late > 0 {
                    up(&self.books.behind);
                }
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

    /// Reads a run of lengthy turns to its end over one connection that holds little, and stands still for most of a turn: what it has not
    /// read stands in the server.
    async fn laggard(&self, id: &str) -> Result<Heard> {
        let path = format!("/api/stream/{id}");
        let connection = Connection::narrow(self.server.address).await?;
        let heard = Heard::default();
        let meter = &self.unsteady;
        let reader = Reader::ask(connection, &path, "", Kind::Parley, meter, heard).await?;
        let mut reader = reader.context("answered 204 before the final event")?;
        up(&self.books.streams);
        self.books.open.set(self.books.open.get() + 1);
        while !reader.heard.final_event {
            // Nothing is lost if the time is over: what is waited for is that there is something to read.
            let reading = self.some(Duration::from_millis(100), Duration::from_secs(1));
            if let Ok(ended) = timeout(reading, reader.read_all()).await {
                ended?;
                break;
            }
            up(&self.books.lagged);
            sleep(self.some(Duration::from_secs(5), Duration::from_secs(9))).await;
        }
        self.books.open.set(self.books.open.get() - 1);
        Ok(reader.into_heard())
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
        if heard.gaps + heard.spoiled == 0 && had == should {
            return;
        }
        if heard.gaps > 0 {
            up(&self.books.gaps);
        }
        if heard.spoiled > 0 {
            up(&self.books.spoiled);
        }
        if had.len() < should.len() {
            up(&self.books.lost);
        } else if had != should {
            up(&self.books.doubled);
        }
        let example = format!(
            "run {id}, {} gaps, {} turns spoiled: {:?}, and the export: {turns:?}",
            heard.gaps, heard.spoiled, heard.turns
        );
        self.books.example.borrow_mut().get_or_insert(example);
    }

    /// One line of the table.
    #[expect(clippy::print_stdout, reason = "that is what it is for")]
    fn line(&self, began: u64) -> Result<Look> {
        let mut latencies = std::mem::take(&mut *self.steady.latencies.borrow_mut());
        let latency = Latency::of(&mut latencies);
        // Taken with each line: an hour's would be a hundred megabytes.
        let lateness = percentile(&self.provider.take_lateness(), 0.99);
        let books = &self.books;
        let look = Look {
            memory: self.server.memory()?,
            descriptors: self.server.descriptors()?,
            streams: books.open.get(),
            p99: latency.p99,
            runs: books.runs.get(),
        };
        println!(
            "| {} | {} | {} | {:.1} | {} | {:.2} | {:.2} | {:.2} | {} |",
            (now() - began) / 1_000_000_000,
            books.live.get(),
            look.streams,
            mebibytes(look.memory),
            look.descriptors,
            latency.p50 / 1000.0,
            look.p99 / 1000.0,
            lateness / 1000.0,
            look.runs
        );
        Ok(look)
    }

    /// Fails if anything was lost or has grown.
    fn judge(&self, early: Look, late: Look, in_memory: bool) -> Result<()> {
        let books = &self.books;
        let wrong = [&books.lost, &books.doubled, &books.gaps, &books.spoiled];
        let example = books.example.take().unwrap_or_default();
        ensure!(
            wrong.iter().all(|count| count.get() == 0),
            "the books do not balance: {example}"
        );
        ensure!(
            books.behind.get() > 0,
            "nobody stood still for long enough to be left behind"
        );
        let acts = if in_memory {
            ACTS * (late.runs - early.runs)
        } else {
            0
        };
        ensure!(
            late.memory <= early.memory + early.memory / PLAY + acts,
            "memory has grown"
        );
        ensure!(
            others(late) <= others(early) + i64::try_from(DESCRIPTORS)?,
            "descriptors have grown"
        );
        ensure!(late.p99 <= early.p99 * LATER, "latency has grown");
        Ok(())
    }

    /// The books; and what was held at minute two, at the end, and without any run.
    fn balance(&self, held: Option<(Look, Look, (u64, usize))>) -> String {
        let books = &self.books;
        let mut text = format!(
            "runs {}, streams {}, of them resumed {}, pauses of readers {}, readers left behind by their run {}, requests to the provider {}\n\
             deltas sent {}, delivered {}, readers that lost text {}, that have text twice {}, that were told out of order {}, whose deltas were \
             not the text {}",
            books.runs.get(),
            books.streams.get(),
            books.resumed.get(),
            books.lagged.get(),
            books.behind.get(),
            self.provider.asked(),
            self.provider.written(),
            self.steady.delivered.get() + self.unsteady.delivered.get(),
            books.lost.get(),
            books.doubled.get(),
            books.gaps.get(),
            books.spoiled.get(),
        );
        if let Some((early, late, (memory, descriptors))) = held {
            let _ = write!(
                text,
                "\nmemory at minute two (or half the time) {:.1} MiB, at the end {:.1} MiB, without any run {:.1} MiB\n\
                 descriptors beside those of streams {}, at the end {}; without any run {descriptors}\n\
                 p99 {:.2} ms, at the end {:.2} ms",
                mebibytes(early.memory),
                mebibytes(late.memory),
                mebibytes(memory),
                others(early),
                others(late),
                early.p99 / 1000.0,
                late.p99 / 1000.0,
            );
        }
        text
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

/// The descriptors that are of no stream.
fn others(look: Look) -> i64 {
    let [descriptors, streams] = [u64::try_from(look.descriptors).unwrap_or(0), look.streams]
        .map(|count| i64::try_from(count).unwrap_or(0));
    descriptors - streams
}

#[expect(clippy::cast_precision_loss, reason = "figures of some digits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
