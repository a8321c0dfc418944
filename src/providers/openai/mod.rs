//! `OpenAI`, by the two of its APIs, and every server compatible with one of them.
//!
//! Which API is asked is decided by the settings and, where they leave it open, by the address and the model: `OpenAI` itself is
//! asked by Responses, others by Chat Completions, which all of them have. The simulator counts among the others.
//!
//! Caching is left to the service but for `prompt_cache_key`, which brings a bot's requests to where its last one was cached. By
//! itself the service ends what it caches at the newest user message, which is where a growing conversation wants it. Breakpoints of
//! our own (`prompt_cache_options`) would cost the same, older models refuse them, and assistant's messages cannot have them.

mod chat;
mod responses;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use secrecy::SecretString;

use super::{
    Api, Dialect, Kind, ProviderConfig, Request,
    adapter::{Adapter, Converter, Outgoing, bearer},
};
use crate::conversation::{AttemptFailure, FailureCode};

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
    api: Api,
    base_url: String,
    /// Whether it is `OpenAI` itself.
    vendor: bool,
    auth: Option<SecretString>,
    dialect: Dialect,
    /// Whether usage is not asked for: by the settings, or because the server has refused `stream_options`. Asking for usage is worth one refusal, not one a turn.
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
        Self {
            api: config.api,
            vendor: base_url == KIND.vendor_url,
            auth: config.api_key.as_ref().map(bearer),
            base_url,
            dialect: config.dialect,
            plain: AtomicBool::new(!config.dialect.include_usage),
        }
    }

    /// The API that this model is asked by.
    fn asked(&self, model: &str) -> Asked {
        match self.api {
            Api::ChatCompletions => Asked::Chat,
            Api::Responses => Asked::Responses,
            Api::Auto if self.vendor || only_by_responses(model) => Asked::Responses,
            Api::Auto => Asked::Chat,
        }
    }
}

/// Which of the two APIs is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Chat,
    Responses,
}

