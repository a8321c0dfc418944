//! The `settings:` block of `config/*.yaml`, as it is written. Every key has a default, so that an absent one is no mistake.
//!
//! What is said of a key here is what `docs/configuration.md` says of it: `page.rs` makes that page's tables of these structs, and a test
//! fails where they differ. A line `Environment: …` names the variable that goes over the key.

mod auth;
mod limits;

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) use self::{
    auth::{Auth, Basic, BasicUser, Introspection, Issuer, Login},
    limits::{Limits, PerOwner},
};
use super::{Api, ForwardedBy, MaxTokensField, SystemRole};

/// The block.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct File {
    /// No login, and no limits per client. For your own machine only: production refuses to start with it.
    ///
    /// Environment: `DEV_MODE`.
    pub(super) dev_mode: bool,
    /// The most turns that a run may ask for, and what one gets that asks for none.
    ///
    /// Environment: `RUN_MAX_TURNS`.
    pub(super) run_max_turns: Limit<50>,
    pub(super) auth: Auth,
    pub(super) rate_limit: RateLimit,
    pub(super) http: Http,
    pub(super) stream: Stream,
    pub(super) metrics: Metrics,
    pub(super) tracing: Tracing,
    pub(super) providers: BTreeMap<String, Provider>,
    /// A file of facts about models and their prices that goes over `config/models.yaml`, of the same form. A relative path is
    /// relative to the directory in which the program is started.
    pub(super) models_file: Option<String>,
    pub(super) simulator: Simulator,
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    pub(super) breaker: Breaker,
    pub(super) orchestrator: Orchestrator,
    pub(super) database: Database,
    pub(super) retention: Retention,
    pub(super) audit: Audit,
    pub(super) limits: Limits,
}

/// A number with a default and bounds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(try_from = "u64")]
pub(super) struct Limit<const DEFAULT: u64, const LEAST: u64 = 1, const MOST: u64 = { u64::MAX }>(
    pub(super) u64,
);

impl<const DEFAULT: u64, const LEAST: u64, const MOST: u64> Default
    for Limit<DEFAULT, LEAST, MOST>
{
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: u64, const LEAST: u64, const MOST: u64> TryFrom<u64>
    for Limit<DEFAULT, LEAST, MOST>
{
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if number < LEAST {
            Err(format!("must be at least {LEAST}"))
        } else if number > MOST {
            Err(format!("must be at most {MOST}"))
        } else {
            Ok(Self(number))
        }
    }
}

#[cfg(test)]
impl<const DEFAULT: u64, const LEAST: u64, const MOST: u64> schemars::JsonSchema
    for Limit<DEFAULT, LEAST, MOST>
{
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

/// Milliseconds as PostgreSQL takes them: its integers have 32 bits.
type PostgresMillis<const DEFAULT: u64> = Limit<DEFAULT, 1, 2_147_483_647>;

/// How often one client's address may do what is dear. A request over it is answered 429 with `Retry-After`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct RateLimit {
    /// Runs that are started. One that comes again under its `Idempotency-Key` does not count.
    pub(super) run_creations_per_minute: Limit<10>,
    /// Wrong credentials of each kind: passwords, tokens, tokens that an issuer was asked about, tickets, codes of logins. More are refused:
    /// passwords, opaque tokens and codes without a look at them, since that is dear; JWTs and tickets after one, so that right ones
    /// go all the same. Passwords and opaque tokens that were right a moment ago always go.
    pub(super) failed_logins_per_minute: Limit<60>,
}

