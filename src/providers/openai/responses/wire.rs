//! The events of Responses, read leniently: there are sixty types of them and more to come, so that whatever an unknown one has
//! under a known name must not matter.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) r#type: Option<Value>,
    /// A piece of text, in the events that bring one.
    pub(super) delta: Option<Value>,
    /// Places of a piece: which item of the output, and which part of the item. llama.cpp says none of them.
    pub(super) output_index: Option<Value>,
    pub(super) content_index: Option<Value>,
    pub(super) summary_index: Option<Value>,
    /// The whole response, in the events that are about all of it.
    pub(super) response: Option<Value>,
    /// The error, where it is wrapped: as the service sends it, unlike its documents.
    pub(super) error: Option<Value>,
    /// `"error"` where a server sends the bare error object.
    pub(super) object: Option<Value>,
}

impl Frame {
    pub(super) fn kind(&self) -> &str {
        self.r#type
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}
