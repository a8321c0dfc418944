//! The stand-in for the providers, asked as a stranger would ask it.

mod messages;

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

fn message(text: &str) -> Value {
    json!({"model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": text}]})
}

fn responses(text: &str) -> Value {
    json!({"model": "m", "stream": true, "input": [{"role": "user", "content": text}]})
}

fn contents(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// The frames that a bot of Gemini's kind would be sent.
async fn frames(script: Script, body: &Value) -> Vec<Value> {
    let simulator = start(script).await;
    let verb = "models/m:streamGenerateContent?alt=sse";
    let url = format!("{}/{verb}", simulator.gemini_base_url());
    let text = post(url, body).await.text().await.unwrap();
    let blocks = text.split_terminator("\r\n\r\n");
    blocks
        .map(|block| serde_json::from_str(block.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

/// The events of a stream whose events have names.
fn events(text: &str) -> Vec<Value> {
    let blocks = text.split_terminator("\n\n");
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect()
}

async fn response(script: Script, body: &Value) -> Vec<Value> {
    let simulator = start(script).await;
    let url = format!("{}/responses", simulator.openai_base_url());
    events(&post(url, body).await.text().await.unwrap())
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
async fn responses_come_in_the_services_order() {
    let script = Script::text("Hello there.").reasoning("Hm.").usage(5, 2);
    let mut asking = responses("Tea?");
    let item = |part: &str, deltas: &[&str]| -> Vec<String> {
        let open = [
            "response.output_item.added".to_owned(),
            format!("response.{part}.added"),
        ];
        let close = [
            format!("response.{part}.done"),
            "response.output_item.done".to_owned(),
        ];
        let middle = deltas.iter().map(|kind| format!("response.{kind}"));
        open.into_iter().chain(middle).chain(close).collect()
    };
    let text = ["output_text.delta", "output_text.delta", "output_text.done"];
    for (summary, thoughts) in [
        (
            Value::Null,
            item(
                "content_part",
                &["reasoning_text.delta", "reasoning_text.done"],
            ),
        ),
        (
            json!("auto"),
            item(
                "reasoning_summary_part",
                &[
                    "reasoning_summary_text.delta",
                    "reasoning_summary_text.done",
                ],
            ),
        ),
    ] {
        asking["reasoning"] = json!({"summary": summary});
        let events = response(script.clone(), &asking).await;
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        let begin = [
            "response.created".to_owned(),
            "response.in_progress".to_owned(),
        ];
        let end = ["response.completed".to_owned()];
        let expected = [&begin[..], &thoughts, &item("content_part", &text), &end].concat();
        assert_eq!(kinds, expected);
        let numbers: Vec<u64> = events
            .iter()
            .map(|event| event["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let whole = &events.last().unwrap()["response"];
        assert_eq!(
            (
                whole["status"].as_str(),
                whole["usage"]["input_tokens"].as_u64()
            ),
            (Some("completed"), Some(5))
        );
        let output = &whole["output"];
        assert_eq!(output[1]["content"][0]["text"], "Hello there.");
        let list = if summary.is_null() {
            "content"
        } else {
            "summary"
        };
        assert_eq!(output[0][list][0]["text"], "Hm.");
    }
}

#[tokio::test]
async fn responses_are_refused_and_left_incomplete_as_the_service_does_it() {
    let refused = response(Script::refusal("No."), &responses("Tea?")).await;
    let delta = refused
        .iter()
        .find(|event| event["type"] == "response.refusal.delta")
        .unwrap();
    assert_eq!(delta["delta"], "No.");
    let whole = &refused.last().unwrap()["response"];
    assert_eq!(
        whole["output"][0]["content"],
        json!([{"type": "refusal", "refusal": "No."}])
    );
    let cut = Script::text("Hello").stop_reason("max_output_tokens");
    let cut = response(cut, &responses("Tea?")).await;
    let last = cut.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(
        (
            last["response"]["status"].as_str(),
            &last["response"]["incomplete_details"]
        ),
        (Some("incomplete"), &json!({"reason": "max_output_tokens"}))
    );
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

/// The same conversation gets the same words, whichever API asks and in whichever form.
#[tokio::test]
async fn a_conversation_is_read_from_every_form_of_input() {
    let parts = json!([{"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tea?"}]}]);
    let mut words = Vec::new();
    for input in [json!("Tea?"), responses("Tea?")["input"].clone(), parts] {
        let asking = json!({"model": "m", "stream": true, "input": input});
        let events = response(Script::default(), &asking).await;
        let whole = &events.last().unwrap()["response"]["output"][0]["content"][0]["text"];
        words.push(whole.as_str().unwrap().to_owned());
    }
    assert!(
        words[0].contains("Tea") && words.iter().all(|text| *text == words[0]),
        "{words:?}"
    );
}

#[tokio::test]
async fn messages_come_in_the_services_order() {
    let simulator = start(Script::text("Hello there.").reasoning("Hm.")).await;
    let url = format!("{}/v1/messages", simulator.anthropic_base_url());
    let text = post(url, &message("Tea?")).await.text().await.unwrap();
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
async fn contents_end_with_a_finish_reason_and_nothing_else() {
    let script = Script::text("Hello there.").reasoning("Hm.").usage(5, 2);
    let mut asking = contents("Tea?");
    let texts = |frames: &[Value]| -> Vec<Value> {
        let parts = frames
            .iter()
            .map(|frame| &frame["candidates"][0]["content"]["parts"][0]);
        parts.cloned().collect()
    };
    let said = frames(script.clone(), &asking).await;
    let spoken = [
        json!({"text": "Hello "}),
        json!({"text": "there."}),
        json!({"text": ""}),
    ];
    assert_eq!(texts(&said), spoken, "no thoughts: nobody asked for them");
    let (last, before) = said.split_last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert!(
        before
            .iter()
            .all(|frame| frame["candidates"][0]["finishReason"].is_null())
    );
    let counts = &last["usageMetadata"];
    assert_eq!(
        [
            "promptTokenCount",
            "candidatesTokenCount",
            "totalTokenCount"
        ]
        .map(|name| counts[name].as_u64()),
        [Some(5), Some(2), Some(7)]
    );
    assert_eq!(last["modelVersion"], "m");
    asking["generationConfig"] = json!({"thinkingConfig": {"includeThoughts": true}});
    let thought = texts(&frames(script, &asking).await)[0].clone();
    assert_eq!(thought, json!({"text": "Hm.", "thought": true}));
    let cut = frames(
        Script::text("Hello").stop_reason("MAX_TOKENS"),
        &contents("Tea?"),
    )
    .await;
    assert_eq!(
        cut.last().unwrap()["candidates"][0]["finishReason"],
        "MAX_TOKENS"
    );
    let refused = frames(Script::refusal("No."), &contents("Tea?")).await;
    assert_eq!(
        (
            refused.len(),
            &refused[0]["promptFeedback"],
            &refused[0]["candidates"]
        ),
        (
            1,
            &json!({"blockReason": "PROHIBITED_CONTENT"}),
            &Value::Null
        )
    );
}

#[tokio::test]
async fn contents_are_refused_as_the_service_does_it() {
    let simulator = start(Script::default()).await;
    let with = |field: &str, value: Value| {
        let mut body = contents("Tea?");
        body[field] = value;
        body
    };
    let good = "models/m:streamGenerateContent?alt=sse";
    let fine = contents("Tea?");
    for (verb, body) in [
        ("models/m:streamGenerateContent", fine.clone()),
        ("models/m:generateContent?alt=sse", fine.clone()),
        ("models/:streamGenerateContent?alt=sse", fine),
        (good, json!({})),
        (good, json!([])),
        (good, with("contents", json!([]))),
        (
            good,
            with(
                "contents",
                json!([{"role": "assistant", "parts": [{"text": "x"}]}]),
            ),
        ),
        (
            good,
            with("contents", json!([{"role": "user", "parts": []}])),
        ),
        (
            good,
            with("contents", json!([{"role": "user", "parts": [{}]}])),
        ),
        (good, with("model", json!("m"))),
        (good, with("generationConfig", json!({"max_tokens": 9}))),
    ] {
        let url = format!("{}/{verb}", simulator.gemini_base_url());
        let answer = post(url, &body).await;
        assert_eq!(answer.status(), 400, "{verb} {body}");
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let error = &answer["error"];
        assert_eq!(
            (error["code"].as_u64(), error["status"].as_str()),
            (Some(400), Some("INVALID_ARGUMENT")),
            "{verb} {body}"
        );
    }
}

#[tokio::test]
async fn what_the_services_refuse_is_refused_here() {
    let simulator = start(Script::default()).await;
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
    let with = |field: &str, value: Value| {
        let mut body = responses("Tea?");
        body[field] = value;
        body
    };
    for bad in [
        json!({}),
        with("stream", json!(false)),
        with("model", json!("")),
        with("input", json!([])),
        with("input", json!([{"role": "robot", "content": "Tea?"}])),
        with("input", json!([{"role": "user"}])),
        with("stop", json!(["END"])),
        with("seed", json!(7)),
        with("max_tokens", json!(9)),
        with("stream_options", json!({"include_usage": true})),
    ] {
        let url = format!("{}/responses", simulator.openai_base_url());
        let answer = post(url, &bad).await;
        assert_eq!(answer.status(), 400, "{bad}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["error"]["type"], "invalid_request_error", "{bad}");
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
    let scripts = [
        Script::silent(),
        Script::text("a b c").gate(&gate),
        Script::text("a b").silent_after(1),
        Script::endless("x"),
    ];
    let apis = [
        ("chat/completions", chat("Tea?")),
        ("responses", responses("Tea?")),
    ];
    for (script, (path, body)) in scripts
        .iter()
        .flat_map(|script| apis.iter().map(move |api| (script, api)))
    {
        let simulator = start(script.clone()).await;
        let url = format!("{}/{path}", simulator.openai_base_url());
        let body = body.clone();
        let mut asking = tokio::spawn(async move {
            let mut answer = post(url, &body).await;
            while answer.chunk().await.unwrap().is_some() {}
        });
        within(
            "the request",
            simulator.wait_for(|activity| activity.seen == 1),
        )
        .await;
        // As far as it gets in that time.
        let end = tokio::time::timeout(Duration::from_millis(50), &mut asking).await;
        assert!(end.is_err(), "it had an answer to its end: {end:?}");
        asking.abort();
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
