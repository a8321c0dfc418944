//! Anthropic's Messages, and every server compatible with it.
//!
//! The version header stays at `2023-06-01`: newer versions refuse sampling parameters for all models, this one for none; what a
//! model refuses is its own affair. Exactly one header carries the key: with two, the service may refuse.
//!
//! What is to be cached is said block by block, see [`marked`]. Whoever knows nothing of it passes the markers over.

mod convert;
mod wire;

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Kind, ProviderConfig, Request,
    adapter::{Adapter, Converter, Outgoing, role},
};
use crate::conversation::{Params, Prompt, PromptMessage};

/// What the room is told of it.
pub(super) const KIND: Kind = Kind {
    name: "anthropic",
    vendor_url: "https://api.anthropic.com",
    path: "",
    models: &["claude-haiku-5-5", "claude-sonnet-5-5"],
    adapter: |config| Arc::new(Anthropic::new(config)),
};
const VERSION: &str = "2023-06-01";

/// The API wants a limit. This one is far above a turn of conversation and within what every model may put out.
const MAX_TOKENS: u32 = 4096;

/// The same for models that may think, unasked too, as the newer Claudes do: thinking counts as output, and must not leave the answer
/// empty. Each Claude that is still served may put out more.
const MAX_TOKENS_WITH_THINKING: u32 = 16_384;

/// The adapter.
pub(super) struct Anthropic {
    base_url: String,
    key: Option<SecretString>,
}

impl Anthropic {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        let base_url = config
            .base_url
            .as_deref()
            .unwrap_or(KIND.vendor_url)
            .trim_end_matches('/')
            .to_owned();
        Self {
            base_url,
            key: config.api_key.clone(),
        }
    }
}

impl Adapter for Anthropic {
    fn outgoing(&self, request: &Request<'_>) -> Outgoing {
        Outgoing {
            url: format!("{}/v1/messages", self.base_url),
            headers: vec![
                ("accept".into(), "text/event-stream".to_owned()),
                ("anthropic-version".into(), VERSION.to_owned()),
            ],
            auth: self.key.clone().map(|key| ("x-api-key".into(), key)),
            body: body(request),
        }
    }

    fn converter(&self, _request: &Request<'_>) -> Box<dyn Converter> {
        Box::new(convert::Messages::default())
    }

    fn params(&self, _model: &str) -> &'static [&'static str] {
        &[
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "reasoning_effort",
            "thinking_budget_tokens",
            "service_tier",
        ]
    }

    fn default_max_tokens(&self, model: &str, params: &Params) -> Option<u32> {
        Some(default_max_tokens(model, params))
    }
}

fn default_max_tokens(model: &str, params: &Params) -> u32 {
    let answer = if model.contains("claude") || params.reasoning_effort.is_some() {
        MAX_TOKENS_WITH_THINKING
    } else {
        MAX_TOKENS
    };
    // What is left for the answer stays the same.
    answer.saturating_add(params.thinking_budget_tokens.unwrap_or(0))
}

fn body(request: &Request<'_>) -> Value {
    // The API has no field for those that are not named: they are refused before.
    let Params {
        max_tokens,
        temperature,
        top_p,
        top_k,
        stop,
        reasoning_effort,
        thinking_budget_tokens: budget,
        service_tier,
        ..
    } = request.params;
    let mut body = json!({
        "model": request.model,
        "max_tokens": max_tokens.unwrap_or_else(|| default_max_tokens(request.model, request.params)),
        "messages": messages(request.prompt),
        "stream": true,
    });
    let system = request.prompt.system.as_deref();
    let stop = stop.as_ref().filter(|stop| !stop.is_empty());
    let effort = reasoning_effort.as_deref();
    let thinking = |budget: u32| json!({"type": "enabled", "budget_tokens": budget});
    for (field, value) in [
        ("system", system.map(|text| json!([marked(text)]))),
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("top_k", top_k.map(Value::from)),
        ("stop_sequences", stop.map(|stop| json!(stop))),
        (
            "output_config",
            effort.map(|effort| json!({"effort": effort})),
        ),
        ("thinking", budget.map(thinking)),
        ("service_tier", service_tier.as_deref().map(Value::from)),
    ] {
        if let Some(value) = value {
            body[field] = value;
        }
    }
    body
}

/// The conversation, a message a block. The last one, the user's, is where the conversation has got to.
fn messages(prompt: &Prompt) -> Vec<Value> {
    let last = prompt.messages.len().saturating_sub(1);
    let message = |(at, message): (usize, &PromptMessage)| {
        let text = message.text.as_str();
        let block = if at == last {
            marked(text)
        } else {
            block(text)
        };
        json!({"role": role(message), "content": [block]})
    };
    prompt.messages.iter().enumerate().map(message).collect()
}

fn block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A block that the prompt is cached up to and with. The marker is no part of what is compared.
///
/// Of four that may be set two suffice: the system prompt's is found by every run with the same bot, the last message's by the
/// bot's next request. From each the service looks back over 20 blocks for what was cached before, and a bot adds two a turn, its
/// own words and all that was said since, so that its last request ends two blocks back, at the system prompt at first. What is
/// too short to be cached (512 to 4096 tokens, by model) is silently not cached, and its marker costs nothing.
fn marked(text: &str) -> Value {
    let mut block = block(text);
    block["cache_control"] = json!({"type": "ephemeral"});
    block
}
