//! The `settings:` block of `config/*.yaml`, as it is written. Every key has a default, so that an absent one is no mistake.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Api, MaxTokensField, SystemRole};

/// The block.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) dev_mode: bool,
    pub(super) run_max_turns: Limit<50>,
    pub(super) auth: Auth,
    pub(super) rate_limit: RateLimit,
    pub(super) http: Http,
    pub(super) stream: Stream,
    pub(super) metrics: Metrics,
    pub(super) tracing: Tracing,
    pub(super) providers: BTreeMap<String, Provider>,
    pub(super) models_file: Option<String>,
    pub(super) simulator: Simulator,
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    pub(super) breaker: Breaker,
    pub(super) orchestrator: Orchestrator,
    pub(super) database: Database,
    pub(super) retention: Retention,
    pub(super) limits: Limits,
}

/// A number with a default and bounds.
#[derive(Debug, Clone, Copy, Deserialize)]
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

/// Milliseconds as PostgreSQL takes them: its integers have 32 bits.
type PostgresMillis<const DEFAULT: u64> = Limit<DEFAULT, 1, 2_147_483_647>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Auth {
    pub(super) basic: Basic,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Basic {
    pub(super) user: Option<String>,
    pub(super) password_hash: Option<String>,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RateLimit {
    pub(super) run_creations_per_minute: Limit<10>,
    pub(super) failed_logins_per_minute: Limit<60>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Http {
    pub(super) trusted_proxies: Vec<ipnet::IpNet>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) allow_same_site: bool,
    pub(super) body_limit_bytes: Limit<{ 256 * 1024 }>,
    pub(super) header_timeout_ms: Limit<10_000>,
    pub(super) keep_alive_ms: Limit<120_000>,
    pub(super) shutdown_grace_ms: Limit<10_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) heartbeat_ms: Limit<4_000>,
    pub(super) retry_ms: Limit<2_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metrics {
    /// Whether anybody may read `/metrics`; otherwise it wants the login of the API.
    pub(super) public: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tracing {
    /// The collector that spans are sent to, by OTLP over HTTP; `/v1/traces` is put at its end. None: no spans.
    ///
    /// Environment: `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(super) endpoint: Option<String>,
    /// Whether spans hold prompts and answers.
    pub(super) record_content: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) kind: Option<String>,
    pub(super) api: Api,
    pub(super) base_url: Option<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) key_header: Option<String>,
    pub(super) max_tokens_field: Option<MaxTokensField>,
    pub(super) system_role: SystemRole,
    pub(super) include_usage: Option<bool>,
    pub(super) think_tags: bool,
    pub(super) max_concurrent: Option<Limit<1>>,
    pub(super) requests_per_minute: Option<Limit<1>>,
    pub(super) api_key_env: Option<String>,
    pub(super) simulate: Option<bool>,
    pub(super) models: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Simulator {
    pub(super) pace: f64,
}

impl Default for Simulator {
    fn default() -> Self {
        Self { pace: 1.0 }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Timeouts {
    pub(super) connect_ms: Limit<5_000>,
    pub(super) first_delta_ms: Limit<120_000>,
    pub(super) idle_ms: Limit<90_000>,
    pub(super) usage_ms: Limit<2_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retry {
    pub(super) max_attempts: Limit<3>,
    pub(super) base_ms: Limit<500>,
    pub(super) cap_ms: Limit<8_000>,
    pub(super) retry_after_cap_ms: Limit<60_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Breaker {
    pub(super) failures: Limit<10>,
    pub(super) window_ms: Limit<30_000>,
    pub(super) open_ms: Limit<10_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Orchestrator {
    pub(super) max_live_runs: Limit<10_000>,
    pub(super) stop_patience_ms: Limit<5_000>,
    /// Shorter, and a busy moment would be taken for a death.
    pub(super) node_lifetime_ms: Limit<10_000, 500>,
    pub(super) drain_seconds: Limit<20>,
    pub(super) max_takeovers: Limit<5>,
}

/// What goes for PostgreSQL; how many connections there are is in Loco's own `database:` block.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    pub(super) statement_timeout_ms: PostgresMillis<10_000>,
    pub(super) lock_timeout_ms: PostgresMillis<2_000>,
    pub(super) idle_in_transaction_timeout_ms: PostgresMillis<5_000>,
    pub(super) synchronous_commit: Option<String>,
}

/// For the database in memory only; on disk it is for the task `prune` to remove runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retention {
    pub(super) ended_runs: Limit<1_000>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) turn_text_bytes: Limit<{ 8 * 1024 * 1024 }>,
    pub(super) provider_event_bytes: Limit<{ 1024 * 1024 }>,
}
