//! What an API kind is made of: how a request looks, and what its frames mean. Both are pure.

use std::borrow::Cow;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::Request;
use crate::conversation::{AttemptFailure, Params, Prompt, PromptMessage, Role, StopReason, Usage};

/// An API kind.
pub(super) trait Adapter: Send + Sync {
    /// The request as it goes out.
    fn outgoing(&self, request: &Request<'_>) -> Outgoing;

    /// What reads the answer to that request.
    fn converter(&self, request: &Request<'_>) -> Box<dyn Converter>;

    /// The parameters that the API has a field for by which that model is asked, by our names. Empty: models in general.
    fn params(&self, model: &str) -> &'static [&'static str];

    /// Words of those parameters that another API of the same kind knows and this one does not: the parameter, and the word.
    fn strange_words(&self, _model: &str) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The limit on an answer's tokens that is sent where the bot sets none; `None`: there is none.
    fn default_max_tokens(&self, _model: &str, _params: &Params) -> Option<u32> {
        None
    }

    /// Whether a refusal taught the adapter to ask in another way, so that the attempt is worth sending once more. A refused
    /// request has cost nothing.
    fn learns_from(&self, _failure: &AttemptFailure) -> bool {
        false
    }
}

/// The conversation as both of `OpenAI`'s APIs take it.
pub(super) fn messages(prompt: &Prompt) -> impl Iterator<Item = Value> {
    let message = |message: &PromptMessage| json!({"role": role(message), "content": message.text});
    prompt.messages.iter().map(message)
}

/// Who says a message, as most APIs call them.
pub(super) fn role(message: &PromptMessage) -> &'static str {
    match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// The key as `authorization` carries it.
pub(super) fn bearer(key: &SecretString) -> SecretString {
    SecretString::from(format!("Bearer {}", key.expose_secret()))
}

/// A request as it goes out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) url: String,
    /// Header names in lower case. Keys are apart.
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
    /// The header that carries the key.
    pub(super) auth: Option<(Cow<'static, str>, SecretString)>,
    pub(super) body: Value,
}

/// Reads the frames of one answer; its state is only what the protocol makes us remember.
pub(super) trait Converter: Send {
    /// What a frame means.
    ///
    /// # Errors
    /// When the provider reports a failure, or the frame is not of its format.
    fn convert(&mut self, data: &str) -> Result<Step, AttemptFailure>;
}

/// What one frame means. Most say one thing; some say several at once.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) reasoning: Option<String>,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) usage: Option<Usage>,
    /// The provider says that the answer is complete.
    pub(super) finished: Option<StopReason>,
    /// The provider reports a failure, after all that the frame says besides: usage, at most.
    pub(super) failed: Option<AttemptFailure>,
    /// Nothing more comes after this frame, not even usage.
    pub(super) last: bool,
}
