//! The adapters, through a real HTTP server of bytes: every recorded body, every deviation, every way to break off.

mod deviations;
mod requests;
mod server;

use std::{collections::BTreeMap, path::Path, time::Duration};

use parley::{
    conversation::{
        AttemptFailure, FailureCode, Params, Prompt, PromptMessage, Role, StopReason, Usage,
    },
    providers::{Api, Config, Kind, Part, ProviderConfig, Registry, Request, Timeouts},
};
use proptest::prelude::*;
use serde_json::Value;
use server::{Canned, CannedServer};

use crate::support::within;

pub(crate) const OPENAI: &str = "openai";
pub(crate) const ANTHROPIC: &str = "anthropic";

/// What an answer came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: String,
    pub(crate) usage: Usage,
    pub(crate) finished: Option<StopReason>,
    pub(crate) failure: Option<FailureCode>,
    pub(crate) message: String,
}

pub(crate) fn registry(kind: &str, base: &str, timeouts: Timeouts) -> Registry {
    let kind = Kind::named(kind).unwrap();
    let base_url = format!("{base}{}", kind.path);
    let provider = ProviderConfig {
        name: "p".into(),
        kind,
        api: Api::Auto,
        query: vec![],
        headers: vec![],
        key_header: None,
        think_tags: false,
        base_url: Some(base_url),
        api_key: Some("canary-key".to_owned().into()),
        api_key_env: "P_KEY".into(),
        simulated: false,
        models: vec![],
    };
    Registry::new(Config {
        providers: vec![provider],
        timeouts,
        max_event_bytes: 1024 * 1024,
    })
    .unwrap()
}

pub(crate) const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_delta: Duration::from_secs(20),
    idle: Duration::from_secs(20),
    usage: Duration::from_secs(2),
};

pub(crate) fn prompt() -> Prompt {
    let message = |role, text: &str| PromptMessage {
        role,
        text: text.into(),
    };
    Prompt {
        system: Some("Be brief.".into()),
        messages: vec![
            message(Role::User, "Tea?"),
            message(Role::Assistant, "Yes."),
            message(Role::User, "Why?"),
        ],
    }
}

/// Asks, and listens to the end.
pub(crate) async fn ask(registry: &Registry) -> Heard {
    let mut heard = Heard::default();
    let params = Params::default();
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
    };
    let listened = within("the answer", listen(registry, request, &mut heard)).await;
    if let Err(AttemptFailure { failure, .. }) = listened {
        heard.failure = Some(failure.code);
        heard.message = failure.message;
    }
    heard
}

async fn listen(
    registry: &Registry,
    request: Request<'_>,
    heard: &mut Heard,
) -> Result<(), AttemptFailure> {
    let mut reply = registry.get("p").unwrap().send(request).await?;
    while let Some(part) = reply.next().await? {
        match part {
            Part::Text(text) => {
                assert!(heard.finished.is_none() && !text.is_empty());
                heard.text.push_str(&text);
            }
            Part::Reasoning(text) => heard.reasoning.push_str(&text),
            Part::Refusal(text) => heard.refusal.push_str(&text),
            Part::Usage(usage) => heard.usage = heard.usage.updated_by(usage),
            Part::Finished(reason) => {
                assert!(heard.finished.replace(reason).is_none(), "finished twice");
            }
        }
    }
    Ok(())
}

pub(crate) async fn hear(kind: &str, canned: Canned) -> Heard {
    let server = CannedServer::start(canned).await;
    ask(&registry(kind, &server.base, PATIENT)).await
}

fn manifest() -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read("tests/fixtures/MANIFEST.json").unwrap()).unwrap()
}

fn kind_of(entry: &Value) -> &'static str {
    match entry["api"].as_str().unwrap() {
        "openai_chat" => OPENAI,
        "anthropic_messages" => ANTHROPIC,
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
        "stop" | "end_turn" | "pause_turn" => StopReason::EndTurn,
        "length" | "max_tokens" => StopReason::MaxTokens,
        "content_filter" => StopReason::ContentFilter,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        other => panic!("the manifest's {other:?} has no stop reason"),
    }
}

