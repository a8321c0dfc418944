//! A run: its identity, its status and how it may change, how it ends.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The identity of a run: a UUID of version 7, so that newer runs sort after older ones.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// The identity made of that UUID. Making a new one is the orchestrator's: it needs a clock.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID inside.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A text that is no run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run id is a lower-case UUID with hyphens, such as 019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071")]
pub struct InvalidRunId;

impl FromStr for RunId {
    type Err = InvalidRunId;

    /// Reads the one spelling that we write, so that a run has one address.
    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let id = Self(Uuid::try_parse(text).map_err(|_| InvalidRunId)?);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(InvalidRunId)
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted; no turn has started.
    Queued,
    /// The first turn has started.
    Running,
    /// Over, as planned.
    Completed,
    /// Over, because somebody stopped it.
    Stopped,
    /// Over, because it could not go on.
    Failed,
}

impl RunStatus {
    /// The word on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Stopped | Self::Failed => true,
        }
    }

    /// Whether a run may go from here to there.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Stopped | Self::Failed),
            Self::Running => matches!(next, Self::Completed | Self::Stopped | Self::Failed),
            Self::Completed | Self::Stopped | Self::Failed => false,
        }
    }
}

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        [
            Self::Queued,
            Self::Running,
            Self::Completed,
            Self::Stopped,
            Self::Failed,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

/// A word that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status of a run")]
pub struct UnknownStatus(pub String);

/// Why a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// All turns were spoken.
    MaxTurns,
    /// One of two bots refused, which leaves the other nothing to answer.
    Refusal,
    /// Somebody asked for it.
    StopRequested,
}

impl EndReason {
    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxTurns => "max_turns",
            Self::Refusal => "refusal",
            Self::StopRequested => "stop_requested",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_is_final_and_nothing_goes_back() {
        use RunStatus::{Completed, Failed, Queued, Running, Stopped};
        let all = [Queued, Running, Completed, Stopped, Failed];
        for from in all {
            for to in all {
                assert!(
                    !(from.is_final() && from.may_become(to)),
                    "{from:?} -> {to:?}"
                );
                assert!(!(to == Queued && from.may_become(to)), "{from:?} -> {to:?}");
            }
            assert_eq!(from.as_str().parse(), Ok(from));
        }
        assert!(
            Queued.may_become(Running)
                && !Queued.may_become(Completed)
                && Running.may_become(Completed)
        );
    }

    #[test]
    fn a_run_id_has_one_spelling() {
        let id = "019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071";
        assert_eq!(id.parse::<RunId>().unwrap().to_string(), id);
        for bad in [
            "",
            "x",
            "019A2B3C-4D5E-7F60-8A1B-2C3D4E5F6071",
            "019a2b3c4d5e7f608a1b2c3d4e5f6071",
            "{019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071}",
        ] {
            assert_eq!(bad.parse::<RunId>(), Err(InvalidRunId), "{bad}");
        }
    }
}
