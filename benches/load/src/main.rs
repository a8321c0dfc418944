//! The load program: stands in for the provider, drives Parley and the bare relay with many runs and readers, checks every reader's
//! text, and measures. `benches/README.md` has the commands and how the figures are to be read.

mod api;
mod cases;
mod chunk;
mod clock;
mod figures;
mod http;
mod memory;
mod pacer;
mod provider;
mod reader;
mod report;
mod server;
mod single;
mod talk;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use tokio::{runtime, task::LocalSet};

use crate::{
    pacer::Plan,
    provider::Provider,
    report::{Report, Row},
    server::{CORES, Starter},
    talk::Bench,
};

const USAGE: &str = "parley-load [--quick] [--only NAME,…] [--no-pin] [--database URL] [--json FILE] [--parley FILE] [--relay FILE]";

/// The rows' names, for `--only`.
const NAMES: [&str; 10] = [
    "paced500",
    "paced50",
    "saturated",
    "fanout",
    "scale",
    "first",
    "memory",
    "stop",
    "boot",
    "database",
];

/// What the command line says.
#[derive(Debug)]
struct Options {
    quick: bool,
    only: Vec<String>,
    pinned: bool,
    database: Option<String>,
    json: Option<PathBuf>,
    parley: PathBuf,
    relay: PathBuf,
}

#[expect(clippy::print_stderr, reason = "the program's last word")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    clock::raise_descriptors()?;
    if options.pinned {
        clock::pin(&CORES[1..])?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, measure(options))
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table, and how far it is"
)]
async fn measure(options: Options) -> Result<()> {
    let provider = Provider::start(Plan::paced(20)).await?;
    let starter = Starter {
        parley: options.parley.clone(),
        relay: options.relay.clone(),
        provider: provider.address,
        pinned: options.pinned,
        database: options.database.clone(),
        settings: String::new(),
        login: None,
    };
    let bench = Bench {
        provider,
        starter,
        quick: options.quick,
    };
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
        conditions: conditions(&options, &bench),
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
    let cores = if options.pinned {
        format!(
            "the server on core {}, the load (provider and readers) on core {}",
            CORES[0], CORES[1]
        )
    } else {
        "no process was tied to a core".to_owned()
    };
    vec![
        cores,
        format!("{} repetition(s), the relay and Parley by turns, a fresh process each; median (least–most)", bench.repetitions()),
        format!("database: {}", if options.database.is_some() { "as given" } else { "in memory" }),
        "processor time is read from the process's own clock in ns, between two moments at which all runs talk".to_owned(),
        "every reader's text was the export's, and the export's what the provider had said".to_owned(),
    ]
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let folder = std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .context("no folder of programs")?;
        let several = std::thread::available_parallelism()?.get() > 1;
        let mut options = Self {
            quick: false,
            only: Vec::new(),
            pinned: several,
            database: None,
            json: None,
            parley: folder.join("parley-cli"),
            relay: folder.join("parley-relay"),
        };
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next()
                    .with_context(|| format!("{arg} wants a value\n{USAGE}"))
            };
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--no-pin" => options.pinned = false,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--database" => options.database = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--parley" => options.parley = value()?.into(),
                "--relay" => options.relay = value()?.into(),
                _ => bail!("{arg} is unknown\n{USAGE}"),
            }
        }
        if let Some(unknown) = options
            .only
            .iter()
            .find(|only| !NAMES.contains(&only.as_str()))
        {
            bail!("{unknown} is none of {}", NAMES.join(", "));
        }
        Ok(options)
    }
}
