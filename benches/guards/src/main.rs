//! What a delta costs on its way through the rooms: from the bytes of a provider's answer to the bytes that readers are handed.
//!
//! `allocations` counts what each delta asks of the allocator, and fails above what is stated here. `instructions DELTAS READERS` only
//! does the work, for `valgrind --tool=callgrind` to count: the difference of two numbers of deltas is what the deltas alone cost. The answer
//! itself is made before, and is as long whatever is told of it.
//! Sockets, tasks, the database and a reader's wait for more have no part in it: what they cost depends on how much comes at once.

use std::{alloc::System, fmt::Write as _, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Asker, Delta, DeltaKind, EventId, Quotas, RunId, StartRun, Timestamp},
    event_log::{Channel, EventLog, Opened, Reader},
    models::{PoolOptions, PostgresOptions, Store, connect},
    providers::{Part, fuzzing::Speaker},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most allocations a delta may cost, by the number of readers who keep up: its text, and now and then a page that serves many.
const ALLOCATIONS: [(usize, f64); 3] = [(0, 1.1), (1, 1.2), (100, 1.2)];

/// Deltas that are counted, after as many that are not.
const DELTAS: usize = 2_000;
/// How many deltas are made, whatever is told of them.
const LONGEST: usize = 2 * DELTAS;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match args[..] {
        ["allocations"] => runtime.block_on(allocations()),
        ["instructions", deltas, readers] => {
            let (deltas, readers) = (deltas.parse()?, readers.parse()?);
            let answer = answer(deltas)?;
            runtime.block_on(async { Talk::new(readers).await?.hear(answer).await })
        }
        _ => bail!("usage: allocations | instructions DELTAS READERS"),
    }
}

#[expect(clippy::print_stdout, reason = "it is a program")]
async fn allocations() -> Result<()> {
    for (readers, most) in ALLOCATIONS {
        let mut talk = Talk::new(readers).await?;
        let (short, long) = (answer(DELTAS)?, answer(2 * DELTAS)?);
        let region = Region::new(ALLOCATOR);
        let asked = || {
            let change = region.change();
            change.allocations + change.reallocations
        };
        talk.hear(short).await?;
        let once = asked();
        talk.hear(long).await?;
        // What an answer costs beside its deltas falls out.
        let each = (asked() - 2 * once) as f64 / DELTAS as f64;
        println!("{each:.2} allocations a delta with {readers} readers, {most} at most");
        ensure!(each <= most, "more than {most} allocations a delta");
    }
    Ok(())
}

/// The pieces of an answer as a connection hands them on, slices of larger buffers: a delta each, and the end.
fn answer(deltas: usize) -> Result<Vec<Bytes>> {
    let mut buffer = BytesMut::new();
    let mut pieces = Vec::with_capacity(LONGEST + 1);
    for n in 0..LONGEST {
        write!(
            buffer,
            "data: {{\"id\":\"chatcmpl-Cq8mC1Zt7yXn2LwVb5KsD0aRf\",\"object\":\"chat.completion.chunk\",\"created\":1795953600,\
             \"model\":\"m\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_8d0c6f2a41\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\" word {n:06}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\
             \"obfuscation\":\"Zk3vQ9x\"}}\n\n"
        )?;
        pieces.push(buffer.split().freeze());
    }
    pieces.truncate(deltas);
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Ok(pieces)
}

/// A run whose turn is being spoken, and those who read it.
struct Talk {
    log: EventLog,
    /// Held as the run's owner holds it: its deltas are kept whoever reads.
    channel: Arc<Channel>,
    readers: Vec<Reader>,
}

impl Talk {
    async fn new(readers: usize) -> Result<Self> {
        let db = connect(&memory()).await?;
        Migrator::up(&db, None).await?;
        let store = Store::new(db, Duration::from_secs(5));
        let bot = serde_json::json!({"provider": "p", "model": "m"});
        let order: StartRun =
            serde_json::from_value(serde_json::json!({"topic": "Tea?", "bots": [bot, bot]}))?;
        let plan = order.plan(9).map_err(|wrong| anyhow!("{wrong:?}"))?;
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let (nobody, free) = (Asker::default(), Quotas::default());
        store
            .insert_run(run, &nobody, &free, &plan, Timestamp::from_millis(0), None)
            .await?;
        let log = EventLog::new(store.clone());
        let channel = log.channel(run);
        channel.publish(&store.events_after(run, 0, 1).await?);
        let mut talk = Self {
            log,
            channel,
            readers: Vec::new(),
        };
        for _ in 0..readers {
            let Opened::Reading(reader) = talk.log.open(run, EventId::durable(1)).await? else {
                bail!("the run is over");
            };
            talk.readers.push(*reader);
        }
        Ok(talk)
    }

    /// An answer, each piece of which is read by all before the next.
    async fn hear(&mut self, answer: Vec<Bytes>) -> Result<()> {
        let deltas = answer.len() - 1;
        let mut reply = Speaker::any(0, false).reply("sk-0123456789abcdef0123456789abcdef", answer);
        let mut told = 0;
        while let Some(part) = reply
            .next()
            .await
            .map_err(|failure| anyhow!("{failure:?}"))?
        {
            let Part::Text(text) = part else { continue };
            self.channel.push(&Delta {
                turn: 0,
                bot_index: 0,
                kind: DeltaKind::Text,
                text: &text,
            });
            told += 1;
            for reader in &mut self.readers {
                let blocks = reader.next().await?.context("the run is over")?;
                ensure!(blocks.ends_with(b"\"}\n\n"), "not a delta");
            }
        }
        ensure!(told == deltas, "{told} of {deltas} deltas");
        Ok(())
    }
}

fn memory() -> PoolOptions {
    PoolOptions {
        uri: "sqlite::memory:".to_owned().into(),
        min_connections: 0,
        max_connections: 1,
        timeout: Duration::from_secs(5),
        postgres: PostgresOptions {
            statement_timeout: Duration::ZERO,
            lock_timeout: Duration::ZERO,
            idle_in_transaction_timeout: Duration::ZERO,
            synchronous_commit: "on".to_owned(),
        },
    }
}
