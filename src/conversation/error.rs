//! What can go wrong for a caller, in words that no transport knows. `views::problem` gives each its status.

use super::{
    event_id::EventId,
    quota::OverQuota,
    run::{RunId, RunStatus},
    validate::Violation,
};

/// Why a request to a run was not done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such run.
    #[error("there is no run {0}")]
    NotFound(RunId),
    /// The run is over; nothing about it can change.
    #[error("run {id} is over: it is {}", status.as_str())]
    AlreadyEnded {
        /// The run.
        id: RunId,
        /// How it ended.
        status: RunStatus,
    },
    /// The run is not over, so it cannot be deleted.
    #[error("run {id} is {}: stop it first", status.as_str())]
    NotEnded {
        /// The run.
        id: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// The run has no bot at this place.
    #[error("the run has {bots} bots, counted from 0: there is no bot {index}")]
    NoSuchBot {
        /// The place that was asked for.
        index: u32,
        /// How many bots the run has.
        bots: u32,
    },
    /// The input breaks rules.
    #[error("the input breaks {} rule(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// It would be more than the owner, or the client, may have.
    #[error("{0}")]
    OverQuota(OverQuota),
    /// The same idempotency key came with another body before.
    #[error(
        "this Idempotency-Key was used with another body within the last 24 hours: use a new key for a new request"
    )]
    KeyReused,
    /// The bot is not in the version that the caller thinks.
    #[error("the bot is in version {version} now")]
    VersionMismatch {
        /// The newest version.
        version: u32,
    },
    /// This process is to end and does not drive the run; another one does, or will.
    #[error("this process is shutting down; the same request may be answered by another one")]
    Leaving,
    /// The cursor is beyond the last event.
    #[error("the cursor {cursor} is beyond the last event, {last}")]
    CursorAhead {
        /// What the client sent.
        cursor: EventId,
        /// The last durable event.
        last: EventId,
    },
    /// The database cannot be reached now; the same request may succeed later.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stop was done here, but the database could not be told yet.
    #[error(
        "the provider's stream is closed, but the stop is not recorded yet: the database cannot be reached"
    )]
    StopNotRecorded(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}
