//! Messages' events, read leniently: the kind is in `type` (proxies drop the `event:` lines), every field may be missing.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) r#type: Option<String>,
    pub(super) message: Option<MessageStart>,
    pub(super) content_block: Option<Piece>,
    pub(super) delta: Option<Piece>,
    pub(super) usage: Option<UsageCounts>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageStart {
    pub(super) usage: Option<UsageCounts>,
}

/// A block's beginning, a delta of a block, or the delta of the message: told apart by what they hold.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Piece {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) stop_reason: Option<String>,
    pub(super) stop_details: Option<StopDetails>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StopDetails {
    pub(super) explanation: Option<String>,
}

/// Cumulative: a field that is missing has not changed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct UsageCounts {
    pub(super) input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputDetails {
    pub(super) thinking_tokens: Option<u64>,
}
