//! Chat Completions: `OpenAI`'s older API, and the one that every compatible server has.
//!
//! `OpenAI` itself and the others differ in what they take: the limit on output is `max_completion_tokens` there and `max_tokens`
//! here, and `prompt_cache_key` and `include_obfuscation` are `OpenAI`'s alone. The system prompt has the role `system` for both:
//! `OpenAI` accepts it, and the others know no `developer`.

mod convert;
mod wire;

pub(super) use convert::Chat;
use serde_json::{Value, json};

use crate::{
    conversation::Params,
    providers::{Request, adapter::messages},
};

/// The path behind the base URL.
pub(super) const PATH: &str = "/chat/completions";

/// The parameters that the API has a field for.
pub(super) const PARAMS: &[&str] = &["max_tokens", "temperature", "top_p", "stop", "seed"];

/// The request's body: for `OpenAI` itself or for another, and with or without the question for usage.
pub(super) fn body(request: &Request<'_>, vendor: bool, asks_for_usage: bool) -> Value {
    let system = request
        .prompt
        .system
        .iter()
        .map(|text| json!({"role": "system", "content": text}));
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
    }
    let Params {
        max_tokens,
        temperature,
        top_p,
        stop,
        seed,
    } = request.params;
    let limit = if vendor {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[field] = value;
        }
    };
    set(limit, max_tokens.map(Value::from));
    set("temperature", temperature.map(Value::from));
    set("top_p", top_p.map(Value::from));
    set(
        "stop",
        stop.as_ref()
            .filter(|stop| !stop.is_empty())
            .map(|stop| json!(stop)),
    );
    set("seed", seed.map(Value::from));
    body
}
