//! The typed settings: everything is checked at boot, all mistakes are told together, and `DEV_MODE` is decided here.
//!
//! Precedence, the same for every name: environment, `.env`, YAML, default.
//!
//! **Invariant:** secrets are held as such, from the environment or the file on, and show in no `Debug` and no error.
//!
//! **May import:** nothing of ours. Only the composition root reads it and hands each room its own small struct.

mod addresses;
mod auth;
mod environment;
mod file;
#[cfg(test)]
mod page;
mod providers;
mod read;
mod secrets;
mod tracing;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub use addresses::{HIDDEN, check_redis_url, database_url, without_secrets};
pub use auth::{Auth, AuthMode, BasicUser, Client, ClientSecret, Issuer, is_loopback};
pub use environment::{Environment, InvalidLine};
use secrecy::SecretString;
pub use secrets::Secret;
use serde::Deserialize;
use serde_json::Value;

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// No login, no limits per client. Never in production.
    pub dev_mode: bool,
    /// Who may log in, and how.
    pub auth: Auth,
    /// The most turns that a run may have.
    pub run_max_turns: u32,
    /// Run creations a minute and client address.
    pub run_creations_per_minute: u32,
    /// Wrong credentials a minute and client address.
    pub failed_logins_per_minute: u32,
    /// What owners and clients may have.
    pub allowance: Allowance,
    /// HTTP.
    pub http: Http,
    /// Open streams.
    pub stream: Stream,
    /// Whether anybody may ask for the metrics.
    pub public_metrics: bool,
    /// Where the metrics are told beside the API, if anywhere.
    pub metrics_binding: Option<SocketAddr>,
    /// Where traces go; `None`: nowhere.
    pub tracing: Option<Tracing>,
    /// The providers.
    pub providers: Vec<Provider>,
    /// A file of facts about models, over our own.
    pub models_file: Option<PathBuf>,
    /// How much slower than its own pace the simulator speaks.
    pub simulator_pace: f64,
    /// How long an attempt waits for what.
    pub timeouts: Timeouts,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// When a model that fails is left alone.
    pub breaker: Breaker,
    /// How many runs this process drives at the same time.
    pub max_live_runs: usize,
    /// How long a stop waits for the run's task.
    pub stop_patience: Duration,
    /// How long a process counts as alive after it has said so.
    pub node_lifetime: Duration,
    /// How long turns in progress may take to end at shutdown.
    pub drain: Duration,
    /// How many owners a run may lose within one turn before it is failed.
    pub max_takeovers: u32,
    /// What connections to PostgreSQL are told.
    pub database: Database,
    /// How many runs that have ended are kept in memory.
    pub ended_runs: u64,
    /// How long it is kept who did what with which run.
    pub audit_retention: Duration,
    /// The most bytes of text of a turn.
    pub turn_text_bytes: usize,
    /// The most bytes of one event of a provider.
    pub provider_event_bytes: usize,
    /// The most connections; `None`: any number.
    pub connections: Option<usize>,
    /// The most connections of one client; `None`: any number, as in `DEV_MODE`.
    pub connections_per_client: Option<usize>,
    /// What the usual names say about Loco's own configuration.
    pub server: ServerOverrides,
    /// The variables by which secrets come from files.
    pub secret_files: Vec<String>,
    /// Variables that name files for what is read from none.
    vain_files: Vec<String>,
}

/// What bounds HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    /// Whose word on who the client is counts.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// In which header.
    pub forwarded_by: ForwardedBy,
    /// Our names, in small letters; empty: any.
    pub allowed_hosts: Vec<String>,
    /// Whose pages may call the API, beside our own: read answers (CORS) and send unsafe requests.
    pub allowed_origins: Vec<String>,
    /// Whether pages of the same site, but another origin, may.
    pub allow_same_site: bool,
    /// The most bytes of a request's body.
    pub body_limit_bytes: usize,
    /// How long a new connection may take to send its first headers.
    pub header_timeout: Duration,
    /// How long a request's body may stand still.
    pub body_idle: Duration,
    /// How long a request's body may take as a whole.
    pub body_timeout: Duration,
    /// How long a connection may stay without a request.
    pub keep_alive: Duration,
    /// How long a reader may take nothing.
    pub write_timeout: Duration,
    /// How long open requests may take to end at shutdown.
    pub shutdown_grace: Duration,
}

