//! The frames of `streamGenerateContent`, read leniently: each is a whole response that brings what is new; every field may be missing,
//! and none of the counts is sent where it is zero.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    pub(super) candidates: Option<Vec<Candidate>>,
    /// Of a prompt that was not answered; then there are no candidates.
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<UsageCounts>,
    pub(super) error: Option<Value>,
}

/// An answer. Only one is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Content {
    pub(super) parts: Option<Vec<Piece>>,
}

/// A part of the content: text, or something else, which has none.
#[derive(Debug, Deserialize)]
pub(super) struct Piece {
    pub(super) text: Option<String>,
    /// Whether the text is a thought.
    pub(super) thought: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    pub(super) block_reason_message: Option<String>,
}

/// Cumulative. Thoughts are counted apart from the candidates; the total is the sum of all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "they are the API's names")]
pub(super) struct UsageCounts {
    pub(super) prompt_token_count: Option<u64>,
    pub(super) cached_content_token_count: Option<u64>,
    pub(super) candidates_token_count: Option<u64>,
    pub(super) thoughts_token_count: Option<u64>,
    pub(super) total_token_count: Option<u64>,
}
