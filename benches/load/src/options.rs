//! What the command line says.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::{clock, flood, growth, soak};

/// Drives Parley and the bare relay with many runs and readers, and measures both. Without a command it makes the table.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) table: Table,
    #[command(flatten)]
    pub(crate) servers: Servers,
}

/// What is done instead of the table.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Runs that are always live, readers that come, go, lag and come back, a provider that fails
    Soak(soak::Size),
    /// Wrong logins in masses, while some watch
    Flood(flood::Size),
    /// Thousands of short runs, which must leave nothing behind
    Growth(growth::Size),
}

/// The table: what of it, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Table {
    /// One repetition, shorter windows, fewer runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Some rows, and not all
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    pub(crate) only: Vec<Rows>,
    /// How long a timed window lasts, for a profile to be taken in
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) window: Option<u64>,
    /// Where to write the same as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Rows that are made together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rows {
    /// 500 runs with a reader each, a delta each 20 ms: processor time, added latency
    Paced500,
    /// The same with 50 runs
    Paced50,
    /// 50 runs with a reader each, as fast as they go
    Saturated,
    /// One run with 100 readers, and with 5,000
    Fanout,
    /// One run with 100 readers by HTTP/2
    Http2,
    /// 500 runs and 5,000, a delta each 500 ms
    Scale,
    /// From the request that starts a run to its first delta
    First,
    /// Of a live run, an idle subscriber, one that lags
    Memory,
    /// From a stop to the end of the provider's connection
    Stop,
    /// From the start of the process to its first answer
    Boot,
    /// Transactions and statements of a turn and of a delta
    Database,
}

/// The servers that are measured.
#[derive(Debug, Args)]
pub(crate) struct Servers {
    /// Ties no process to a core
    #[arg(long, global = true)]
    no_pin: bool,
    /// Where runs are kept; without it, in memory
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// A variable of the servers' environment, which has only what they need
    #[arg(long = "env", global = true, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) environment: Vec<(String, String)>,
    /// The program, if it is not the one beside this
    #[arg(long, global = true, value_name = "FILE")]
    parley: Option<PathBuf>,
    /// The relay, if it is not the one beside this
    #[arg(long, global = true, value_name = "FILE")]
    relay: Option<PathBuf>,
}

impl Options {
    /// The server's core and the load's, if they are to have one each.
    pub(crate) fn cores(&self) -> Option<[usize; 2]> {
        // A flood of logins is met by all cores, as it is in earnest.
        let all = self.servers.no_pin || matches!(self.command, Some(Command::Flood(_)));
        clock::two_cores().filter(|_| !all)
    }

    /// How long all of it may take: something that waits in vain is found so.
    pub(crate) fn bound(&self) -> Duration {
        const BEFORE_AND_AFTER: Duration = Duration::from_mins(3);
        match self.command {
            None => Duration::from_mins(45),
            Some(Command::Soak(size)) => size.length() + BEFORE_AND_AFTER,
            Some(Command::Flood(size)) => Duration::from_secs(size.seconds) + BEFORE_AND_AFTER,
            Some(Command::Growth(_)) => Duration::from_mins(15),
        }
    }
}

impl Servers {
    pub(crate) fn parley(&self) -> Result<PathBuf> {
        program(self.parley.as_deref(), "parley-cli")
    }

    pub(crate) fn relay(&self) -> Result<PathBuf> {
        program(self.relay.as_deref(), "parley-relay")
    }
}

fn program(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let beside = this.parent().context("no folder of programs")?.join(name);
    Ok(std::path::absolute(given.unwrap_or(&beside))?)
}

/// What the servers are told by the program itself.
const OURS: [&str; 10] = [
    "DATABASE_URL",
    "PORT",
    "DEV_MODE",
    "BASIC_AUTH_USER",
    "BASIC_AUTH_PW_HASH",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "LOCO_ENV",
    "LOCO_CONFIG_FOLDER",
    "BINDING",
];

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, _)) if OURS.contains(&name) => {
            Err(format!("{name} is for this program to say"))
        }
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("it is no NAME=VALUE".to_owned()),
    }
}
