//! Every recorded body and every recorded refusal, whole, in pieces, and cut anywhere.

use std::{collections::BTreeMap, path::Path};

use parley::conversation::{FailureCode, StopReason};
use proptest::prelude::*;
use serde_json::Value;

use super::{ANTHROPIC, GEMINI, Heard, OPENAI, RESPONSES, hear, server::Canned};

pub(super) fn manifest() -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read("tests/fixtures/MANIFEST.json").unwrap()).unwrap()
}

pub(super) fn kind_of(entry: &Value) -> &'static str {
    match entry["api"].as_str().unwrap() {
        "openai_chat" => OPENAI,
        "openai_responses" => RESPONSES,
        "anthropic_messages" => ANTHROPIC,
        "gemini" => GEMINI,
        other => panic!("no adapter for {other}"),
    }
}

pub(crate) fn canned(name: &str) -> Canned {
    let body = std::fs::read(Path::new("tests/fixtures").join(name)).unwrap();
    let content_type = match name.rsplit_once('.').unwrap().1 {
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        _ => "text/event-stream; charset=utf-8",
    };
    Canned {
        headers: vec![("content-type".into(), content_type.into())],
        ..Canned::stream(body)
    }
}

/// Our stop reason for the provider's word.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "stop" | "completed" | "end_turn" | "pause_turn" | "STOP" => StopReason::EndTurn,
        "length" | "model_length" | "max_output_tokens" | "max_tokens" | "MAX_TOKENS" => {
            StopReason::MaxTokens
        }
        "content_filter" | "SAFETY" | "RECITATION" => StopReason::ContentFilter,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        other => panic!("the manifest's {other:?} has no stop reason"),
    }
}