/// Whether only the Responses API serves a model of that name.
///
/// `OpenAI` names such models by what they are for: `gpt-5.5-pro`, `gpt-5.1-codex-max`, `o3-deep-research`, `gpt-6-cyber`. The
/// word counts as a whole part of the name only, and only in names as `OpenAI` gives them: others' `-pro` models, and `OpenAI`'s
/// own behind a gateway's prefix (`openai/gpt-5.5-pro`), are served by Chat Completions there.
fn only_by_responses(model: &str) -> bool {
    const WORDS: [&str; 7] = [
        "pro", "codex", "research", "cyber", "rosalind", "daybreak", "law",
    ];
    let mut parts = model.split('-');
    let family = parts.next().unwrap_or_default();
    let numbered = |letter: char| {
        family
            .strip_prefix(letter)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let special = matches!(family, "codex" | "computer");
    special || (family == "gpt" || numbered('o')) && parts.any(|part| WORDS.contains(&part))
}

impl Adapter for OpenAi {
    fn outgoing(&self, request: &Request<'_>) -> Outgoing {
        let (path, body) = match self.asked(request.model) {
            Asked::Chat => {
                let asks_for_usage = !self.plain.load(Ordering::Relaxed);
                let body = chat::body(request, self.vendor, &self.dialect, asks_for_usage);
                (chat::PATH, body)
            }
            Asked::Responses => (responses::PATH, responses::body(request, self.vendor)),
        };
        Outgoing {
            url: format!("{}{path}", self.base_url),
            headers: vec![("accept".into(), "text/event-stream".to_owned())],
            auth: self
                .auth
                .clone()
                .map(|bearer| ("authorization".into(), bearer)),
            body,
        }
    }

    fn converter(&self, request: &Request<'_>) -> Box<dyn Converter> {
        match self.asked(request.model) {
            Asked::Chat => Box::new(chat::Chat::default()),
            Asked::Responses => Box::new(responses::Responses::default()),
        }
    }

    fn params(&self, model: &str) -> &'static [&'static str] {
        match self.asked(model) {
            Asked::Chat => chat::PARAMS,
            Asked::Responses => responses::PARAMS,
        }
    }

    fn strange_words(&self, model: &str) -> &'static [(&'static str, &'static str)] {
        match self.asked(model) {
            Asked::Chat => chat::STRANGE_WORDS,
            Asked::Responses => &[],
        }
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
    use serde_json::{Value, json};

    use super::*;
    use crate::conversation::{Params, Prompt, PromptMessage, Role};

    fn adapter(api: Api, base_url: Option<&str>) -> OpenAi {
        OpenAi::new(&ProviderConfig {
            name: "openai".into(),
            kind: &KIND,
            api,
            base_url: base_url.map(str::to_owned),
            query: vec![],
            headers: vec![],
            key_header: None,
            dialect: Dialect::default(),
            think_tags: false,
            max_concurrent: None,
            requests_per_minute: None,
            api_key: Some("test-key".to_owned().into()),
            api_key_env: "OPENAI_API_KEY".into(),
            simulated: false,
            models: vec![],
        })
    }

    fn outgoing(adapter: &OpenAi, model: &str) -> Outgoing {
        let message = PromptMessage {
            role: Role::User,
            text: "Tea?".into(),
        };
        let prompt = Prompt {
            system: Some("Be brief.".into()),
            messages: vec![message],
        };
        let params = Params {
            max_tokens: Some(99),
            ..Params::default()
        };
        adapter.outgoing(&Request {
            model,
            prompt: &prompt,
            params: &params,
            cache_key: "run:0",
            show_reasoning: false,
            trace: None,
        })
    }

    /// `OpenAI`'s own address cannot be asked in a test: what would be sent there is looked at here.
    fn sent_to_the_vendor(api: Api, url: &str, body: &Value) {
        let outgoing = outgoing(&adapter(api, None), "m");
        assert_eq!(outgoing.url, url);
        assert_eq!(&outgoing.body, body);
        assert!(!format!("{outgoing:?}").contains("test-key"));
    }

    #[test]
    fn openai_itself_gets_its_own_fields_of_responses() {
        let body = json!({
            "model": "m",
            "instructions": "Be brief.",
            "input": [{"type": "message", "role": "user", "content": "Tea?"}],
            "store": false,
            "stream": true,
            "stream_options": {"include_obfuscation": false},
            "prompt_cache_key": "run:0",
            "max_output_tokens": 99,
        });
        for api in [Api::Auto, Api::Responses] {
            sent_to_the_vendor(api, "https://api.openai.com/v1/responses", &body);
        }
    }

    #[test]
    fn openai_itself_gets_its_own_fields_of_chat_completions() {
        let url = "https://api.openai.com/v1/chat/completions";
        let body = json!({
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}],
            "stream": true,
            "stream_options": {"include_usage": true, "include_obfuscation": false},
            "prompt_cache_key": "run:0",
            "store": false,
            "max_completion_tokens": 99,
        });
        sent_to_the_vendor(Api::ChatCompletions, url, &body);
    }

    #[test]
    fn the_settings_the_address_and_the_model_say_which_api_is_asked() {
        let local = Some("http://localhost:8080/v1");
        let path = |api, base, model| {
            let url = outgoing(&adapter(api, base), model).url;
            url.rsplit_once("/v1").map(|(_, path)| path.to_owned())
        };
        for (api, base, model, expected) in [
            (Api::Auto, None, "gpt-6-luna", responses::PATH),
            (Api::Auto, None, "gpt-5.5-pro", responses::PATH),
            (Api::Auto, local, "gpt-6-luna", chat::PATH),
            (Api::Auto, local, "qwen3", chat::PATH),
            (Api::Auto, local, "gpt-5.5-pro", responses::PATH),
            (Api::ChatCompletions, None, "gpt-6-luna", chat::PATH),
            (Api::ChatCompletions, local, "gpt-5.5-pro", chat::PATH),
            (Api::Responses, local, "qwen3", responses::PATH),
        ] {
            assert_eq!(
                path(api, base, model).as_deref(),
                Some(expected),
                "{api:?} {base:?} {model}"
            );
        }
        assert_eq!(adapter(Api::Auto, None).params(""), responses::PARAMS);
        let compatible = adapter(Api::Auto, local);
        assert_eq!(compatible.params(""), chat::PARAMS);
        assert_eq!(compatible.params("gpt-5.5-pro"), responses::PARAMS);
        let words = |api| adapter(api, None).strange_words("gpt-6.2-sol");
        assert_eq!(words(Api::Responses), []);
        assert_eq!(words(Api::ChatCompletions), chat::STRANGE_WORDS);
    }

    #[test]
    fn models_of_responses_alone_are_known_by_a_part_of_their_name() {
        for model in [
            "o1-pro",
            "o3-pro-2025-06-10",
            "gpt-5.5-pro",
            "gpt-5-codex",
            "gpt-5.1-codex-max",
            "codex-mini-latest",
            "o4-mini-deep-research",
            "computer-use-preview-2025-03-11",
            "gpt-6-cyber",
            "gpt-6-rosalind",
            "gpt-rosalind-research",
            "gpt-daybreak-blue-latest",
            "gpt-6.2-astra-law",
        ] {
            assert!(only_by_responses(model), "{model}");
        }
        for model in [
            "",
            "gpt-6-luna",
            "gpt-6.2-astra",
            "gpt-5.4-mini",
            "gpt-4o",
            "o3",
            "gpt-oss-120b",
            "gpt-5.5-prompt",
            "gpt-lawyer",
            "gemini-3-pro",
            "mimo-v2-pro",
            "openai/gpt-5.5-pro",
            "opus-pro",
            "pro",
        ] {
            assert!(!only_by_responses(model), "{model}");
        }
    }
}
