//! Why a model ended its answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a model ended, in one vocabulary for all providers. Each adapter's `convert` has the table from its provider's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said what it wanted to say.
    EndTurn,
    /// The limit on output tokens was reached.
    MaxTokens,
    /// One of the bot's stop sequences came.
    StopSequence,
    /// The model, or a classifier in front of it, declined.
    Refusal,
    /// A content filter cut the answer.
    ContentFilter,
    /// The context window was full after some text.
    ContextExceeded,
    /// Something that this vocabulary has no word for.
    Other,
}

impl StopReason {
    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::ContextExceeded => "context_exceeded",
            Self::Other => "other",
        }
    }
}