pub(super) fn check(name: &str, entry: &Value, heard: &Heard) {
    assert_eq!(heard.text, entry["text"].as_str().unwrap(), "{name}");
    let expected = |key: &str| entry[key].as_str().unwrap_or_default();
    assert_eq!(heard.reasoning, expected("reasoning"), "{name}");
    let outcome = entry["outcome"].as_str().unwrap();
    match outcome {
        "ok" | "ok_no_terminator" => assert_eq!(
            heard.finished,
            Some(stop_reason(expected("finish"))),
            "{name}"
        ),
        "no_finish_reason" => assert_eq!(heard.finished, Some(StopReason::Other), "{name}"),
        "refusal" => assert_eq!(heard.finished, Some(StopReason::Refusal), "{name}"),
        "premature_close" => assert_eq!(
            (heard.failure, heard.finished),
            (Some(FailureCode::Truncated), None),
            "{name}"
        ),
        "error" => {
            let code = heard
                .failure
                .unwrap_or_else(|| panic!("{name}: no failure"));
            assert!(
                code != FailureCode::Truncated && heard.finished.is_none(),
                "{name}: {code:?}"
            );
            let expected = match entry["error_type"].as_str() {
                Some("overloaded_error" | "UNAVAILABLE") => FailureCode::Overloaded,
                Some("insufficient_quota") => FailureCode::Permission,
                Some("rate_limit_exceeded" | "RESOURCE_EXHAUSTED") => FailureCode::RateLimited,
                Some("api_error" | "server_error") => FailureCode::Server,
                Some("invalid_request_error") => FailureCode::InvalidRequest,
                _ => code,
            };
            assert_eq!(code, expected, "{name}");
        }
        other => panic!("{name}: an unknown outcome {other}"),
    }
    if outcome != "error" && outcome != "premature_close" {
        assert_eq!(heard.failure, None, "{name}");
    }
    if let Some(words) = entry["refusal"].as_str() {
        assert_eq!(heard.refusal, words, "{name}");
    }
    if let Some([input, output]) = entry["usage"].as_array().map(Vec::as_slice) {
        // The manifest has the provider's raw input; what was cached is apart at Anthropic.
        let cached = heard.usage.cached_input_tokens.unwrap_or(0)
            + heard.usage.cache_write_tokens.unwrap_or(0);
        let ours = heard.usage.input_tokens.map(|all| {
            if kind_of(entry) == ANTHROPIC {
                all - cached
            } else {
                all
            }
        });
        assert_eq!(
            (ours, heard.usage.output_tokens),
            (input.as_u64(), output.as_u64()),
            "{name}"
        );
    }
    if entry.get("usage").is_some_and(Value::is_null) {
        assert!(heard.usage.is_unknown(), "{name}");
    }
    if let Some(cached) = entry["cached"].as_u64() {
        assert_eq!(heard.usage.cached_input_tokens, Some(cached), "{name}");
    }
    if let Some(thoughts) = entry["reasoning_tokens"].as_u64() {
        assert_eq!(heard.usage.reasoning_tokens, Some(thoughts), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_body_is_understood_whole_and_in_pieces() {
    let manifest = manifest();
    assert!(
        manifest.len() >= 110,
        "the recorded bodies are not all there"
    );
    let all = manifest
        .iter()
        .flat_map(|(name, entry)| [usize::MAX, 7, 1].map(|piece| (name, entry, piece)));
    let checks = all.map(|(name, entry, piece)| async move {
        let heard = hear(
            kind_of(entry),
            Canned {
                piece,
                ..canned(name)
            },
        )
        .await;
        check(&format!("{name} in pieces of {piece}"), entry, &heard);
    });
    futures_util::future::join_all(checks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_refusal_has_its_code() {
    let expected = [
        ("anthropic_400_limit", FailureCode::ContextExceeded),
        ("anthropic_400_prefill", FailureCode::InvalidRequest),
        ("anthropic_400_temperature", FailureCode::InvalidRequest),
        ("anthropic_429", FailureCode::RateLimited),
        ("anthropic_529", FailureCode::Overloaded),
        ("gemini_400_field", FailureCode::InvalidRequest),
        ("gemini_400_key", FailureCode::Auth),
        ("gemini_400_length", FailureCode::ContextExceeded),
        ("gemini_403", FailureCode::Permission),
        ("gemini_404", FailureCode::NotFound),
        ("gemini_429", FailureCode::RateLimited),
        ("gemini_503", FailureCode::Overloaded),
        ("openai_400_azure_filter", FailureCode::InvalidRequest),
        ("openai_400_context_size", FailureCode::ContextExceeded),
        ("openai_400_max_tokens", FailureCode::InvalidRequest),
        ("openai_400_roles", FailureCode::InvalidRequest),
        ("openai_400_temperature", FailureCode::InvalidRequest),
        ("openai_401", FailureCode::Auth),
        ("openai_429_rate", FailureCode::RateLimited),
        ("openai_503_loading", FailureCode::Overloaded),
    ];
    let files = std::fs::read_dir("tests/fixtures/http_errors")
        .unwrap()
        .count();
    assert_eq!(files, expected.len());
    for (name, code) in expected {
        let text =
            std::fs::read_to_string(format!("tests/fixtures/http_errors/{name}.json")).unwrap();
        let recorded: Value = serde_json::from_str(&text).unwrap();
        let headers = recorded["headers"].as_object().unwrap();
        let canned = Canned {
            status: u16::try_from(recorded["status"].as_u64().unwrap()).unwrap(),
            headers: headers
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
                .collect(),
            ..Canned::stream(recorded["body"].to_string())
        };
        let kinds: &[&str] = match name.split('_').next() {
            Some("openai") => &[OPENAI, RESPONSES],
            Some("gemini") => &[GEMINI],
            _ => &[ANTHROPIC],
        };
        for kind in kinds {
            let heard = hear(kind, canned.clone()).await;
            assert_eq!(heard.failure, Some(code), "{name}, {kind}");
            let message = recorded["body"]["error"]["message"].as_str().unwrap();
            assert_eq!(heard.message, message, "{name}, {kind}");
        }
    }
}

/// Whatever the place where a body breaks off: it is complete only if the terminal frame was.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_anywhere_is_complete_only_with_its_terminal_frame() {
    for (name, kind, terminal) in [
        (
            "openai_chat/multibyte.sse",
            OPENAI,
            "\"finish_reason\":\"stop\"",
        ),
        (
            "openai_responses/multibyte.sse",
            RESPONSES,
            "\"type\":\"response.completed\"",
        ),
        (
            "anthropic/multibyte.sse",
            ANTHROPIC,
            "\"stop_reason\":\"end_turn\"",
        ),
        ("gemini/multibyte.sse", GEMINI, "\"finishReason\": \"STOP\""),
    ] {
        let body = canned(name).body;
        let at = body
            .windows(terminal.len())
            .position(|window| window == terminal.as_bytes())
            .unwrap();
        let complete = at
            + body[at..]
                .windows(2)
                .position(|two| two == b"\n\n")
                .unwrap()
            + 2;
        // A thousand places of each.
        let step = body.len().div_ceil(1000);
        let checks = (0..=body.len()).step_by(step).map(|cut| {
            let body = body[..cut].to_vec();
            async move {
                let heard = hear(kind, Canned::stream(body)).await;
                assert_eq!(
                    heard.finished.is_some(),
                    cut >= complete,
                    "{name} cut at {cut}"
                );
                assert_eq!(
                    heard.failure.is_some(),
                    cut < complete,
                    "{name} cut at {cut}"
                );
            }
        });
        futures_util::future::join_all(checks).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The pieces in which bytes arrive change nothing.
    #[test]
    fn pieces_change_nothing(piece in 1usize..400) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (name, kind) in [
            ("openai_compat/openrouter_comments.sse", OPENAI),
            ("openai_responses/reasoning_summary.sse", RESPONSES),
            ("anthropic/thinking.sse", ANTHROPIC),
            ("gemini/thoughts.sse", GEMINI),
        ] {
            let whole = runtime.block_on(hear(kind, canned(name)));
            let pieces = runtime.block_on(hear(kind, Canned { piece, ..canned(name) }));
            prop_assert_eq!(&whole, &pieces);
        }
    }
}
