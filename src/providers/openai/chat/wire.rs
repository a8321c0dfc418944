//! Chat Completions' chunks, read leniently: every field may be missing, null or unknown.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
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
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

// By hand, because serde's untagged enums read everything twice, and each delta comes through here.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("text or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }

        deserializer.deserialize_any(TextOrParts)
    }
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
