//! What Anthropic's service refuses, and what it takes.

use parley::simulator::Script;
use serde_json::{Value, json};

use super::{message, post, start};

fn with(field: &str, value: Value) -> Value {
    let mut body = message("Tea?");
    body[field] = value;
    body
}

/// The request with that as the content of its only message.
fn saying(content: &Value) -> Value {
    with("messages", json!([{"role": "user", "content": content}]))
}

fn marked(text: &str) -> Value {
    json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})
}

/// Each of these, and a part of what is said of it.
async fn refused(cases: Vec<(Value, &str)>) {
    let simulator = start(Script::default()).await;
    let url = format!("{}/v1/messages", simulator.anthropic_base_url());
    for (bad, says) in cases {
        let answer = post(url.clone(), &bad).await;
        assert_eq!(answer.status(), 400, "{bad}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["error"]["type"].as_str()),
            (Some("error"), Some("invalid_request_error"))
        );
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(says), "{bad} -> {said}");
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_refused_here() {
    let mut no_limit = message("Tea?");
    no_limit.as_object_mut().unwrap().remove("max_tokens");
    let assistant = json!({"role": "assistant", "content": "x"});
    let robot = json!({"role": "robot", "content": "x"});
    let named = json!({"role": "user", "content": "x", "name": "Ada"});
    let user = json!({"role": "user", "content": "Tea?"});
    let thinking = |budget: u32| json!({"type": "enabled", "budget_tokens": budget});
    let limit = "must be greater than `thinking.budget_tokens`";
    refused(vec![
        (with("stream", json!(false)), "stream"),
        (with("model", json!("")), "model: Field required"),
        (no_limit, "max_tokens: Field required"),
        (with("messages", json!([])), "first message must use"),
        (
            with("messages", json!([assistant])),
            "first message must use",
        ),
        (with("messages", json!([user, assistant])), "prefill"),
        (
            with("messages", json!([user, robot, user])),
            "role: Input should be",
        ),
        (
            with("messages", json!([named])),
            "messages.0.name: Extra inputs",
        ),
        (with("seed", json!(7)), "seed: Extra inputs"),
        (
            with("thinking", thinking(1023)),
            "greater than or equal to 1024",
        ),
        (with("thinking", thinking(1024)), limit),
    ])
    .await;
}

#[tokio::test]
async fn blocks_are_looked_at_too() {
    let block = |text: &str| json!({"type": "text", "text": text});
    let marked_by = |marker: Value| {
        let block = json!({"type": "text", "text": "x", "cache_control": marker});
        saying(&json!([block]))
    };
    let mut too_many = saying(&json!([marked("Tea?"), marked("Now?"), marked("Here?")]));
    too_many["system"] = json!([marked("Be brief."), marked("Be kind.")]);
    let found = "A maximum of 4 blocks with cache_control may be provided. Found 5.";
    let named = json!({"type": "text", "text": "x", "name": "Ada"});
    let image = json!({"type": "image"});
    let blank = "text content blocks must contain non-whitespace text";
    let bad_marker = "cache_control: Input should be";
    refused(vec![
        (with("system", json!(7)), "system: Input should be"),
        (with("system", json!([block(" \n")])), blank),
        (message("  "), blank),
        (saying(&json!([block("")])), blank),
        (saying(&json!([])), "content: Field required"),
        (saying(&Value::Null), "content: Field required"),
        (saying(&json!([named])), "messages.0.name: Extra inputs"),
        (saying(&json!([image])), "only blocks of text"),
        (marked_by(json!({"type": "lasting"})), bad_marker),
        (
            marked_by(json!({"type": "ephemeral", "ttl": "2h"})),
            bad_marker,
        ),
        (
            marked_by(json!({"type": "ephemeral", "key": "x"})),
            "key: Extra inputs",
        ),
        (too_many, found),
    ])
    .await;
}

#[tokio::test]
async fn a_text_and_its_block_are_the_same() {
    let simulator = start(Script::dialogue(0.0)).await;
    let url = format!("{}/v1/messages", simulator.anthropic_base_url());
    let mut answers = Vec::new();
    for (system, content) in [
        (json!("Be brief."), json!("Tea or coffee?")),
        (
            json!([marked("Be brief.")]),
            json!([marked("Tea or coffee?")]),
        ),
        (
            json!([{"type": "text", "text": "Be "}, marked("brief.")]),
            json!([marked("Tea or "), {"type": "text", "text": "coffee?"}]),
        ),
    ] {
        let mut body = saying(&content);
        body["system"] = system;
        let answer = post(url.clone(), &body).await;
        assert_eq!(answer.status(), 200, "{body}");
        answers.push(answer.text().await.unwrap());
    }
    assert!(answers[0].contains("message_stop"));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}
