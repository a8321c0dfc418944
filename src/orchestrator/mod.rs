//! Drives runs: the door for controllers and tasks, the supervisor, and the one task of each run.
//!
//! **Invariant:** everything that changes a run while it runs is done by its one task, one thing after the other; whatever comes
//! from outside is a command in the database, which that task applies between turns. The request to a provider goes out after
//! the commit of `turn.started`; a stop closes the provider's stream before it commits. A run's task leaves nothing behind: no
//! task, no connection, no entry in a map. A process acts for a run only while it holds the run's lease: the database refuses its
//! writes after that, and its own deadline (`node`) keeps it from showing text.
//!
//! **May import:** conversation, providers, `event_log`, models.

mod attempt;
mod clock;
mod context;
mod door;
mod driver;
mod measure;
mod node;
mod offers;
mod orders;
mod owners;
mod plan;
mod spans;
mod state;
mod supervisor;
mod turn;

use std::{sync::Arc, time::Duration};

pub use door::{Once, Runs, Started, Streaming, Subscription, TranscriptReader};
pub use supervisor::Supervisor;

use crate::conversation::{Catalogue, Meter, Quotas, RetryPolicy, RunId, Tracing};

/// What bounds runs, and what they need to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The most turns that a run may have, and how many it has if it does not say.
    pub max_turns: u32,
    /// How many runs this process drives at the same time; more wait as `queued`.
    pub max_live_runs: usize,
    /// The most bytes of text that a turn may have; its reasoning may have as many beside it.
    pub max_text_bytes: usize,
    /// What owners, and clients, may have of runs.
    pub quotas: Quotas,
    /// When a failed provider request is repeated.
    pub retry: RetryPolicy,
    /// How long this process counts as alive after it has said so, where others share its database.
    pub node_lifetime: Duration,
    /// How many owners a run may lose without finishing a turn before it is failed.
    pub max_takeovers: u32,
    /// How many runs that have ended are kept; `None`: all.
    pub max_ended_runs: Option<u64>,
    /// How long it is kept who did what with which run.
    pub audit_retention: Duration,
    /// How long a stop waits for the run's task before it answers that it is still to come.
    pub stop_patience: Duration,
    /// What is known of models: what they take and what they cost.
    pub catalogue: Arc<Catalogue>,
    /// Whom to tell what happens.
    pub meter: Meter,
    /// Whom to tell the way that it takes.
    pub tracing: Tracing,
}

/// How the door tells whoever drives runs that there is a new one. Losing the bell costs a second, nothing else.
#[async_trait::async_trait]
pub trait Doorbell: Send + Sync {
    /// Offers the run to a process that drives runs.
    async fn ring(&self, run: RunId);

    /// Takes away what rings have left behind: a ring that was answered still names its run.
    async fn tidy(&self);
}
