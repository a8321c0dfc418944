//! What compatible servers do differently: the rows of the known deviations that no recorded body covers.

use std::time::Duration;

use parley::{
    conversation::{FailureCode, StopReason},
    providers::{Admission, Obstacle},
};

use super::{
    ANTHROPIC, GEMINI, OPENAI, PATIENT, RESPONSES, ask, hear, registry,
    server::{Canned, CannedServer},
};

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

const DONE: &str = "data: [DONE]\n\n";

async fn text(body: String) -> String {
    let heard = hear(OPENAI, Canned::stream(body.clone())).await;
    assert_eq!(
        (heard.failure, heard.finished.is_some()),
        (None, true),
        "{body}"
    );
    heard.text
}

fn said() -> String {
    chunk("{\"content\":\"Hi\"}", "null") + &chunk("{}", "\"stop\"") + DONE
}

#[tokio::test]
async fn comments_and_empty_frames_anywhere() {
    for noise in [
        ": OPENROUTER PROCESSING\n\n",
        "data: : keepalive\n\n",
        "data:\n\n",
        "data: \n\n",
        "id: 1\n: x\n\n",
        "retry: 5\n\n",
        ":\n",
    ] {
        assert_eq!(text(format!("{noise}{}", said())).await, "Hi", "{noise:?}");
        assert_eq!(
            text(said().replace("\n\n", &format!("\n\n{noise}"))).await,
            "Hi",
            "{noise:?}"
        );
    }
    assert_eq!(
        text(format!("\u{feff}{}", said())).await,
        "Hi",
        "a byte order mark"
    );
}

