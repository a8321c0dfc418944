//! What a delta costs on its way through the rooms: from the bytes of a provider's answer to the bytes that readers are handed.
//!
//! `allocations` counts what each delta asks of the allocator, and fails above what is stated here. `instructions DELTAS READERS` only
//! does the work, for `valgrind --tool=callgrind` to count: the difference of two numbers of deltas is what the deltas alone cost.
//! Sockets, tasks and the database have no part in it: what they cost depends on how much comes at once.

use std::{alloc::System, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Asker, Delta, DeltaKind, EventId, Quotas, RunId, StartRun, Timestamp},
    event_log::{EventLog, Opened, Reader},
    models::{PoolOptions, PostgresOptions, Store, connect},
    providers::{Part, fuzzing::Speaker},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most allocations a delta may cost, by the number of readers who keep up: three that each delta makes, and those that serve many.
const ALLOCATIONS: [(usize, f64); 3] = [(0, 3.1), (1, 3.2), (100, 3.2)];

/// Deltas that are counted, after as many that are not.
const DELTAS: usize = 2_000;

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
            runtime.block_on(async { Talk::new(readers).await?.deltas(deltas).await })
        }
        _ => bail!("usage: allocations | instructions DELTAS READERS"),
    }
}

#[expect(clippy::print_stdout, reason = "it is a program")]
async fn allocations() -> Result<()> {
    for (readers, most) in ALLOCATIONS {
        let mut talk = Talk::new(readers).await?;
        let region = Region::new(ALLOCATOR);
        talk.deltas(DELTAS).await?;
        let once = region.change().allocations;
        talk.deltas(2 * DELTAS).await?;
        let thrice = region.change().allocations;
        // What an answer costs beside its deltas falls out.
        let each = (thrice - 2 * once) as f64 / DELTAS as f64;
        println!("{each:.2} allocations a delta with {readers} readers, {most} at most");
        ensure!(each <= most, "more than {most} allocations a delta");
    }
    Ok(())
}

/// A run whose turn is being spoken, and those who read it.
struct Talk {
    log: EventLog,
    run: RunId,
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
            run,
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

    /// An answer of so many deltas, each in a piece of its own and read by all before the next.
    async fn deltas(&mut self, deltas: usize) -> Result<()> {
        let chunk = |n: usize| {
            format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
                 \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word {n:06}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
            )
        };
        let mut chunks: Vec<String> = (0..deltas).map(chunk).collect();
        chunks.push("data: [DONE]\n\n".to_owned());
        let pieces: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
        let channel = self.log.channel(self.run);
        let mut reply =
            Speaker::any(0, false).reply("sk-0123456789abcdef0123456789abcdef", &pieces);
        let mut told = 0;
        while let Some(part) = reply
            .next()
            .await
            .map_err(|failure| anyhow!("{failure:?}"))?
        {
            let Part::Text(text) = part else { continue };
            channel.push(&Delta {
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
