//! What is measured, as a child process: Parley or the relay, and what the system tells of it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    clock::{self, now},
    http::Connection,
    reader::Kind,
};

/// How servers are started.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) parley: PathBuf,
    pub(crate) relay: PathBuf,
    /// Where the provider stands in.
    pub(crate) provider: SocketAddr,
    /// The core that the server gets for itself, and that of the load.
    pub(crate) cores: Option<[usize; 2]>,
    /// `DATABASE_URL`; the database in memory, if it is not set.
    pub(crate) database: Option<String>,
    /// What else is in the servers' environment.
    pub(crate) environment: Vec<(String, String)>,
    /// More of `settings:`, as YAML.
    pub(crate) settings: String,
    /// The password's hash, if a login is wanted.
    pub(crate) login: Option<String>,
}

/// A server at work; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    /// From the start of the process to its first answer, in nanoseconds.
    pub(crate) boot: u64,
    child: Child,
    folder: TempDir,
}

/// As long as a real one: it is looked for in all that the provider says.
const KEY: &str = "the-key-of-the-load-which-nobody-has-to-keep";
/// Loco's half of Parley's configuration, as `config/development.yaml` has it, without a log.
const CONFIG: &str = r#"
logger: { enable: true, level: error, format: compact, pretty_backtrace: false }
server: { port: 5150, binding: "127.0.0.1", host: "http://localhost", ident: "", middlewares: { compression: { enable: true } } }
database: { uri: "sqlite::memory:", enable_logging: false, connect_timeout: 5000, idle_timeout: 500, min_connections: 1, max_connections: 5, auto_migrate: true }
workers: { mode: BackgroundAsync }
settings:
  retention: { ended_runs: 1000000 }
  orchestrator: { max_live_runs: 100000 }
"#;

impl Starter {
    /// Starts one, and waits for its first answer.
    pub(crate) async fn start(&self, kind: Kind) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = match kind {
            Kind::Parley => self.parley(address.port(), folder.path())?,
            Kind::Relay => {
                let mut command = Command::new(&self.relay);
                command.env_clear().args([
                    address.port().to_string(),
                    format!("http://{}", self.provider),
                ]);
                command
            }
        };
        let log = fs::File::create(folder.path().join("log"))?;
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(folder.path());
        // A child inherits the core of the thread that starts it.
        if let Some([core, _]) = self.cores {
            clock::pin(core)?;
        }
        let began = now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()));
        if let Some([_, core]) = self.cores {
            clock::pin(core)?;
        }
        let mut server = Server {
            address,
            kind,
            boot: 0,
            child: child?,
            folder,
        };
        loop {
            if server.answers().await {
                server.boot = now() - began;
                return Ok(server);
            }
            if now() - began > 20_000_000_000 || server.child.try_wait()?.is_some() {
                bail!("{kind:?} does not start:\n{}", server.log());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn parley(&self, port: u16, folder: &Path) -> Result<Command> {
        fs::write(
            folder.join("development.yaml"),
            format!("{CONFIG}{}", self.settings),
        )?;
        let mut command = Command::new(&self.parley);
        command.args(["start", "--no-banner"]).env_clear();
        command
            .env("LOCO_ENV", "development")
            .env("LOCO_CONFIG_FOLDER", folder)
            .env("PORT", port.to_string());
        command
            .env("OPENAI_BASE_URL", format!("http://{}/v1", self.provider))
            .env("OPENAI_API_KEY", KEY);
        if let Some(database) = &self.database {
            command.env("DATABASE_URL", database);
        }
        match &self.login {
            Some(hash) => command
                .env("BASIC_AUTH_USER", "ada")
                .env("BASIC_AUTH_PW_HASH", hash),
            None => command.env("DEV_MODE", "true"),
        };
        Ok(command)
    }
}

impl Server {
    async fn answers(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.address).await else {
            return false;
        };
        connection
            .ask("GET", "/_ping", "", "")
            .await
            .is_ok_and(|answer| answer.status == 200)
    }

    /// The processor time it has taken, in nanoseconds. It starts no processes of its own.
    pub(crate) fn processor_time(&self) -> Result<u64> {
        clock::processor_time(self.child.id())
    }

    /// The bytes of memory that are its own or shared (RSS), counted page by page; `VmRSS` lags behind.
    pub(crate) fn memory(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kilobytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        Ok(kilobytes.context("no Rss")?.trim().parse::<u64>()? * 1024)
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// What it has said on its output, the last of it; a sentence.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let last = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]);
        match last.trim() {
            "" => "the server said nothing".to_owned(),
            words => format!("the server said {words}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone then, in either case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
