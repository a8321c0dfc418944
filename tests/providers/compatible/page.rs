//! `docs/compatible-servers.md`: each block of settings on it is read as a server reads it, and what it says is done.

use std::collections::BTreeMap;

use parley::{
    app::provider_config,
    conversation::Params,
    providers::{KINDS, Registry, Request},
    settings::{ApiKind, Environment, Settings},
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use super::super::{
    Heard, listen_to, prompt,
    recorded::{canned, check, manifest},
    server::CannedServer,
};
use crate::support::within;

const KEY: &str = "canary-of-the-page";

/// What a block must come to: its heading, the target of its requests, the headers beside those of every request, the variable of its
/// key (empty: it is asked without), members of the body, and a body as such a server sends it.
struct Row {
    heading: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    key: &'static str,
    body: &'static [(&'static str, Option<&'static str>)],
    answer: &'static str,
}

/// What Chat Completions are asked with where nothing else is said.
const PLAIN: &[(&str, Option<&str>)] = &[
    ("/max_tokens", Some("99")),
    ("/max_completion_tokens", None),
    ("/stream_options/include_usage", Some("true")),
    ("/messages/0/role", Some("\"system\"")),
];
/// What OpenAI's newer models are asked with.
const NEWER: &[(&str, Option<&str>)] = &[
    ("/max_tokens", None),
    ("/max_completion_tokens", Some("99")),
    ("/messages/0/role", Some("\"system\"")),
];
const UNASKED: &[(&str, Option<&str>)] = &[
    ("/max_tokens", Some("99")),
    ("/stream_options", None),
    ("/messages/0/role", Some("\"system\"")),
];
const MESSAGES: &[(&str, Option<&str>)] = &[
    ("/max_tokens", Some("99")),
    ("/stream_options", None),
    ("/system/0/text", Some("\"Be brief.\"")),
    ("/messages/0/role", Some("\"user\"")),
];

const ROWS: &[Row] = &[
    Row {
        heading: "llama.cpp",
        target: "/v1/chat/completions",
        headers: &[],
        key: "",
        body: PLAIN,
        answer: "captured_llama_server/chat.sse",
    },
    Row {
        heading: "llama.cpp, asked by Messages",
        target: "/v1/messages",
        headers: &[("anthropic-version", "2023-06-01")],
        key: "",
        body: MESSAGES,
        answer: "captured_llama_server/messages.sse",
    },
    Row {
        heading: "vLLM",
        target: "/v1/chat/completions",
        headers: &[],
        key: "",
        body: PLAIN,
        answer: "openai_compat/vllm_reasoning_field.sse",
    },
    Row {
        heading: "Ollama",
        target: "/v1/chat/completions",
        headers: &[],
        key: "",
        body: PLAIN,
        answer: "openai_compat/empty_finish_reason.sse",
    },
    Row {
        heading: "OpenRouter",
        target: "/api/v1/chat/completions",
        headers: &[
            ("authorization", "Bearer [key]"),
            ("http-referer", "https://parley.example"),
            ("x-title", "Parley"),
        ],
        key: "OPENROUTER_API_KEY",
        body: PLAIN,
        answer: "openai_compat/openrouter_comments.sse",
    },
    Row {
        heading: "Groq",
        target: "/openai/v1/chat/completions",
        headers: &[("authorization", "Bearer [key]")],
        key: "GROQ_API_KEY",
        body: PLAIN,
        answer: "openai_compat/groq_x_groq.sse",
    },
    Row {
        heading: "DeepSeek",
        target: "/v1/chat/completions",
        headers: &[("authorization", "Bearer [key]")],
        key: "DEEPSEEK_API_KEY",
        body: PLAIN,
        answer: "openai_compat/deepseek_reasoning_content.sse",
    },
    Row {
        heading: "Mistral",
        target: "/v1/chat/completions",
        headers: &[("authorization", "Bearer [key]")],
        key: "MISTRAL_API_KEY",
        body: UNASKED,
        answer: "openai_compat/magistral_parts.sse",
    },
    Row {
        heading: "Azure OpenAI",
        target: "/openai/v1/chat/completions",
        headers: &[("api-key", "[key]")],
        key: "AZURE_OPENAI_API_KEY",
        body: NEWER,
        answer: "openai_compat/azure_filters.sse",
    },
    Row {
        heading: "Azure OpenAI, by deployments",
        target: "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        headers: &[("api-key", "[key]")],
        key: "AZURE_OPENAI_API_KEY",
        body: PLAIN,
        answer: "openai_compat/azure_filtered.sse",
    },
    Row {
        heading: "A gateway for Messages",
        target: "/anthropic/v1/messages",
        headers: &[
            ("anthropic-version", "2023-06-01"),
            ("authorization", "Bearer [key]"),
        ],
        key: "GATEWAY_TOKEN",
        body: MESSAGES,
        answer: "anthropic/no_event_names.sse",
    },
];

/// The blocks of settings on the page, by their headings.
fn blocks() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string("docs/compatible-servers.md").unwrap();
    let mut blocks = BTreeMap::new();
    for section in page.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap().to_owned();
        let mut pieces = section.split("```yaml\n");
        let yaml = pieces.nth(1).map(|rest| rest.split("```").next().unwrap());
        assert!(pieces.next().is_none(), "{heading}: one block a section");
        let yaml = yaml.unwrap_or_else(|| panic!("{heading}: no block"));
        assert!(blocks.insert(heading, yaml.to_owned()).is_none());
    }
    assert_eq!(page.matches("```yaml").count(), blocks.len());
    blocks
}

