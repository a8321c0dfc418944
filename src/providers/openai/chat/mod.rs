//! Chat Completions: `OpenAI`'s older API, and the one that every compatible server has.
//!
//! `OpenAI` itself and the others differ in what they take: the limit on output is `max_completion_tokens` there and `max_tokens`
//! here, and `prompt_cache_key`, `store` and `include_obfuscation` are `OpenAI`'s alone. The system prompt has the role `system` for
//! both: `OpenAI` accepts it, and the others know no `developer`. A [`Dialect`] says what a server wants otherwise: Azure has
//! `OpenAI`'s models at another address.

mod convert;
mod wire;

pub(super) use convert::Chat;
use serde_json::{Value, json};

use crate::{
    conversation::Params,
    providers::{Dialect, Request, adapter::messages},
};

/// The path behind the base URL.
pub(super) const PATH: &str = "/chat/completions";

/// The parameters that the API has a field for.
pub(super) const PARAMS: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "verbosity",
    "service_tier",
];

/// The quickest service tier is one of Responses alone (the vendor's guide to it, and the types of its SDK).
pub(super) const STRANGE_WORDS: &[(&str, &str)] = &[("service_tier", "ultrafast")];

/// The request's body: for `OpenAI` itself or for another, in its dialect, and with or without the question for usage.
pub(super) fn body(
    request: &Request<'_>,
    vendor: bool,
    dialect: &Dialect,
    asks_for_usage: bool,
) -> Value {
    let system = request
        .prompt
        .system
        .iter()
        .map(|text| json!({"role": dialect.system_role, "content": text}));
    let mut body = json!({
        "model": request.model,
        "messages": system.chain(messages(request.prompt)).collect::<Vec<_>>(),
        "stream": true,
    });
    if asks_for_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    if vendor {
        body["stream_options"]["include_obfuscation"] = json!(false);
        body["prompt_cache_key"] = json!(request.cache_key);
        // What is not said may be stored: for newer accounts it is.
        body["store"] = json!(false);
    }
    let limit = dialect.max_tokens_field.unwrap_or(match vendor {
        true => "max_completion_tokens",
        false => "max_tokens",
    });
    set_params(&mut body, request.params, limit);
    body
}

/// The parameters in Chat's own fields, of which `limit` is the one for the most tokens. Which of them the model takes was checked
/// before.
fn set_params(body: &mut Value, params: &Params, limit: &str) {
    let Params {
        max_tokens,
        temperature,
        top_p,
        top_k,
        stop,
        seed,
        presence_penalty,
        frequency_penalty,
        reasoning_effort,
        // Anthropic's own.
        thinking_budget_tokens: _,
        verbosity,
        service_tier,
    } = params;
    let stop = stop.as_ref().filter(|stop| !stop.is_empty());
    for (field, value) in [
        (limit, max_tokens.map(Value::from)),
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        // Not OpenAI's: some compatible servers have it, and their operators say so in the catalogue.
        ("top_k", top_k.map(Value::from)),
        ("stop", stop.map(|stop| json!(stop))),
        ("seed", seed.map(Value::from)),
        ("presence_penalty", presence_penalty.map(Value::from)),
        ("frequency_penalty", frequency_penalty.map(Value::from)),
        (
            "reasoning_effort",
            reasoning_effort.as_deref().map(Value::from),
        ),
        ("verbosity", verbosity.as_deref().map(Value::from)),
        ("service_tier", service_tier.as_deref().map(Value::from)),
    ] {
        if let Some(value) = value {
            body[field] = value;
        }
    }
}