/// What goes for open streams.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// After how much silence a comment is sent.
    pub heartbeat: Duration,
    /// How long a client is told to wait before it comes back.
    pub retry: Duration,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// The whole address of the collector for traces.
    pub endpoint: String,
    /// The service's name, where the environment says one.
    pub service_name: Option<String>,
    /// Whether what is said may stand in spans.
    pub record_content: bool,
    /// How many spans may wait to be sent.
    pub queue: usize,
    /// How many go out at once, at most.
    pub batch: usize,
}

/// A kind of API, as the settings have to know it. Each has a provider of its own name, whether the settings name it or not.
#[derive(Debug, Clone, Copy)]
pub struct ApiKind {
    /// Its name.
    pub name: &'static str,
    /// The vendor's own address, as `base_url` has it.
    pub vendor_url: &'static str,
    /// Models to offer where the settings name none.
    pub models: &'static [&'static str],
}

/// Which of `OpenAI`'s APIs a provider is asked by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Responses at `OpenAI`'s own address and for models that have no other, else Chat Completions.
    #[default]
    Auto,
    /// Chat Completions.
    ChatCompletions,
    /// Responses.
    Responses,
}

/// The field of Chat Completions for the most tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// The older one, which all know.
    MaxTokens,
    /// `OpenAI`'s.
    MaxCompletionTokens,
}

/// The role of the system prompt in Chat Completions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum SystemRole {
    /// The one that all know.
    #[default]
    System,
    /// `OpenAI`'s newer one.
    Developer,
}

/// The header by which proxies say who the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// What owners and clients may have, beside creations. `None`: as much as they want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Open streams at this process.
    pub streams: Option<usize>,
    /// Open streams of one client's address.
    pub streams_per_client: Option<usize>,
    /// Open streams of one owner.
    pub streams_per_owner: Option<usize>,
    /// Run creations a minute and owner.
    pub run_creations_per_owner: Option<u32>,
    /// Runs of one owner that are not over.
    pub live_runs_per_owner: Option<u32>,
    /// Tokens a day and owner.
    pub tokens_per_day: Option<u64>,
    /// Cost a day and owner, in 10⁻⁶ dollars.
    pub cost_per_day: Option<u64>,
}

/// A provider.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name in the API.
    pub name: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// Which of `OpenAI`'s APIs it is asked by.
    pub api: Api,
    /// What stands in the query of each request.
    pub query: Vec<(String, String)>,
    /// Headers of each request, beside the kind's own.
    pub headers: Vec<(String, String)>,
    /// The header that carries the key in place of the kind's own: as it is, and in `authorization` as a bearer's.
    pub key_header: Option<String>,
    /// The field for the most tokens, where it is not the one that goes by the address.
    pub max_tokens_field: Option<MaxTokensField>,
    /// The role of the system prompt.
    pub system_role: SystemRole,
    /// Whether usage is asked for.
    pub include_usage: bool,
    /// Whether `<think>` tags in the text mark reasoning.
    pub think_tags: bool,
    /// How many of its answers may be read at once.
    pub max_concurrent: Option<usize>,
    /// How many requests may be made within a minute.
    pub requests_per_minute: Option<usize>,
    /// Its address if it is not the vendor's own.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// The name that the key has in the environment.
    pub api_key_env: String,
    /// Whether the built-in simulator answers in its place.
    pub simulate: bool,
    /// Models to offer.
    pub models: Vec<String>,
}

/// How long an attempt waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the first delta.
    pub first_delta: Duration,
    /// For any byte after that.
    pub idle: Duration,
    /// For usage after the terminal frame.
    pub usage: Duration,
}

