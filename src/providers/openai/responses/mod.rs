//! Responses: `OpenAI`'s newer API, and the only one of some of its models.
//!
//! It is asked without state: nothing is stored there, and each request brings the whole conversation. It has no stop sequences,
//! no seed and no penalties. `prompt_cache_key` and `include_obfuscation` go to `OpenAI` alone, as compatible servers may not know them.

mod convert;
mod wire;

pub(super) use convert::Responses;
use serde_json::{Map, Value, json};

use crate::{
    conversation::Params,
    providers::{Request, adapter::messages},
};

/// The path behind the base URL.
pub(super) const PATH: &str = "/responses";

/// The parameters that the API has a field for.
pub(super) const PARAMS: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "reasoning_effort",
    "verbosity",
    "service_tier",
];

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
    // The API has no field for those that are not named: they are refused before.
    let Params {
        max_tokens,
        temperature,
        top_p,
        reasoning_effort,
        verbosity,
        service_tier,
        ..
    } = request.params;
    let system = request.prompt.system.as_deref();
    let verbosity = verbosity.as_deref();
    for (field, value) in [
        ("instructions", system.map(Value::from)),
        ("max_output_tokens", max_tokens.map(Value::from)),
        ("temperature", temperature.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        (
            "reasoning",
            reasoning(reasoning_effort.as_deref(), request.show_reasoning),
        ),
        (
            "text",
            verbosity.map(|verbosity| json!({"verbosity": verbosity})),
        ),
        ("service_tier", service_tier.as_deref().map(Value::from)),
    ] {
        if let Some(value) = value {
            body[field] = value;
        }
    }
    body
}

/// How much is to be thought, and whether it is told: without being asked, the API tells nothing of it.
fn reasoning(effort: Option<&str>, show: bool) -> Option<Value> {
    let show = show && effort != Some("none");
    let members = [("effort", effort), ("summary", show.then_some("auto"))];
    let given = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    let given: Map<String, Value> = given.collect();
    (!given.is_empty()).then_some(Value::Object(given))
}

/// A message as an item of the input. `OpenAI` can do without its type; llama.cpp refuses an assistant's message that has none.
fn item(mut message: Value) -> Value {
    message["type"] = json!("message");
    message
}
