//! The load program: stands in for the provider, drives Parley and the bare relay with many runs and readers, checks every reader's
//! text, and measures. `benches/README.md` has the commands and how the figures are to be read.

mod api;
mod cases;
mod chunk;
mod clock;
mod figures;
mod flood;
mod growth;
mod http;
mod listening;
mod memory;
mod options;
mod pacer;
mod provider;
mod reader;
mod report;
mod scan;
mod server;
mod single;
mod soak;
mod talk;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::{
    runtime,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    task::LocalSet,
};

use crate::{
    options::{Command, NAMES, Options},
    pacer::Plan,
    provider::Provider,
    report::{Report, Row},
    server::Starter,
    talk::Bench,
};

#[expect(clippy::print_stderr, reason = "the program's last word")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    clock::raise_descriptors()?;
    if let Some([_, core]) = options.cores {
        clock::pin(core)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = async {
        // Servers are ended when what holds them is dropped: not before a signal has been heard.
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            done = carry_out(options) => done,
            _ = ctrl_c() => bail!("interrupted"),
            _ = end.recv() => bail!("told to end"),
        }
    };
    LocalSet::new().block_on(&runtime, work)
}

/// Starts the provider, and does what was asked for.
async fn carry_out(options: Options) -> Result<()> {
    let provider = Provider::start(Plan::paced(20)).await?;
    let (settings, login) = match options.command {
        Command::Table | Command::Growth => ("", None),
        Command::Soak => (soak::SETTINGS, None),
        Command::Flood => (flood::SETTINGS, Some(flood::HASH.to_owned())),
    };
    let starter = Starter {
        parley: options.parley.clone(),
        relay: options.relay.clone(),
        provider: provider.address,
        cores: options.cores,
        database: options.database.clone(),
        settings: settings.to_owned(),
        login,
    };
    match options.command {
        Command::Table => {
            measure(
                &options,
                Bench {
                    provider,
                    starter,
                    quick: options.quick,
                },
            )
            .await
        }
        Command::Soak => soak::soak(provider, &starter, options.soak).await,
        Command::Flood => flood::flood(provider, &starter, options.flood).await,
        Command::Growth => growth::growth(provider, &starter, options.growth).await,
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table, and how far it is"
)]
async fn measure(options: &Options, bench: Bench) -> Result<()> {
    let mut rows = Vec::new();
    for name in NAMES
        .iter()
        .filter(|name| options.only.is_empty() || options.only.iter().any(|only| only == *name))
    {
        let began = clock::now();
        rows.extend(
            row(&bench, name)
                .await
                .with_context(|| format!("in {name}"))?,
        );
        eprintln!("{name}: {} s", (clock::now() - began) / 1_000_000_000);
    }
    let report = Report {
        conditions: conditions(options, &bench),
        rows,
    };
    println!("{}", report.markdown());
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

async fn row(bench: &Bench, name: &str) -> Result<Vec<Row>> {
    match name {
        "paced500" => bench.paced(500).await,
        "paced50" => bench.paced(50).await,
        "saturated" => bench.saturated().await,
        "fanout" => bench.fanout().await,
        "scale" => bench.scale().await,
        "first" => bench.first_delta().await,
        "memory" => bench.memory().await,
        "stop" => bench.stop().await,
        "boot" => bench.boot().await,
        _ => bench.database().await,
    }
}

/// Under what the figures came about.
fn conditions(options: &Options, bench: &Bench) -> Vec<String> {
    let cores = match options.cores {
        Some([server, load]) => {
            format!("the server on core {server}, the load (provider and readers) on core {load}")
        }
        None => "no process was tied to a core".to_owned(),
    };
    vec![
        cores,
        format!("{} repetition(s), the relay and Parley by turns, a fresh process each; median (least–most)", bench.repetitions()),
        format!("database: {}", if options.database.is_some() { "as given" } else { "in memory" }),
        "processor time is read from the process's own clock in ns, between two moments at which all runs talk".to_owned(),
        "every reader's text was the export's, and the export's what the provider had said".to_owned(),
    ]
}
