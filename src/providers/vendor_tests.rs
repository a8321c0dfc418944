//! What goes out to the vendors' own addresses, which no test can ask: with parameters as their models take them today.

use super::{
    Request,
    prefix_tests::{WAYS, adapter},
};
use crate::conversation::{Params, Prompt, PromptMessage, Role};

/// The request, laid out for reading.
fn sent(kind: &str, layout: &str, model: &str, params: &Params, show_reasoning: bool) -> String {
    let way = WAYS
        .iter()
        .position(|(name, _, vendor, place)| *name == kind && *vendor && place.messages == layout)
        .unwrap();
    let message = |role, text: &str| PromptMessage {
        role,
        text: text.into(),
    };
    let prompt = Prompt {
        system: Some("Be brief.".into()),
        messages: vec![
            message(Role::User, "Tea?"),
            message(Role::Assistant, "Yes."),
            message(Role::User, "Why?"),
        ],
    };
    let outgoing = adapter(way).outgoing(&Request {
        model,
        prompt: &prompt,
        params,
        cache_key: "run:0",
        show_reasoning,
        trace: None,
    });
    let headers = outgoing.headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    let (key, _) = outgoing.auth.as_ref().unwrap();
    let body = serde_json::to_string_pretty(&outgoing.body).unwrap();
    format!("POST {}\n{headers}{key}: [key]\n\n{body}", outgoing.url)
}

fn samples() -> Params {
    Params {
        max_tokens: Some(2048),
        temperature: Some(0.5),
        top_p: Some(0.9),
        service_tier: Some("flex".into()),
        ..Params::default()
    }
}

fn thinks(effort: &str) -> Params {
    Params {
        reasoning_effort: Some(effort.into()),
        ..Params::default()
    }
}

#[test]
fn chat_completions_of_a_model_without_reasoning() {
    let params = Params {
        stop: Some(vec!["END".into()]),
        seed: Some(7),
        presence_penalty: Some(-0.5),
        frequency_penalty: Some(1.5),
        ..samples()
    };
    insta::assert_snapshot!(sent("openai", "messages", "gpt-4.1", &params, true));
}

#[test]
fn chat_completions_of_a_model_that_reasons() {
    let params = Params {
        verbosity: Some("low".into()),
        ..thinks("high")
    };
    insta::assert_snapshot!(sent("openai", "messages", "gpt-6-luna", &params, true));
}

#[test]
fn responses_of_a_model_that_may_but_does_not_reason() {
    let params = Params {
        reasoning_effort: Some("none".into()),
        ..samples()
    };
    insta::assert_snapshot!(sent("openai", "input", "gpt-5.4-mini", &params, true));
}

#[test]
fn responses_of_a_model_that_reasons_and_tells() {
    let params = Params {
        verbosity: Some("low".into()),
        ..thinks("xhigh")
    };
    insta::assert_snapshot!(sent("openai", "input", "gpt-6-luna", &params, true));
}

#[test]
fn messages_of_a_model_without_sampling() {
    let params = Params {
        stop: Some(vec!["END".into()]),
        service_tier: Some("standard_only".into()),
        ..thinks("max")
    };
    insta::assert_snapshot!(sent(
        "anthropic",
        "messages",
        "claude-sonnet-5-5",
        &params,
        true
    ));
}

#[test]
fn messages_of_a_model_that_samples() {
    let params = Params {
        temperature: Some(0.5),
        top_k: Some(40),
        ..Params::default()
    };
    insta::assert_snapshot!(sent(
        "anthropic",
        "messages",
        "claude-haiku-4-5",
        &params,
        true
    ));
}

#[test]
fn messages_of_a_model_with_a_budget_for_thinking() {
    let params = Params {
        thinking_budget_tokens: Some(2048),
        ..Params::default()
    };
    insta::assert_snapshot!(sent(
        "anthropic",
        "messages",
        "claude-haiku-4-5",
        &params,
        true
    ));
}

#[test]
fn contents_of_a_model_that_thinks() {
    insta::assert_snapshot!(sent(
        "gemini",
        "contents",
        "gemini-3.8-flash",
        &thinks("low"),
        true
    ));
}
