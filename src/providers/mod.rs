//! The outside world of models: one trait, an adapter for each kind of API, and the thin loop that reads what comes.
//!
//! **Invariant:** an answer is complete only when the provider said so. Building a request and converting a frame are pure; only
//! `client` and `reply` touch the network. Nothing is sent but what a turn's attempt needs. Keys never show in `Debug`, logs or
//! errors. Dropping a [`Reply`] closes its connection: that is the cancellation.
//!
//! **May import:** conversation. The only room that knows reqwest.

mod adapter;
mod anthropic;
mod client;
mod error;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod gemini;
mod halves;
mod limits;
mod openai;
#[cfg(test)]
mod prefix_tests;
mod registry;
mod reply;
mod secret;
mod sse;
mod think_tags;
#[cfg(test)]
mod vendor_tests;

use std::{sync::Arc, time::Duration};

pub use gate::{Admission, Obstacle, Place};
pub use registry::{KINDS, Provider, Registry, RegistryError};
pub use reply::{Part, Reply};
use secrecy::SecretString;

use crate::conversation::{Meter, Params, Prompt, TraceContext};

/// Which providers there are, and what bounds their answers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The providers, by the names that bots use.
    pub providers: Vec<ProviderConfig>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The most bytes that may come without an event being complete.
    pub max_event_bytes: usize,
    /// When a model is left alone.
    pub breaker: BreakerConfig,
    /// Whom to tell what happens.
    pub meter: Meter,
}

/// When a model that fails is left alone.
#[derive(Debug, Clone, Copy)]
pub struct BreakerConfig {
    /// After so many failures
    pub failures: usize,
    /// within that time
    pub window: Duration,
    /// for so long; then one request is let through to see.
    pub open: Duration,
}

/// One provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The name that bots use.
    pub name: String,
    /// Which API it speaks.
    pub kind: &'static Kind,
    /// Which of `OpenAI`'s APIs it is asked by.
    pub api: Api,
    /// Its address if it is not the vendor's own: as the kind's [`Kind::vendor_url`] is written.
    pub base_url: Option<String>,
    /// What stands in the query of each request.
    pub query: Vec<(String, String)>,
    /// Headers of each request, beside the kind's own. Nothing secret.
    pub headers: Vec<(String, String)>,
    /// The header that carries the key in place of the kind's own: as it is, and in `authorization` as a bearer's.
    pub key_header: Option<String>,
    /// How it wants to be asked by Chat Completions.
    pub dialect: Dialect,
    /// Whether `<think>` tags in the text mark reasoning.
    pub think_tags: bool,
    /// How many of its answers may be read at once; `None`: any number.
    pub max_concurrent: Option<usize>,
    /// How many requests may be made within a minute; `None`: any number.
    pub requests_per_minute: Option<usize>,
    /// The key, if it wants one.
    pub api_key: Option<SecretString>,
    /// The environment variable that the key is expected in: what a refusal tells the caller.
    pub api_key_env: String,
    /// Whether the address is the built-in simulator's.
    pub simulated: bool,
    /// Models to offer in forms; any other name is passed on as well.
    pub models: Vec<String>,
}

/// What servers compatible with Chat Completions differ in.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The field for the most tokens of an answer; `None`: `OpenAI`'s own at its address, and elsewhere the one that all know.
    pub max_tokens_field: Option<&'static str>,
    /// The role of the system prompt.
    pub system_role: &'static str,
    /// Whether usage is asked for. A server that refuses the question is not asked again.
    pub include_usage: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            max_tokens_field: None,
            system_role: "system",
            include_usage: true,
        }
    }
}

/// A kind of API that Parley speaks: what its folder says of itself.
#[derive(Debug)]
pub struct Kind {
    /// Its name, which is also the name of the vendor's own provider.
    pub name: &'static str,
    /// The vendor's own address, up to what all paths have in common.
    pub vendor_url: &'static str,
    /// The path at the end of that address.
    pub path: &'static str,
    /// Models to offer where the settings name none.
    pub models: &'static [&'static str],
    /// Makes the adapter.
    adapter: fn(&ProviderConfig) -> Arc<dyn adapter::Adapter>,
}

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.into_iter().find(|kind| kind.name == name)
    }
}

/// Which of `OpenAI`'s APIs a provider is asked by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    /// Responses at `OpenAI`'s own address and for models that have no other, else Chat Completions.
    #[default]
    Auto,
    /// Chat Completions.
    ChatCompletions,
    /// Responses.
    Responses,
}

/// How long an attempt waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// From the request to the first words, and from each to the next: an answer that only keeps its connection busy ends by it.
    pub first_delta: Duration,
    /// For any further byte, once the first one of the answer has come.
    pub idle: Duration,
    /// For the usage that may follow the terminal frame.
    pub usage: Duration,
}

/// What a provider is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The model's name, as the bot gives it.
    pub model: &'a str,
    /// What the model is shown.
    pub prompt: &'a Prompt,
    /// What is passed on.
    pub params: &'a Params,
    /// Stable for a bot in a run, so that its requests find the same prompt cache.
    pub cache_key: &'a str,
    /// Whether reasoning is asked for, where the API brings none unasked.
    pub show_reasoning: bool,
    /// The place in a trace from which the provider may go on.
    pub trace: Option<&'a TraceContext>,
}
