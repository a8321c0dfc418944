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
mod openai;
mod registry;
mod reply;

use std::time::Duration;

pub use registry::{Provider, Registry, RegistryError};
pub use reply::{Part, Reply};
use secrecy::SecretString;

use crate::conversation::{Params, Prompt};

/// Which providers there are, and what bounds their answers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The providers, by the names that bots use.
    pub providers: Vec<ProviderConfig>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The most bytes that may come without an event being complete.
    pub max_event_bytes: usize,
}

/// One provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The name that bots use.
    pub name: String,
    /// Which API it speaks.
    pub kind: Kind,
    /// Its address if it is not the vendor's own: for `openai` with the `/v1`, for `anthropic` without.
    pub base_url: Option<String>,
    /// The key, if it wants one.
    pub api_key: Option<SecretString>,
    /// The environment variable that the key is expected in: what a refusal tells the caller.
    pub api_key_env: String,
    /// Whether the address is the built-in simulator's.
    pub simulated: bool,
    /// Models to offer in forms; any other name is passed on as well.
    pub models: Vec<String>,
}

/// The kinds of APIs that Parley speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `OpenAI`'s Chat Completions, and every server compatible with it.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
}

/// How long an attempt waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// From the request to the first delta of text or reasoning.
    pub first_delta: Duration,
    /// For any byte, once the answer has begun.
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
}
