//! Responses: `OpenAI`'s newer API, and the only one of some of its models.
//!
//! It is asked without state: nothing is stored there, and each request brings the whole conversation. It has no stop sequences
//! and no seed. `prompt_cache_key` and `include_obfuscation` go to `OpenAI` alone, as compatible servers may not know them.

mod convert;
mod wire;

pub(super) use convert::Responses;
use serde_json::{Value, json};

use crate::{
    conversation::Params,
    providers::{Request, adapter::messages},
};

/// The path behind the base URL.
pub(super) const PATH: &str = "/responses";

/// The parameters that the API has a field for.
pub(super) const PARAMS: &[&str] = &["max_tokens", "temperature", "top_p"];

/// The request's body, for `OpenAI` itself or for another.
pub(super) fn body(request: &Request<'_>, vendor: bool) -> Value {
    let mut body = json!({
        "model": request.model,
        "input": messages(request.prompt).map(item).collect::<Vec<_>>(),
        // What is not said is stored, for 30 days and more.
        "store": false,
        "stream": true,
    });
    if vendor {
        body["stream_options"] = json!({"include_obfuscation": false});
        body["prompt_cache_key"] = json!(request.cache_key);
    }
    let Params {
        max_tokens,
        temperature,
        top_p,
        stop: _,
        seed: _,
    } = request.params;
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[field] = value;
        }
    };
    set(
        "instructions",
        request.prompt.system.as_deref().map(Value::from),
    );
    set("max_output_tokens", max_tokens.map(Value::from));
    set("temperature", temperature.map(Value::from));
    set("top_p", top_p.map(Value::from));
    body
}

/// A message as an item of the input. `OpenAI` can do without its type; llama.cpp refuses an assistant's message that has none.
fn item(mut message: Value) -> Value {
    message["type"] = json!("message");
    message
}