/// When a failed attempt is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all.
    pub max_attempts: u32,
    /// Bound of the first wait.
    pub base: Duration,
    /// Bound of any wait.
    pub cap: Duration,
    /// Bound of a wait that the provider asks for.
    pub retry_after_cap: Duration,
}

/// When a model that fails is left alone.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// After so many failures
    pub failures: usize,
    /// within that time
    pub window: Duration,
    /// for so long.
    pub open: Duration,
}

/// What connections to PostgreSQL are told.
#[derive(Debug, Clone)]
pub struct Database {
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long one may wait for another's lock.
    pub lock_timeout: Duration,
    /// How long a transaction may stand still.
    pub idle_in_transaction_timeout: Duration,
    /// When a commit is answered.
    pub synchronous_commit: String,
}

/// What the usual names of the environment say about Loco's own configuration.
#[derive(Debug, Clone, Default)]
pub struct ServerOverrides {
    /// `PORT`.
    pub port: Option<u16>,
    /// `BINDING`: the address to listen on.
    pub binding: Option<String>,
    /// `HOST`: the public address.
    pub host: Option<String>,
    /// `LOG_LEVEL`.
    pub log_level: Option<String>,
    /// `DATABASE_URL`, which may hold a password.
    pub database_url: Option<Secret>,
    /// `REDIS_URL`: of a job queue in Redis. It, too.
    pub redis_url: Option<Secret>,
}

/// A mistake in the settings, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The path in the YAML, or the name in the environment.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// All mistakes in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsErrors(pub Vec<Mistake>);

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings have {} mistake(s):", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {}: {}", mistake.path, mistake.reason))
    }
}

/// The mistakes found so far.
#[derive(Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Mistake {
            path: path.into(),
            reason: reason.into(),
        });
    }
}

impl Settings {
    /// Reads and checks everything. `yaml` is the `settings:` block, `kinds` are the APIs that there are adapters for, `development`
    /// whether it is that environment.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(
        yaml: Option<&Value>,
        env: &Environment,
        kinds: &[ApiKind],
        development: bool,
    ) -> Result<Self, SettingsErrors> {
        let mut mistakes = Mistakes::default();
        let file = read::read(yaml, &mut mistakes);
        let mut reader = read::Reader {
            env,
            kinds,
            mistakes,
            secret_files: Vec::new(),
            vain_files: Vec::new(),
        };
        let settings = reader.settings(&file, development);
        if reader.mistakes.0.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsErrors(reader.mistakes.0))
        }
    }

    /// What whoever has set variables that name files should know of those that do nothing.
    #[must_use]
    pub fn vain_files(&self) -> Option<String> {
        let files = self.vain_files.join(", ");
        (!files.is_empty()).then(|| {
            format!(
                "{files}: not read, since only secrets come from files: set the variable without _FILE to the value itself"
            )
        })
    }

    /// Whether a process may be started with them. `serves`: whether it answers requests.
    ///
    /// # Errors
    /// Why not, and what to set.
    pub fn may_start(&self, production: bool, serves: bool) -> Result<(), SettingsErrors> {
        let mut mistakes = Mistakes::default();
        if production && self.dev_mode {
            mistakes.add(
                "DEV_MODE",
                "turns off login and limits, which production must never do: unset it",
            );
        }
        if production && serves {
            for (place, reason) in self.auth.wanting() {
                mistakes.add(place, reason);
            }
        }
        if mistakes.0.is_empty() {
            Ok(())
        } else {
            Err(SettingsErrors(mistakes.0))
        }
    }
}

/// A port to listen on; `path` is where it stands.
///
/// # Errors
/// When it is none.
pub fn port(path: &str, number: i64) -> Result<u16, SettingsErrors> {
    u16::try_from(number).map_err(|_| {
        let mut mistakes = Mistakes::default();
        mistakes.add(path, PORT);
        SettingsErrors(mistakes.0)
    })
}

/// What a port must be.
const PORT: &str = "must be a port, 0 to 65535";

#[cfg(test)]
mod tests;
