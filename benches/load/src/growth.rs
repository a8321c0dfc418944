//! Thousands of short runs, one after the other: what is over must leave nothing behind.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, value_parser};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    api::Api,
    pacer::Plan,
    provider::Provider,
    reader::Kind,
    server::{Server, Starter},
};

/// How many talk at a time.
const AT_A_TIME: u64 = 20;
/// After so many runs everything that stays is there: whose the last ten thousand were is remembered.
const WARM: u64 = 11_000;
/// By so much memory may differ after that: what an allocator keeps depends on what came at the same time.
const PLAY: u64 = 2 * 1024 * 1024;

/// How much of it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// How many runs must leave nothing behind
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    runs: u64,
}

/// Does it, and fails if memory or descriptors have grown.
#[expect(clippy::print_stdout, reason = "the figures")]
pub(crate) async fn growth(provider: Provider, starter: &Starter, size: Size) -> Result<()> {
    let runs = size.runs;
    provider.reset(Plan {
        deltas: 50,
        every: None,
        size: 24,
        gate: false,
        hold: false,
        fault: None,
    });
    let server = starter.start(Kind::Parley).await?;
    let next = Rc::new(Cell::new(0));
    rounds(&provider, &server, &next, WARM).await?;
    let warm = (server.memory()?, server.descriptors()?);
    rounds(&provider, &server, &next, WARM + runs).await?;
    let after = (server.memory()?, server.descriptors()?);
    println!(
        "after {WARM} runs: {} KiB, {} descriptors; after {runs} more: {} KiB, {} descriptors",
        warm.0 / 1024,
        warm.1,
        after.0 / 1024,
        after.1
    );
    ensure!(after.0 <= warm.0 + PLAY, "memory has grown");
    ensure!(after.1 <= warm.1 + 8, "descriptors have grown");
    Ok(())
}

/// Runs until so many are over: each started, read to its end and deleted.
async fn rounds(
    provider: &Provider,
    server: &Server,
    next: &Rc<Cell<u64>>,
    runs: u64,
) -> Result<()> {
    let mut talkers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (next, provider, address) = (Rc::clone(next), provider.clone(), server.address);
        talkers.spawn_local(async move {
            let mut api = Api::open(address).await?;
            while next.get() < runs {
                let number = next.replace(next.get() + 1);
                let run = api.start(number, 1).await?;
                let stream = api.text(&format!("/api/stream/{run}")).await?;
                ensure!(
                    stream.contains("event: run.completed"),
                    "a stream ended early"
                );
                api.delete(&run).await?;
                provider.forget(number);
            }
            anyhow::Ok(())
        });
    }
    while let Some(talked) = talkers.join_next().await {
        talked??;
    }
    // Connections that the talkers have closed are let go of.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}
