//! Chat Completions' chunks, read leniently: every field may be missing or null, and unknown ones are passed over.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) object: Option<Object>,
    pub(super) choices: Option<FirstChoice>,
    pub(super) usage: Option<Value>,
    pub(super) x_groq: Option<XGroq>,
    pub(super) error: Option<Value>,
}

/// What a chunk calls itself.
#[derive(Debug)]
pub(super) struct Object {
    /// Whether that is `error`: some servers send the error object itself as a chunk (vLLM, Mistral).
    pub(super) is_error: bool,
}

/// The first choice, if there is any: we ask for one. What stands behind it is not looked at.
#[derive(Debug)]
pub(super) struct FirstChoice(pub(super) Option<Choice>);

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

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Object;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Object, E> {
                let is_error = name.eq_ignore_ascii_case("error");
                Ok(Object { is_error })
            }
        }

        deserializer.deserialize_str(Name)
    }
}

impl<'de> Deserialize<'de> for FirstChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choices;

        impl<'de> Visitor<'de> for Choices {
            type Value = FirstChoice;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FirstChoice, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstChoice(first))
            }
        }

        deserializer.deserialize_seq(Choices)
    }
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