/// The settings of a block, in an environment that has its key.
fn read(row: &Row, yaml: &str) -> Settings {
    let yaml: Value = serde_yaml_ng::from_str(yaml).unwrap();
    // Another's key is nobody's business.
    let keys = [(row.key, KEY), ("ANOTHERS_API_KEY", "another-key")];
    let env = Environment::from_pairs(keys);
    let kinds = KINDS.map(|kind| ApiKind {
        name: kind.name,
        vendor_url: kind.vendor_url,
        models: kind.models,
    });
    Settings::load(yaml.get("settings"), &env, &kinds, false)
        .unwrap_or_else(|errors| panic!("{}: {errors}", row.heading))
}

#[tokio::test]
async fn every_block_of_the_page_is_settings_that_do_what_it_says() {
    let blocks = blocks();
    let headings: Vec<&str> = blocks.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = ROWS.iter().map(|row| row.heading).collect();
    expected.sort_unstable();
    assert_eq!(headings, expected);
    for row in ROWS {
        run(row, &blocks[row.heading]).await;
    }
}

async fn run(row: &Row, yaml: &str) {
    let server = CannedServer::start(canned(row.answer)).await;
    let mut config = provider_config(
        &read(row, yaml),
        None,
        parley::conversation::Meter::default(),
    );
    // The kinds' own names are always there.
    config
        .providers
        .retain(|provider| KINDS.iter().all(|kind| kind.name != provider.name));
    let [provider] = config.providers.as_mut_slice() else {
        panic!("{}: one provider a block", row.heading);
    };
    let name = provider.name.clone();
    let key = provider.api_key.as_ref().map(|key| key.expose_secret());
    assert_eq!(key, Some(KEY).filter(|_| !row.key.is_empty()), "{name}");
    if !row.key.is_empty() {
        assert_eq!(provider.api_key_env, row.key, "{name}");
    }
    // The same address on this machine.
    let written = Url::parse(provider.base_url.as_deref().unwrap()).unwrap();
    provider.base_url = Some(format!("{}{}", server.base, written.path()));
    let model = provider.models.first().cloned();
    let registry = Registry::new(config).unwrap();
    let params = Params {
        max_tokens: Some(99),
        ..Params::default()
    };
    let request = Request {
        model: model.as_deref().unwrap_or("some-model"),
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
        show_reasoning: false,
        trace: None,
    };
    let provider = registry.get(&name).unwrap();
    let place = provider.admitted(request.model).await;
    let mut reply = provider.send(place, request).await.unwrap();
    let mut heard = Heard::default();
    within("the answer", listen_to(&mut reply, &mut heard))
        .await
        .unwrap();
    check(&name, &manifest()[row.answer], &heard);
    let seen = server.requests.lock().unwrap().pop().unwrap();
    sent_as_said(row, request.model, &seen);
}

fn sent_as_said(row: &Row, model: &str, request: &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let first = format!("POST {} HTTP/1.1", row.target);
    assert_eq!(lines.next(), Some(first.as_str()));
    let usual = [
        "accept",
        "content-type",
        "content-length",
        "host",
        "user-agent",
    ];
    let mut headers: Vec<(&str, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .filter(|(name, _)| !usual.contains(name))
        .map(|(name, value)| (name, value.replace(KEY, "[key]")))
        .collect();
    headers.sort();
    let expected: Vec<(&str, String)> = row
        .headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    assert_eq!(headers, expected, "{}", row.heading);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["model"], model, "{}", row.heading);
    for (pointer, value) in row.body {
        let found = body.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), *value, "{} {pointer}", row.heading);
    }
    assert!(!body.to_string().contains(KEY));
}