/// Requests and connections.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Http {
    /// The networks of proxies whose word on who the client is counts, such as `10.0.0.0/8`. That of all others is ignored, loopback
    /// included.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) trusted_proxies: Vec<ipnet::IpNet>,
    /// The header in which they say it: `x_forwarded_for` or `forwarded` (RFC 7239). The other one is ignored: a proxy that writes one of
    /// them passes on what a client has written into the other.
    pub(super) forwarded_by: ForwardedBy,
    /// The names by which clients ask for this server beside the one in `HOST`, such as `parley.example`, without a port. A request for
    /// another name is answered 421; addresses and `localhost` always go, and so does who asks for our health. Any name goes if none is listed
    /// here and `HOST` names none beside the own machine, of which the boot warns in production where `HOST` is not set; never in `DEV_MODE`.
    pub(super) allowed_hosts: Vec<String>,
    /// The origins whose pages may call the API, beside our own, such as `https://app.example`: they read its answers (CORS), with
    /// credentials, and may change something.
    pub(super) allowed_origins: Vec<String>,
    /// Whether the pages of all other origins of the same site may send requests that change something. What they may read is what
    /// `allowed_origins` says.
    pub(super) allow_same_site: bool,
    /// The largest body of a request; a larger one is answered 413.
    pub(super) body_limit_bytes: Limit<{ 256 * 1024 }>,
    /// How long a new connection may take to send its first request's headers.
    pub(super) header_timeout_ms: Limit<10_000>,
    /// How long a request's body may stand still; then the answer is 408, and the connection is closed.
    pub(super) body_idle_ms: Limit<10_000>,
    /// How long a request's body may take as a whole, however it comes; the same happens then.
    pub(super) body_timeout_ms: Limit<60_000>,
    /// How long a connection may stay open without a request.
    pub(super) keep_alive_ms: Limit<120_000>,
    /// How long a reader may take nothing of what there is for it: a stream, an export, any answer. Then it is cut. An HTTP/2 client
    /// that reads its other streams loses the one alone.
    pub(super) write_timeout_ms: Limit<60_000, 8>,
    /// How long requests in progress may take to end at shutdown, after the runs have been left.
    pub(super) shutdown_grace_ms: Limit<10_000>,
}

/// The streams of `GET /api/stream/{run_id}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Stream {
    /// After so much silence a comment is sent, so that nobody takes the connection for dead. Keep it below the least patience
    /// between here and the client: 5 s of some clients, 60 s of most proxies.
    pub(super) heartbeat_ms: Limit<4_000>,
    /// How long a client is told to wait before it comes back.
    pub(super) retry_ms: Limit<2_000>,
}

/// What `/metrics` tells, and whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Metrics {
    /// Whether anybody may read `/metrics`; otherwise it wants the login of the API.
    pub(super) public: bool,
    /// An address and a port of its own, such as `127.0.0.1:9150`, where this process answers `GET /metrics`, `/_ping` and
    /// `/_readiness` without a login, whether it serves or only drives (`--worker`). For a port that only the operators reach. If it
    /// is not set: none.
    pub(super) binding: Option<String>,
}

/// Spans of requests, runs and turns, for a collector.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Tracing {
    /// The collector that spans are sent to, by OTLP over HTTP; `/v1/traces` is put at its end. None: no spans.
    ///
    /// Environment: `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(super) endpoint: Option<String>,
    /// Whether spans hold prompts and answers.
    pub(super) record_content: bool,
}

/// The providers, by the names that runs know them by: 1 to 64 small letters, digits, hyphens and underscores. `openai`, `anthropic` and
/// `gemini` are there in any case. What to write for which server: [compatible servers](compatible-servers.md).
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Provider {
    /// The API that it speaks: `openai`, `anthropic` or `gemini`. If it is not set: the name itself.
    pub(super) kind: Option<String>,
    /// Which of OpenAI's APIs it is asked by; `auto`: Responses at OpenAI's own address and for models that have no other, else Chat
    /// Completions. For the kind `openai` alone.
    pub(super) api: Api,
    /// Its address, without a query. If it is not set: the vendor's own.
    ///
    /// Environment: `<NAME>_BASE_URL`.
    pub(super) base_url: Option<String>,
    /// What is added to the address of each request.
    pub(super) query: BTreeMap<String, String>,
    /// Headers of each request; one replaces ours of the same name. None that carries a key.
    pub(super) headers: BTreeMap<String, String>,
    /// The header that the key goes into, as it is (into `authorization`, as `Bearer …`). If it is not set: the kind's own.
    pub(super) key_header: Option<String>,
    /// The field for the most tokens of an answer in Chat Completions. If it is not set: OpenAI's newer one at its own address, else
    /// the older one. For the kind `openai` alone.
    pub(super) max_tokens_field: Option<MaxTokensField>,
    /// The role of the system prompt in Chat Completions. For the kind `openai` alone.
    pub(super) system_role: SystemRole,
    /// Whether usage is asked for (`stream_options`) in Chat Completions. If it is not set, it is; a server that refuses it is asked
    /// again without, once. For the kind `openai` alone.
    pub(super) include_usage: Option<bool>,
    /// Whether `<think>…</think>` in the text is taken for reasoning.
    pub(super) think_tags: bool,
    /// The most requests at the same time; those over it wait. If it is not set: no bound.
    pub(super) max_concurrent: Option<Limit<1>>,
    /// The most requests within a minute; those over it wait. If it is not set: no bound.
    pub(super) requests_per_minute: Option<Limit<1>>,
    /// The name of the environment variable that has its key; with `_FILE` behind it, the one that names a file that has it. If it is not
    /// set: `<NAME>_API_KEY`. The key itself does not belong here.
    pub(super) api_key_env: Option<String>,
    /// Whether the built-in simulator answers in its place. If it is not set: in development, where no provider has a key or an
    /// address, for the vendors' names.
    pub(super) simulate: Option<bool>,
    /// The models that forms offer; any other name is passed on, too. If it is not set: the vendor's, at the vendor's own name.
    pub(super) models: Option<Vec<String>>,
}

