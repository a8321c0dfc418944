//! `OpenAI`'s Chat Completions, and every server compatible with it.
//!
//! `OpenAI`'s own address and compatible servers differ in what they take: the limit on output is `max_completion_tokens` there
//! and `max_tokens` here, and `prompt_cache_key` and `include_obfuscation` are `OpenAI`'s alone. The system prompt has the role
//! `system` for both: `OpenAI` accepts it, and the others know no `developer`.

mod convert;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Kind, ProviderConfig, Request,
    adapter::{Adapter, Converter, Outgoing, messages},
};
use crate::conversation::{AttemptFailure, FailureCode, Params};

/// What the room is told of it.
pub(super) const KIND: Kind = Kind {
    name: "openai",
    vendor_url: "https://api.openai.com/v1",
    path: "/v1",
    models: &["gpt-6-luna", "gpt-6.2-sol"],
    adapter: |config| Arc::new(OpenAi::new(config)),
};

/// The adapter.
pub(super) struct OpenAi {
    base_url: String,
    /// Whether it is `OpenAI` itself.
    vendor: bool,
    auth: Option<SecretString>,
    /// Whether the server has refused `stream_options`. Asking for usage is worth one refusal, not one a turn.
    plain: AtomicBool,
}

impl OpenAi {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        let base_url = config
            .base_url
            .as_deref()
            .unwrap_or(KIND.vendor_url)
            .trim_end_matches('/')
            .to_owned();
        let bearer =
            |key: &SecretString| SecretString::from(format!("Bearer {}", key.expose_secret()));
        Self {
            vendor: base_url == KIND.vendor_url,
            auth: config.api_key.as_ref().map(bearer),
            base_url,
            plain: AtomicBool::new(false),
        }
    }

    fn body(&self, request: &Request<'_>) -> Value {
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
        if !self.plain.load(Ordering::Relaxed) {
            body["stream_options"] = json!({"include_usage": true});
        }
        if self.vendor {
            body["stream_options"]["include_obfuscation"] = json!(false);
            body["prompt_cache_key"] = json!(request.cache_key);
        }
        set_params(&mut body, request.params, self.vendor);
        body
    }
}

/// The parameters in Chat's own fields. Which of them the model takes was checked before.
fn set_params(body: &mut Value, params: &Params, vendor: bool) {
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
    let limit = if vendor {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
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

impl Adapter for OpenAi {
    fn outgoing(&self, request: &Request<'_>) -> Outgoing {
        Outgoing {
            url: format!("{}/chat/completions", self.base_url),
            headers: vec![("accept".into(), "text/event-stream".to_owned())],
            auth: self
                .auth
                .clone()
                .map(|bearer| ("authorization".into(), bearer)),
            body: self.body(request),
        }
    }

    fn converter(&self, _request: &Request<'_>) -> Box<dyn Converter> {
        Box::new(convert::Chat::default())
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
            "verbosity",
            "service_tier",
        ]
    }

    /// Some servers answer 400 or 422 to `stream_options`: they get the request without it.
    fn learns_from(&self, failure: &AttemptFailure) -> bool {
        let refused = failure.failure.code == FailureCode::InvalidRequest
            && failure.failure.message.contains("stream_options");
        refused && !self.vendor && !self.plain.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::{Prompt, PromptMessage, Role},
        providers::Api,
    };

    /// `OpenAI`'s own address cannot be asked in a test: what would be sent there is looked at here.
    #[test]
    fn openai_itself_gets_its_own_fields() {
        let adapter = OpenAi::new(&ProviderConfig {
            name: "openai".into(),
            kind: &KIND,
            api: Api::Auto,
            base_url: None,
            query: vec![],
            headers: vec![],
            key_header: None,
            think_tags: false,
            api_key: Some("test-key".to_owned().into()),
            api_key_env: "OPENAI_API_KEY".into(),
            simulated: false,
            models: vec![],
        });
        let message = PromptMessage {
            role: Role::User,
            text: "Tea?".into(),
        };
        let prompt = Prompt {
            system: None,
            messages: vec![message],
        };
        let params = Params {
            max_tokens: Some(9),
            ..Params::default()
        };
        let request = Request {
            model: "m",
            prompt: &prompt,
            params: &params,
            cache_key: "run:0",
        };
        let outgoing = adapter.outgoing(&request);
        assert_eq!(outgoing.url, "https://api.openai.com/v1/chat/completions");
        assert_eq!(
            outgoing.body,
            json!({
                "model": "m",
                "messages": [{"role": "user", "content": "Tea?"}],
                "stream": true,
                "stream_options": {"include_usage": true, "include_obfuscation": false},
                "prompt_cache_key": "run:0",
                "max_completion_tokens": 9,
            })
        );
        assert!(!format!("{outgoing:?}").contains("test-key"));
    }
}
