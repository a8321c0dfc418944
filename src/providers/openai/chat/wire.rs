//! Chat Completions' chunks, read leniently: every field may be missing, null or unknown.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    /// `"error"` where a server sends the error object itself as a chunk (vLLM, Mistral).
    pub(super) object: Option<String>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Value>,
    pub(super) x_groq: Option<XGroq>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) delta: Option<Delta>,
    pub(super) finish_reason: Option<String>,
    /// `OpenRouter`'s: the word of the server behind it.
    pub(super) native_finish_reason: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    pub(super) content: Option<Content>,
    pub(super) refusal: Option<String>,
    /// `DeepSeek`, older vLLM.
    pub(super) reasoning_content: Option<Value>,
    /// `OpenRouter`, vLLM.
    pub(super) reasoning: Option<Value>,
}

/// Text, or Mistral's list of parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentPart {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<Content>,
}

/// Groq's own place for usage.
#[derive(Debug, Deserialize)]
pub(super) struct XGroq {
    pub(super) usage: Option<Value>,
}
