//! What Responses may bring besides the recorded bodies: errors in all their shapes, events that nobody has documented, gateways'
//! liberties.

use parley::conversation::{FailureCode, Params, StopReason};
use serde_json::{Value, json};

use super::{
    Heard, PATIENT, RESPONSES, ask, hear, prompt, provider, registry_of,
    server::{Canned, CannedServer},
};

/// The body of these events, each under its type's name.
fn body(events: &[Value]) -> String {
    let event = |data: &Value| {
        let kind = data["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    events.iter().map(event).collect()
}

fn said(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 7, "output_tokens": 2}}})
}

async fn heard(body: impl Into<Vec<u8>>) -> Heard {
    hear(RESPONSES, Canned::stream(body)).await
}

#[tokio::test]
async fn errors_inside_a_stream_wrapped_flat_or_as_a_failed_response() {
    let failed = |error: Value| json!({"type": "response.failed", "response": {"status": "failed", "error": error}});
    for (error, code) in [
        (
            json!({"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "m"}}),
            FailureCode::Server,
        ),
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}),
            FailureCode::RateLimited,
        ),
        (
            json!({"type": "error", "error": {"code": "context_length_exceeded", "message": "m"}}),
            FailureCode::ContextExceeded,
        ),
        (
            json!({"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "m"}}),
            FailureCode::Permission,
        ),
        (
            failed(json!({"code": "server_error", "message": "m"})),
            FailureCode::Server,
        ),
        (
            failed(json!({"code": "invalid_prompt", "message": "m"})),
            FailureCode::InvalidRequest,
        ),
        (
            failed(json!({"code": "bio_policy", "message": "m"})),
            FailureCode::InvalidRequest,
        ),
        (
            failed(json!({"code": "misalignment_policy_violation", "message": "m"})),
            FailureCode::InvalidRequest,
        ),
        (
            json!({"error": {"code": 502, "message": "m"}}),
            FailureCode::Server,
        ),
    ] {
        let heard = heard(body(&[said("Hi"), error.clone()]) + "data: [DONE]\n\n").await;
        assert_eq!(
            (heard.failure, heard.finished, heard.text.as_str()),
            (Some(code), None, "Hi"),
            "{error}"
        );
        assert_eq!(heard.message, "m", "{error}");
    }
}

/// What a failed answer has cost is told before it fails.
#[tokio::test]
async fn a_failed_answer_tells_its_usage() {
    let failed = json!({"type": "response.failed", "response": {
        "status": "failed", "error": {"code": "server_error", "message": "m"},
        "usage": {"input_tokens": 31, "output_tokens": 5},
    }});
    let heard = heard(body(&[said("Hi"), failed])).await;
    assert_eq!(heard.failure, Some(FailureCode::Server));
    assert_eq!(
        (heard.usage.input_tokens, heard.usage.output_tokens),
        (Some(31), Some(5))
    );
}

#[tokio::test]
async fn keepalives_and_events_that_nobody_knows_are_passed_over() {
    for noise in [
        body(&[json!({"type": "keepalive", "sequence_number": 4})]),
        body(&[json!({"type": "response.queued", "response": {"status": "queued"}})]),
        body(&[json!({"type": "response.output_text.annotation.added", "annotation": {}})]),
        body(&[json!({"type": "response.surprise.delta", "delta": {"x": 1}, "response": 5})]),
        body(&[json!({"no": "type"})]),
        ": ping\n\n".to_owned(),
        "data:\n\n".to_owned(),
    ] {
        let body = noise.clone() + &body(&[said("Hi")]) + &noise + &body(&[completed()]);
        let heard = heard(body).await;
        assert_eq!(
            (heard.failure, heard.finished, heard.text.as_str()),
            (None, Some(StopReason::EndTurn), "Hi"),
            "{noise}"
        );
    }
}

/// The type is what the data says, whatever the `event:` line says or lacks.
#[tokio::test]
async fn the_events_name_is_no_matter() {
    let named = body(&[said("Hi"), completed()]);
    let lines = |keep: fn(&str) -> Option<String>| -> String {
        let lines = named.lines().filter_map(keep);
        lines.map(|line| line + "\n").collect()
    };
    let nameless = lines(|line| (!line.starts_with("event:")).then(|| line.to_owned()));
    let misnamed = lines(|line| {
        Some(match line.strip_prefix("event: ") {
            Some(_) => "event: error".to_owned(),
            None => line.to_owned(),
        })
    });
    for body in [nameless, misnamed] {
        let heard = heard(body.clone()).await;
        assert_eq!(
            (
                heard.failure,
                heard.text.as_str(),
                heard.usage.output_tokens
            ),
            (None, "Hi", Some(2)),
            "{body}"
        );
    }
}

/// Neither a text that is done nor `[DONE]` is the end of an answer.
#[tokio::test]
async fn without_its_last_event_an_answer_is_truncated() {
    let done = json!({"type": "response.output_text.done", "text": "Hi"});
    let item = json!({"type": "response.output_item.done", "item": {"type": "message", "status": "completed"}});
    for body in [
        body(&[said("Hi"), done.clone(), item.clone()]),
        body(&[said("Hi"), done, item]) + "data: [DONE]\n\n",
        "data: [DONE]\n\n".to_owned(),
        String::new(),
    ] {
        let heard = heard(body.clone()).await;
        assert_eq!(
            (heard.failure, heard.finished),
            (Some(FailureCode::Truncated), None),
            "{body}"
        );
    }
}

/// The connection may break right behind the last event: nothing more is read.
#[tokio::test]
async fn nothing_is_read_behind_the_last_event() {
    let rubbish = body(&[said("Hi"), completed(), said("more")]) + "data: garbage\n\n";
    let heard = heard(rubbish).await;
    assert_eq!(
        (heard.failure, heard.text.as_str()),
        (None, "Hi"),
        "{}",
        heard.message
    );
    let open = Canned {
        stays_open: true,
        ..Canned::stream(body(&[said("Hi"), completed()]))
    };
    let heard = hear(RESPONSES, open).await;
    assert_eq!(
        (heard.finished, heard.usage.input_tokens),
        (Some(StopReason::EndTurn), Some(7))
    );
}

#[tokio::test]
async fn a_gateway_may_say_everything_in_its_last_event() {
    let whole = json!({"type": "response.completed", "response": {"status": "completed", "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
    ]}});
    let at_once = heard(body(&[whole])).await;
    assert_eq!(
        (at_once.text.as_str(), at_once.finished),
        ("Hi", Some(StopReason::EndTurn))
    );
    let refused = json!({"type": "response.completed", "response": {"output": [
        {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
    ]}});
    let refused = heard(body(&[refused])).await;
    assert_eq!(
        (
            refused.text.as_str(),
            refused.refusal.as_str(),
            refused.finished
        ),
        ("", "No.", Some(StopReason::Refusal))
    );
}

#[tokio::test]
async fn parts_of_a_summary_are_paragraphs_of_the_reasoning() {
    let part = |at: u64| json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": at});
    let thought = |at: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": at, "delta": text});
    let events = [
        part(0),
        thought(0, "**Greeting**"),
        part(1),
        thought(1, "Keep it "),
        thought(1, "short."),
        said("Hi"),
        completed(),
    ];
    let heard = heard(body(&events)).await;
    assert_eq!(
        (heard.reasoning.as_str(), heard.text.as_str()),
        ("**Greeting**\n\nKeep it short.", "Hi")
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_by_its_code() {
    for error in [
        json!({"message": "Your input exceeds the context window of this model.", "type": "invalid_request_error",
               "param": "input", "code": "context_length_exceeded"}),
        json!({"message": "the request exceeds the available context size", "type": "exceed_context_size_error", "code": 400}),
    ] {
        let canned = Canned {
            status: 400,
            ..Canned::stream(json!({"error": error}).to_string())
        };
        let heard = hear(RESPONSES, canned).await;
        assert_eq!(heard.failure, Some(FailureCode::ContextExceeded), "{error}");
    }
}

/// A model that only Responses serves is asked by it wherever it is, and its answer read so.
#[tokio::test]
async fn the_model_may_decide_which_api_is_asked() {
    let server = CannedServer::start(Canned::stream(body(&[said("Hi"), completed()]))).await;
    let registry = registry_of(provider(super::OPENAI, &server.base), PATIENT);
    let params = Params::default();
    let (mut heard, prompt) = (Heard::default(), prompt());
    let request = parley::providers::Request {
        model: "gpt-5.5-pro",
        prompt: &prompt,
        params: &params,
        cache_key: "run:0",
        show_reasoning: false,
        trace: None,
    };
    super::listen(&registry, request, &mut heard).await.unwrap();
    assert_eq!(heard.text, "Hi");
    // Another model of the same provider is asked by Chat Completions, to which this answer is no answer.
    assert_eq!(ask(&registry).await.failure, Some(FailureCode::Truncated));
    let requests = server.requests.lock().unwrap();
    let paths: Vec<&str> = requests
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(paths, ["/v1/responses", "/v1/chat/completions"]);
}
