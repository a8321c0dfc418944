//! The load program: stands in for the provider, drives Parley and the bare relay with many runs and readers, checks every reader's
//! text, and measures. `benches/README.md` has the commands and how the figures are to be read.

mod api;
mod body;
mod cases;
mod chunk;
mod clock;
mod figures;
mod flood;
mod growth;
mod http;
mod http2;
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

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser as _, ValueEnum as _};
use tokio::{
    runtime,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    task::LocalSet,
    time::timeout,
};

use crate::{
    options::{Command, Options, Rows},
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
    let options = Options::parse();
    clock::raise_descriptors()?;
    // Asked once: whoever is tied to one core sees no other.
    let cores = options.cores();
    if let Some([_, core]) = cores {
        clock::pin(core)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bound = options.bound();
    let work = async {
        // Servers are ended when what holds them is dropped: not before a signal has been heard.
        let mut end = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            done = timeout(bound, carry_out(options, cores)) => {
                done.with_context(|| format!("it is not done after {} s", bound.as_secs()))?
            }
            _ = ctrl_c() => bail!("interrupted"),
            _ = end.recv() => bail!("told to end"),
            _ = hangup.recv() => bail!("nobody listens any more"),
        }
    };
    LocalSet::new().block_on(&runtime, work)
}

/// Starts the provider, and does what was asked for.
async fn carry_out(options: Options, cores: Option<[usize; 2]>) -> Result<()> {
    let provider = Provider::start(Plan::paced(20)).await?;
    let (settings, login) = match options.command {
        None | Some(Command::Growth(_)) => ("", None),
        Some(Command::Soak(_)) => (soak::SETTINGS, None),
        Some(Command::Flood(_)) => (flood::SETTINGS, Some(flood::HASH.to_owned())),
    };
    let starter = Starter {
        parley: options.servers.parley()?,
        relay: options.servers.relay()?,
        provider: provider.address,
        cores,
        database: options.servers.database.clone(),
        environment: options.servers.environment.clone(),
        settings: settings.to_owned(),
        login,
    };
    match options.command {
        None => {
            let bench = Bench {
                provider,
                starter,
                quick: options.table.quick,
                window: options.table.window,
            };
            measure(&options, bench).await
        }
        Some(Command::Soak(size)) => soak::soak(provider, &starter, size).await,
        Some(Command::Flood(size)) => flood::flood(provider, &starter, size).await,
        Some(Command::Growth(size)) => growth::growth(provider, &starter, size).await,
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table, and how far it is"
)]
async fn measure(options: &Options, bench: Bench) -> Result<()> {
    let only = &options.table.only;
    // Before anything is measured: it may be a place where nothing can be written.
    let json = options.table.json.as_deref().map(|file| {
        fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))
    });
    let json = json.transpose()?;
    let mut rows = Vec::new();
    for these in Rows::value_variants()
        .iter()
        .filter(|these| only.is_empty() || only.contains(these))
    {
        let began = clock::now();
        let made = made(&bench, *these).await;
        rows.extend(made.with_context(|| format!("in {these:?}"))?);
        eprintln!("{these:?}: {} s", (clock::now() - began) / 1_000_000_000);
    }
    let report = Report {
        conditions: conditions(options, &bench),
        rows,
    };
    println!("{}", report.markdown());
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &report)?;
    }
    Ok(())
}

async fn made(bench: &Bench, rows: Rows) -> Result<Vec<Row>> {
    match rows {
        Rows::Paced500 => bench.paced(500).await,
        Rows::Paced50 => bench.paced(50).await,
        Rows::Saturated => bench.saturated().await,
        Rows::Fanout => bench.fanout().await,
        Rows::Http2 => bench.http2().await,
        Rows::Scale => bench.scale().await,
        Rows::First => bench.first_delta().await,
        Rows::Memory => bench.memory().await,
        Rows::Stop => bench.stop().await,
        Rows::Boot => bench.boot().await,
        Rows::Database => bench.database().await,
    }
}

/// Under what the figures came about.
fn conditions(options: &Options, bench: &Bench) -> Vec<String> {
    let cores = match bench.starter.cores {
        Some([server, load]) => {
            format!("the server on core {server}, the load (provider and readers) on core {load}")
        }
        None => "no process was tied to a core".to_owned(),
    };
    let first = match bench.provider.goes_first {
        true => "the provider's thread goes before the readers'",
        false => "the provider's thread is one among the readers', as this is not root",
    };
    let database = match &options.servers.database {
        None => "in memory",
        Some(url) => url.split_once(':').map_or(url.as_str(), |(kind, _)| kind),
    };
    vec![
        system(),
        cores,
        first.to_owned(),
        format!(
            "{} repetition(s), the relay and Parley by turns, a fresh process each; median (least–most); of boot more, of the database one",
            bench.repetitions()
        ),
        "a ratio is the median of those of the repetitions, not that of the medians".to_owned(),
        format!("database: {database}"),
        environment(options),
        "processor time is read from the process's own clock in ns: paced, over a window in which all runs talk; saturated, from the first \
         delta to the last that is read"
            .to_owned(),
        "every reader's deltas were the beginning of its turn's text, that text the export's, and the export's what the provider had said"
            .to_owned(),
    ]
}

/// The processor and the kernel.
fn system() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("a processor without a name", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, Linux {}", kernel.trim())
}

fn environment(options: &Options) -> String {
    let variables = options.servers.environment.iter();
    let named: Vec<_> = variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match named.as_slice() {
        [] => "environment: what the servers need and no more".to_owned(),
        _ => format!("environment: {}", named.join(" ")),
    }
}
