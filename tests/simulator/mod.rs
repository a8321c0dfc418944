//! The stand-in for the providers, asked as a stranger would ask it.

use std::time::{Duration, Instant};

use parley::simulator::{Gate, Script, Simulator};
use serde_json::{Value, json};

use crate::support::{client, within};

async fn start(script: Script) -> Simulator {
    Simulator::start(([127, 0, 0, 1], 0).into(), script)
        .await
        .unwrap()
}

async fn post(url: String, body: &Value) -> reqwest::Response {
    within(
        "an answer",
        client()
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send(),
    )
    .await
    .unwrap()
}

fn chat(text: &str) -> Value {
    json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": text}]})
}

fn messages(text: &str) -> Value {
    json!({"model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn chat_completions_end_as_the_service_ends_them() {
    let simulator = start(Script::text("Hello there.").usage(5, 2)).await;
    let url = format!("{}/chat/completions", simulator.openai_base_url());
    let text = post(url.clone(), &chat("Tea?")).await.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("event:"));
    assert!(
        !text.contains("\"usage\""),
        "usage comes when it is asked for"
    );
    let mut asking = chat("Tea?");
    asking["stream_options"] = json!({"include_usage": true});
    let text = post(url, &asking).await.text().await.unwrap();
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    let last = chunks.last().unwrap();
    assert_eq!(
        (
            last["choices"].clone(),
            last["usage"]["prompt_tokens"].as_u64()
        ),
        (json!([]), Some(5))
    );
}

#[tokio::test]
async fn messages_come_in_the_services_order() {
    let simulator = start(Script::text("Hello there.").reasoning("Hm.")).await;
    let url = format!("{}/v1/messages", simulator.anthropic_base_url());
    let text = post(url, &messages("Tea?")).await.text().await.unwrap();
    let kinds: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    // Thoughts and their signature; two pieces of text.
    let block = [
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
    ];
    let expected = [
        &["message_start", "ping"][..],
        &block,
        &block,
        &["message_delta", "message_stop"],
    ];
    assert_eq!(kinds, expected.concat());
}

#[tokio::test]
async fn what_the_services_refuse_is_refused_here() {
    let simulator = start(Script::default()).await;
    let assistant = json!({"role": "assistant", "content": "x"});
    let mut no_limit = messages("Tea?");
    no_limit.as_object_mut().unwrap().remove("max_tokens");
    let mut prefill = messages("Tea?");
    prefill["messages"].as_array_mut().unwrap().push(assistant);
    for bad in [
        no_limit,
        prefill,
        messages("  "),
        json!({"model": "m", "stream": true, "max_tokens": 9, "messages": []}),
    ] {
        let answer = post(
            format!("{}/v1/messages", simulator.anthropic_base_url()),
            &bad,
        )
        .await;
        assert_eq!(answer.status(), 400, "{bad}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["error"]["type"].as_str()),
            (Some("error"), Some("invalid_request_error"))
        );
    }
    for bad in [
        json!({}),
        json!({"model": "m", "stream": true, "messages": []}),
        json!({"model": "m", "messages": [{}]}),
    ] {
        let answer = post(
            format!("{}/chat/completions", simulator.openai_base_url()),
            &bad,
        )
        .await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
    let lost = post(
        format!("{}/completions", simulator.openai_base_url()),
        &json!({}),
    )
    .await;
    assert_eq!(lost.status(), 404);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_in_every_phase() {
    let gate = Gate::closed();
    for script in [
        Script::silent(),
        Script::text("a b c").gate(&gate),
        Script::text("a b").silent_after(1),
        Script::endless("x"),
    ] {
        let simulator = start(script).await;
        let (url, body) = (
            format!("{}/chat/completions", simulator.openai_base_url()),
            chat("Tea?"),
        );
        let request = post(url, &body);
        let asking = tokio::time::timeout(Duration::from_millis(50), async {
            request.await.chunk().await
        });
        let left = asking.await;
        within(
            "the request",
            simulator.wait_for(|activity| activity.seen == 1),
        )
        .await;
        drop(left);
        within(
            "the leave to be noticed",
            simulator.wait_for(|activity| activity.open == 0),
        )
        .await;
        simulator.stop().await;
    }
}

/// The pace of a demonstration: a first delta within 200 ms, four turns of 20 to 60 words in less than 15 s.
#[tokio::test]
async fn a_demonstration_keeps_its_pace() {
    let simulator = start(Script::dialogue(1.0)).await;
    let started = Instant::now();
    let mut answer = post(
        format!("{}/chat/completions", simulator.openai_base_url()),
        &chat("Tea?"),
    )
    .await;
    let (mut text, mut first) = (String::new(), None);
    while let Some(bytes) = answer.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&bytes));
        if text.matches("\"content\"").count() > 1 {
            first.get_or_insert(started.elapsed());
        }
    }
    let words = text.matches("\"content\"").count();
    assert!(words > 15, "{words} deltas");
    assert!(first.unwrap() < Duration::from_millis(400), "{first:?}");
    assert!(
        started.elapsed() < Duration::from_millis(3_750),
        "{:?}",
        started.elapsed()
    );
}
