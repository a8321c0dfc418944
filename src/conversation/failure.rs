//! What can go wrong with an attempt or a run, in words that no transport knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The code of an `error` event and of a failed run. Stable: clients switch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The provider does not accept the key.
    Auth,
    /// The key may not do this (or the account has no money left).
    Permission,
    /// The provider knows no such model.
    NotFound,
    /// The provider calls the request wrong.
    InvalidRequest,
    /// The prompt is too long for the model.
    ContextExceeded,
    /// Too many requests; the provider may say when to come back.
    RateLimited,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed by itself.
    Server,
    /// The provider could not be reached, said nothing, or fell silent.
    Timeout,
    /// The stream ended without its terminal frame.
    Truncated,
    /// What came is not the provider's stream format.
    Malformed,
    /// The turn's text, or its reasoning, went over the limit.
    TextTooLong,
    /// The model was asked for a summary and wrote none.
    NoSummary,
    /// The run names a provider that is not configured (any more).
    ProviderNotConfigured,
    /// The run broke its process down again and again.
    CrashedRepeatedly,
    /// The run's owner has taken what it may take within a day.
    QuotaExceeded,
    /// Parley itself failed; the log has the details.
    Internal,
}

impl FailureCode {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Auth,
        Self::Permission,
        Self::NotFound,
        Self::InvalidRequest,
        Self::ContextExceeded,
        Self::RateLimited,
        Self::Overloaded,
        Self::Server,
        Self::Timeout,
        Self::Truncated,
        Self::Malformed,
        Self::TextTooLong,
        Self::NoSummary,
        Self::ProviderNotConfigured,
        Self::CrashedRepeatedly,
        Self::QuotaExceeded,
        Self::Internal,
    ];

    /// Whether a provider request can fail so; the others are a run's.
    #[must_use]
    pub fn is_of_an_attempt(self) -> bool {
        !matches!(
            self,
            Self::ProviderNotConfigured
                | Self::CrashedRepeatedly
                | Self::QuotaExceeded
                | Self::Internal
        )
    }

    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::ContextExceeded => "context_exceeded",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::TextTooLong => "text_too_long",
            Self::NoSummary => "no_summary",
            Self::ProviderNotConfigured => "provider_not_configured",
            Self::CrashedRepeatedly => "crashed_repeatedly",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Internal => "internal",
        }
    }

    /// Whether the bot's context is cut and the same target asked again, where the run's policy says so: no fault of the target's.
    #[must_use]
    pub fn calls_for_a_cut(self) -> bool {
        matches!(self, Self::ContextExceeded | Self::NoSummary)
    }

    /// Whether the same request can succeed if it is made again.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Server
            | Self::Timeout
            | Self::Truncated
            | Self::Malformed
            | Self::NoSummary => true,
            Self::Auth
            | Self::Permission
            | Self::NotFound
            | Self::InvalidRequest
            | Self::ContextExceeded
            | Self::TextTooLong
            | Self::ProviderNotConfigured
            | Self::CrashedRepeatedly
            | Self::QuotaExceeded
            | Self::Internal => false,
        }
    }
}

/// Why an attempt, a turn or a run failed: a code for programs, a sentence for people. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: FailureCode,
    /// What was wrong and, where we know it, how to mend it.
    pub message: String,
}

impl Failure {
    /// A failure from its two parts.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// A failed attempt: what went wrong, whether a repetition may help, and when the provider wants to be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFailure {
    /// What the `error` event says.
    pub failure: Failure,
    /// Whether to try again. Usually the code's own answer; a provider may overrule it (`x-should-retry`).
    pub retryable: bool,
    /// The provider's `Retry-After`, uncapped.
    pub retry_after: Option<Duration>,
    /// What of it may be charged.
    pub charge: Charge,
}

/// What a provider may charge for an attempt that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Charge {
    /// More than it had counted by then.
    #[default]
    Open,
    /// What it has counted: it had said its last word.
    Counted,
    /// Nothing: it refused before it began.
    Nothing,
}

impl AttemptFailure {
    /// A failure whose code alone says whether it is worth another attempt.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(code, message),
            retryable: code.retryable(),
            retry_after: None,
            charge: Charge::Open,
        }
    }
}