/// The built-in simulator.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Simulator {
    /// How much slower than its own pace it speaks; 2 is half as fast. Above 0.
    pub(super) pace: f64,
}

impl Default for Simulator {
    fn default() -> Self {
        Self { pace: 1.0 }
    }
}

/// How long an attempt waits for what before it fails with the code `timeout`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Timeouts {
    /// For the connection to the provider.
    pub(super) connect_ms: Limit<5_000>,
    /// For the first delta, and for any after that: bytes that say nothing do not count.
    pub(super) first_delta_ms: Limit<120_000>,
    /// For any byte.
    pub(super) idle_ms: Limit<90_000>,
    /// For the usage that may follow the end of the text. This one fails nothing: the turn is complete without it.
    pub(super) usage_ms: Limit<2_000>,
}

/// When a failed attempt is made again.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Retry {
    /// How many attempts of a turn may fail at one model. Then the bot's `fallback` has its turn, and at last the run fails.
    pub(super) max_attempts: Limit<3>,
    /// The bound of the first wait. Each wait is random up to its bound, which doubles with each failure.
    pub(super) base_ms: Limit<500>,
    /// The largest bound of a wait.
    pub(super) cap_ms: Limit<8_000>,
    /// The longest wait that a provider may ask for by `Retry-After`.
    pub(super) retry_after_cap_ms: Limit<60_000>,
}

/// When a model that fails is left alone: nobody asks it until the time is over, and then one request to see.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Breaker {
    /// How many failures within `window_ms`, of the kind that tells of trouble over there, open it.
    pub(super) failures: Limit<10>,
    /// The time within which failures are counted together.
    pub(super) window_ms: Limit<30_000>,
    /// How long it stays open.
    pub(super) open_ms: Limit<10_000>,
}

/// How runs are driven.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Orchestrator {
    /// The most runs that one process drives at the same time; the others wait in the database, the oldest first.
    pub(super) max_live_runs: Limit<10_000>,
    /// How long a stop waits for the process that drives the run; then it is answered 202, and goes on.
    pub(super) stop_patience_ms: Limit<5_000>,
    /// How long after its last sign of life a process counts as dead and others take its runs over. With less than half a second a
    /// busy moment would be taken for a death.
    pub(super) node_lifetime_ms: Limit<10_000, 500>,
    /// How long turns in progress may take to end at shutdown. Whoever sends SIGKILL after SIGTERM must wait longer than this.
    pub(super) drain_seconds: Limit<20>,
    /// How many processes a run may lose within one turn before it fails with the code `crashed_repeatedly`.
    pub(super) max_takeovers: Limit<5>,
}

/// What goes for PostgreSQL. How many connections there are is in Loco's own block `database:`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Database {
    /// How long one statement may take.
    pub(super) statement_timeout_ms: PostgresMillis<10_000>,
    /// How long one may wait for another's lock.
    pub(super) lock_timeout_ms: PostgresMillis<2_000>,
    /// How long a transaction may stand still: a process that is frozen must not block a takeover.
    pub(super) idle_in_transaction_timeout_ms: PostgresMillis<5_000>,
    /// `on`, `off`, `local`, `remote_write` or `remote_apply`, in quotes; `on` if it is not set. With `off`, what was answered may be
    /// lost when the server crashes.
    pub(super) synchronous_commit: Option<String>,
}

/// For the database in memory only; on disk it is for the task `prune` to remove runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Retention {
    /// How many runs that are over are kept; the oldest go first.
    pub(super) ended_runs: Limit<1_000>,
}

/// What is kept of who started, changed, stopped, exported and deleted which run.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(super) struct Audit {
    /// For how many days, also of runs that were deleted.
    pub(super) retention_days: Limit<90, 1, 36_500>,
}
