//! What the command line says.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result, bail};

use crate::{clock, flood, soak};

const USAGE: &str = "parley-load [--quick] [--only NAME,…] [--json FILE]
parley-load soak [--minutes N] [--runs N] [--readers N]
parley-load flood [--logins N] [--seconds N] [--addresses N]
parley-load growth [--growth-runs N]
each with [--no-pin] [--database URL] [--parley FILE] [--relay FILE]";

/// The rows' names, for `--only`.
pub(crate) const NAMES: [&str; 10] = [
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

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Table,
    Soak,
    Flood,
    Growth,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    /// The server's core and the load's, if they are to have one each.
    pub(crate) cores: Option<[usize; 2]>,
    pub(crate) database: Option<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) parley: PathBuf,
    pub(crate) relay: PathBuf,
    pub(crate) soak: soak::Size,
    pub(crate) flood: flood::Size,
    /// How many runs there are to be in all, where it is looked whether memory grows.
    pub(crate) growth: u64,
}

impl Options {
    pub(crate) fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = args.peekable();
        let folder = std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .context("no folder of programs")?;
        let command = match args.peek().map(String::as_str) {
            Some("soak") => Command::Soak,
            Some("flood") => Command::Flood,
            Some("growth") => Command::Growth,
            _ => Command::Table,
        };
        if command != Command::Table {
            args.next();
        }
        let mut options = Self {
            command,
            quick: false,
            only: Vec::new(),
            // A flood of logins is met by all cores, as it is in earnest.
            cores: clock::two_cores().filter(|_| command != Command::Flood),
            database: None,
            json: None,
            parley: folder.join("parley-cli"),
            relay: folder.join("parley-relay"),
            soak: soak::Size {
                minutes: 10.0,
                runs: 500,
                readers: 2000,
            },
            flood: flood::Size {
                logins: 5000,
                seconds: 10,
                addresses: 1,
            },
            growth: 10_000,
        };
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next()
                    .with_context(|| format!("{arg} wants a value\n{USAGE}"))
            };
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--no-pin" => options.cores = None,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--database" => options.database = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--parley" => options.parley = std::path::absolute(value()?)?,
                "--relay" => options.relay = std::path::absolute(value()?)?,
                "--minutes" => options.soak.minutes = number(&value()?)?,
                "--runs" => options.soak.runs = number(&value()?)?,
                "--readers" => options.soak.readers = number(&value()?)?,
                "--logins" => options.flood.logins = number(&value()?)?,
                "--seconds" => options.flood.seconds = number(&value()?)?,
                "--growth-runs" => options.growth = number(&value()?)?,
                "--addresses" => options.flood.addresses = number(&value()?)?,
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

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> Result<T> {
    text.parse().with_context(|| format!("{text} is no number"))
}