fn check(name: &str, entry: &Value, heard: &Heard) {
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
                Some("overloaded_error") => FailureCode::Overloaded,
                Some("insufficient_quota") => FailureCode::Permission,
                Some("api_error" | "server_error") => FailureCode::Server,
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
        manifest.len() >= 49,
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
        ("anthropic_400_prefill", FailureCode::InvalidRequest),
        ("anthropic_400_temperature", FailureCode::InvalidRequest),
        ("anthropic_429", FailureCode::RateLimited),
        ("anthropic_529", FailureCode::Overloaded),
        ("openai_400_max_tokens", FailureCode::InvalidRequest),
        ("openai_400_temperature", FailureCode::InvalidRequest),
        ("openai_401", FailureCode::Auth),
        ("openai_429_rate", FailureCode::RateLimited),
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
        let kind = if name.starts_with("openai") {
            OPENAI
        } else {
            ANTHROPIC
        };
        let heard = hear(kind, canned).await;
        assert_eq!(heard.failure, Some(code), "{name}");
        let message = recorded["body"]["error"]["message"].as_str().unwrap();
        assert_eq!(heard.message, message, "{name}");
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
            "anthropic/multibyte.sse",
            ANTHROPIC,
            "\"stop_reason\":\"end_turn\"",
        ),
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
        let checks = (0..=body.len()).step_by(3).map(|cut| {
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
        for (name, kind) in [("openai_compat/openrouter_comments.sse", OPENAI), ("anthropic/thinking.sse", ANTHROPIC)] {
            let whole = runtime.block_on(hear(kind, canned(name)));
            let pieces = runtime.block_on(hear(kind, Canned { piece, ..canned(name) }));
            prop_assert_eq!(&whole, &pieces);
        }
    }
}

#[tokio::test]
async fn endless_lines_and_huge_events_are_cut_off() {
    for body in [
        format!("data: {}", "x".repeat(3_000_000)),
        "x".repeat(3_000_000),
        format!(": {}", "x".repeat(3_000_000)),
    ] {
        let heard = hear(
            OPENAI,
            Canned {
                piece: 65_536,
                ..Canned::stream(body)
            },
        )
        .await;
        assert_eq!(
            heard.failure,
            Some(FailureCode::Malformed),
            "{}",
            heard.message
        );
    }
}

#[tokio::test]
async fn what_is_no_stream_is_malformed_whatever_it_says() {
    let page = |content_type: &str, body: &str| Canned {
        headers: vec![("content-type".into(), content_type.into())],
        ..Canned::stream(body)
    };
    assert_eq!(
        hear(OPENAI, page("text/html", "<html>")).await.failure,
        Some(FailureCode::Malformed)
    );
    assert_eq!(
        hear(ANTHROPIC, page("application/json", "{}"))
            .await
            .failure,
        Some(FailureCode::Malformed)
    );
    assert_eq!(
        hear(OPENAI, Canned::stream("\u{0}\u{1}garbage\n\n"))
            .await
            .failure,
        Some(FailureCode::Truncated)
    );
    assert_eq!(
        hear(
            OPENAI,
            Canned::stream(vec![b'd', b'a', b't', b'a', b':', 0xff, 0xfe, b'\n', b'\n'])
        )
        .await
        .failure,
        Some(FailureCode::Malformed)
    );
}

#[tokio::test]
async fn silence_ends_by_its_timeout_and_comments_do_not_count_as_words() {
    let short = |first: u64, idle: u64| Timeouts {
        first_delta: Duration::from_millis(first),
        idle: Duration::from_millis(idle),
        usage: Duration::from_millis(50),
        ..PATIENT
    };
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (body, timeouts, expected) in [
        (String::new(), short(80, 5_000), Err(FailureCode::Timeout)),
        (
            ": ping\n\n".to_owned(),
            short(80, 5_000),
            Err(FailureCode::Timeout),
        ),
        (word.to_owned(), short(5_000, 80), Err(FailureCode::Timeout)),
        (
            format!("{word}{end}"),
            short(5_000, 5_000),
            Ok(StopReason::EndTurn),
        ),
    ] {
        let server = CannedServer::start(Canned {
            stays_open: true,
            ..Canned::stream(body.clone())
        })
        .await;
        let heard = ask(&registry(OPENAI, &server.base, timeouts)).await;
        assert_eq!(
            heard.failure.map_or(Ok(heard.finished), Err),
            expected.map(Some),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let mut server = CannedServer::start(Canned {
        stays_open: true,
        ..Canned::stream(word)
    })
    .await;
    let registry = registry(OPENAI, &server.base, PATIENT);
    let params = Params::default();
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
    };
    let mut reply = registry.get("p").unwrap().send(request).await.unwrap();
    assert_eq!(reply.next().await.unwrap(), Some(Part::Text("Hi".into())));
    assert_eq!(*server.closed.borrow(), 0);
    drop(reply);
    within(
        "the connection to close",
        server.closed.wait_for(|closed| *closed == 1),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refused_connection_and_a_wrong_address_are_told_apart() {
    let refused = ask(&registry(OPENAI, "http://127.0.0.1:1", PATIENT)).await;
    assert_eq!(
        (refused.failure, refused.message.as_str()),
        (Some(FailureCode::Timeout), "the provider cannot be reached")
    );
    let redirect = Canned {
        status: 307,
        headers: vec![("location".into(), "http://127.0.0.1:1/".into())],
        ..Canned::stream("")
    };
    let heard = hear(OPENAI, redirect).await;
    assert_eq!(heard.failure, Some(FailureCode::InvalidRequest));
    assert!(heard.message.contains("redirect"), "{}", heard.message);
}
