//! Gemini's `streamGenerateContent`, and every server compatible with it.
//!
//! Written from the vendor's documents and its own clients; nothing was tried against the service. The model's name stands in the
//! address, so it is encoded: whatever it is, it names a model and nothing else. The key goes in its header, never in the query.
//! Thoughts come only where they are asked for, and models that do not think refuse the question: it is not asked.
//!
//! Two things that others report and nobody documents: an error may break in as bare JSON without `data:`, which is no frame, so that
//! the answer counts as cut off; and some translating gateways mark frames before the text with `STOP`, which is believed.

mod convert;
mod wire;

use std::{fmt::Write as _, sync::Arc};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Kind, ProviderConfig, Request,
    adapter::{Adapter, Converter, Outgoing},
};
use crate::conversation::{Params, PromptMessage, Role};

/// What the room is told of it.
pub(super) const KIND: Kind = Kind {
    name: "gemini",
    vendor_url: "https://generativelanguage.googleapis.com/v1beta",
    path: "/v1beta",
    models: &["gemini-3.5-flash-lite", "gemini-3.8-flash"],
    adapter: |config| Arc::new(Gemini::new(config)),
};

/// The adapter.
pub(super) struct Gemini {
    base_url: String,
    key: Option<SecretString>,
}

impl Gemini {
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

impl Adapter for Gemini {
    fn outgoing(&self, request: &Request<'_>) -> Outgoing {
        let model = segment(request.model);
        Outgoing {
            // Without `alt` the answer is one JSON array.
            url: format!(
                "{}/models/{model}:streamGenerateContent?alt=sse",
                self.base_url
            ),
            headers: vec![("accept".into(), "text/event-stream".to_owned())],
            auth: self.key.clone().map(|key| ("x-goog-api-key".into(), key)),
            body: body(request),
        }
    }

    fn converter(&self, _request: &Request<'_>) -> Box<dyn Converter> {
        Box::new(convert::Contents::default())
    }

    fn params(&self, _model: &str) -> &'static [&'static str] {
        &[
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "reasoning_effort",
            "thinking_budget_tokens",
        ]
    }
}

/// The model as one segment of a path: lists name it `models/…`, everybody else without.
fn segment(model: &str) -> String {
    let name = model.strip_prefix("models/").unwrap_or(model);
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

fn body(request: &Request<'_>) -> Value {
    // The API has no verbosity and no tier: they are not sent.
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
        thinking_budget_tokens,
        verbosity: _,
        service_tier: _,
    } = request.params;
    let mut body = json!({
        "contents": request.prompt.messages.iter().map(content).collect::<Vec<_>>(),
    });
    if let Some(system) = &request.prompt.system {
        body["systemInstruction"] = json!({"parts": [{"text": system}]});
    }
    let stop = stop.as_ref().filter(|stop| !stop.is_empty());
    for (field, value) in [
        ("maxOutputTokens", max_tokens.map(Value::from)),
        ("temperature", temperature.map(Value::from)),
        ("topP", top_p.map(Value::from)),
        ("topK", top_k.map(Value::from)),
        ("stopSequences", stop.map(|stop| json!(stop))),
        ("seed", seed.map(Value::from)),
        ("presencePenalty", presence_penalty.map(Value::from)),
        ("frequencyPenalty", frequency_penalty.map(Value::from)),
    ] {
        if let Some(value) = value {
            body["generationConfig"][field] = value;
        }
    }
    // Models that do not think refuse the object: it goes only where somebody has asked for thinking. The thoughts come with it.
    for (field, value) in [
        (
            "thinkingLevel",
            reasoning_effort.as_ref().map(|word| json!(word)),
        ),
        ("thinkingBudget", thinking_budget_tokens.map(Value::from)),
    ] {
        if let Some(value) = value {
            let config = &mut body["generationConfig"]["thinkingConfig"];
            config[field] = value;
            config["includeThoughts"] = json!(true);
        }
    }
    body
}

fn content(message: &PromptMessage) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "model",
    };
    json!({"role": role, "parts": [{"text": message.text}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment_whatever_it_is_called() {
        for (model, expected) in [
            ("gemini-3.8-flash", "gemini-3.8-flash"),
            ("models/gemini-3.8-flash", "gemini-3.8-flash"),
            ("a/../../b", "a%2F..%2F..%2Fb"),
            ("..", ".."),
            ("%2e%2e/x", "%252e%252e%2Fx"),
            ("m?key=1#f&x", "m%3Fkey%3D1%23f%26x"),
            ("m:countTokens", "m%3AcountTokens"),
            ("\\m\t\r\n@h", "%5Cm%09%0D%0A%40h"),
            ("модель", "%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C"),
        ] {
            assert_eq!(segment(model), expected);
            // As the client reads it.
            let written = format!("http://host/v1beta/models/{expected}:verb?alt=sse");
            let url = url::Url::parse(&written).unwrap();
            assert_eq!(url.path(), format!("/v1beta/models/{expected}:verb"));
            assert_eq!(url.query(), Some("alt=sse"));
            assert_eq!(url.host_str(), Some("host"));
        }
    }
}