#[tokio::test]
async fn errors_inside_a_stream_in_all_their_shapes() {
    for (error, code) in [
        (
            "{\"error\":{\"code\":502,\"message\":\"m\"},\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}",
            FailureCode::Server,
        ),
        (
            "{\"error\":{\"code\":429,\"message\":\"m\"},\"choices\":[]}",
            FailureCode::RateLimited,
        ),
        (
            "{\"object\":\"error\",\"message\":\"m\",\"type\":\"x\",\"code\":500}",
            FailureCode::Server,
        ),
        ("{\"error\":\"plain words\"}", FailureCode::Server),
        (
            "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"m\"}}",
            FailureCode::InvalidRequest,
        ),
    ] {
        let body = format!(
            "{}data: {error}\n\n{DONE}",
            chunk("{\"content\":\"Hi\"}", "null")
        );
        let heard = hear(OPENAI, Canned::stream(body)).await;
        assert_eq!(
            (heard.failure, heard.finished, heard.text.as_str()),
            (Some(code), None, "Hi"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn finish_reasons_that_are_empty_missing_or_unknown() {
    assert_eq!(
        text(chunk("{\"content\":\"Hi\"}", "\"\"") + &chunk("{}", "\"stop\"")).await,
        "Hi"
    );
    let unknown = hear(
        OPENAI,
        Canned::stream(chunk("{\"content\":\"Hi\"}", "\"surprise\"")),
    )
    .await;
    assert_eq!(unknown.finished, Some(StopReason::Other));
    let model_length = hear(OPENAI, Canned::stream(chunk("{}", "\"model_length\""))).await;
    assert_eq!(model_length.finished, Some(StopReason::MaxTokens));
}

#[tokio::test]
async fn usage_first_last_on_the_way_or_nowhere() {
    let usage = "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}";
    let alone = format!("data: {{\"choices\":[],{usage}}}\n\n");
    let with_finish = format!(
        "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],{usage}}}\n\n"
    );
    let words = chunk("{\"content\":\"Hi\"}", "null");
    for body in [
        format!("{alone}{}", said()),
        format!("{words}{with_finish}{DONE}"),
        format!("{words}{}{alone}{DONE}", chunk("{}", "\"stop\"")),
        format!("{words}{}{alone}", chunk("{}", "\"stop\"")),
    ] {
        let heard = hear(OPENAI, Canned::stream(body.clone())).await;
        assert_eq!(
            (heard.usage.input_tokens, heard.usage.output_tokens),
            (Some(7), Some(2)),
            "{body}"
        );
    }
    let heard = hear(OPENAI, Canned::stream(said())).await;
    assert!(heard.usage.is_unknown());
}

#[tokio::test]
async fn chunks_without_choices_deltas_or_content() {
    let azure = "data: {\"choices\":[],\"id\":\"\",\"prompt_filter_results\":[{}]}\n\n";
    let no_delta = "data: {\"choices\":[{\"index\":0,\"content_filter_offsets\":{}}]}\n\n";
    let nulls = chunk("{\"role\":\"assistant\",\"content\":null}", "null");
    let blank = chunk("{\"content\":\" \"}", "null");
    assert_eq!(
        text(format!("{azure}{nulls}{blank}{no_delta}{}", said())).await,
        " Hi"
    );
}

#[tokio::test]
async fn reasoning_in_all_its_places_is_never_text() {
    for delta in [
        "{\"reasoning_content\":\"hm\"}",
        "{\"reasoning\":\"hm\",\"content\":\"\"}",
        "{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"hm\"}]}]}",
    ] {
        let heard = hear(OPENAI, Canned::stream(chunk(delta, "null") + &said())).await;
        assert_eq!(
            (heard.reasoning.as_str(), heard.text.as_str()),
            ("hm", "Hi"),
            "{delta}"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_ends_messages_with_done() {
    let body = concat!(
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );
    let heard = hear(ANTHROPIC, Canned::stream(body)).await;
    assert_eq!(
        (
            heard.text.as_str(),
            heard.finished,
            heard.usage.output_tokens
        ),
        ("Hi", Some(StopReason::EndTurn), Some(2))
    );
    let cut = hear(
        ANTHROPIC,
        Canned::stream(
            body.replace("end_turn", "")
                .replace("\"stop_reason\":\"\"", "\"x\":1"),
        ),
    )
    .await;
    assert_eq!(
        (cut.failure, cut.finished),
        (Some(FailureCode::Truncated), None),
        "[DONE] alone says nothing here"
    );
}

#[tokio::test]
async fn a_server_that_is_still_loading_is_worth_another_try() {
    let body =
        "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}";
    let heard = hear(
        OPENAI,
        Canned {
            status: 503,
            ..Canned::stream(body)
        },
    )
    .await;
    assert_eq!(heard.failure, Some(FailureCode::Overloaded));
    let body = "{\"error\":{\"code\":400,\"message\":\"too long\",\"type\":\"exceed_context_size_error\"}}";
    let heard = hear(
        OPENAI,
        Canned {
            status: 400,
            ..Canned::stream(body)
        },
    )
    .await;
    assert_eq!(heard.failure, Some(FailureCode::ContextExceeded));
}

/// A provider that repeats the key in the middle of its stream tells it to nobody.
#[tokio::test]
async fn a_key_repeated_inside_a_stream_is_not_passed_on() {
    let error = "{\"error\":{\"type\":\"server_error\",\"message\":\"bad key canary-key\"}}";
    for (kind, frame) in [
        (OPENAI, error),
        (OPENAI, "no json: canary-key"),
        (OPENAI, "{\"choices\":\"canary-key\"}"),
        (RESPONSES, error),
        (RESPONSES, "no json: canary-key"),
        (RESPONSES, "{\"response\":canary-key}"),
        (
            RESPONSES,
            "{\"type\":\"response.output_text.delta\",\"delta\":[\"canary-key\"]}",
        ),
        (ANTHROPIC, error),
        (ANTHROPIC, "no json: canary-key"),
        (ANTHROPIC, "{\"type\":[\"canary-key\"]}"),
        (GEMINI, error),
        (GEMINI, "no json: canary-key"),
        (GEMINI, "{\"candidates\":\"canary-key\"}"),
    ] {
        let heard = hear(kind, Canned::stream(format!("data: {frame}\n\n"))).await;
        assert!(heard.failure.is_some(), "{frame}");
        assert!(!heard.message.contains("canary"), "{}", heard.message);
        assert!(heard.message.contains("[key]"), "{}", heard.message);
    }
}

/// What a server writes beside its frames helps to find the fault, and is told without the key.
#[tokio::test]
async fn an_error_beside_the_frames_is_told_and_its_key_is_not() {
    for line in [
        "error: {\"code\":500,\"message\":\"no memory for canary-key\"}",
        "{\"error\":{\"message\":\"no memory for canary-key\"}}",
    ] {
        for end in ["", DONE] {
            let words = chunk("{\"content\":\"Hi\"}", "null");
            let heard = hear(OPENAI, Canned::stream(format!("{words}{line}\n\n{end}"))).await;
            assert_eq!(
                (heard.failure, heard.finished, heard.text.as_str()),
                (Some(FailureCode::Truncated), None, "Hi"),
                "{line}"
            );
            assert!(
                heard.message.contains("no memory for [key]"),
                "{}",
                heard.message
            );
            // After the provider's own word that the answer is complete, it is.
            let complete = format!("{words}{}{line}\n\n{end}", chunk("{}", "\"stop\""));
            let heard = hear(OPENAI, Canned::stream(complete)).await;
            assert_eq!(heard.finished, Some(StopReason::EndTurn), "{line}");
        }
    }
}

/// Nothing is left after this answer: whoever comes next waits for the reset, so that no 429 has to come.
#[tokio::test]
async fn a_limit_that_an_answer_announces_is_respected() {
    let mut canned = Canned::stream(chunk("{\"content\":\"Hi\"}", "\"stop\"") + DONE);
    for (name, value) in [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1h0m"),
    ] {
        canned.headers.push((name.to_owned(), value.to_owned()));
    }
    let server = CannedServer::start(canned).await;
    let registry = registry(OPENAI, &server.base, PATIENT);
    assert_eq!(ask(&registry).await.text, "Hi");
    let provider = registry.get("p").unwrap();
    match provider.admit("m") {
        Admission::Wait(Obstacle::RateLimit, wait) => {
            assert!(
                wait <= Duration::from_mins(1),
                "no word is believed for longer: {wait:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(provider.admit("another"), Admission::Now(_)));
}
