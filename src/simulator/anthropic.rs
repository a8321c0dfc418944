//! Messages as the service streams it, in literal JSON, with the rules that the service itself enforces.

use serde_json::{Value, json};

use super::reply::{Lines, Utterance};

/// What is wrong with a request, as the service would say.
pub(super) fn check(body: &Value) -> Result<(), String> {
    if body["stream"] != json!(true) {
        return Err("only streamed answers are simulated: set \"stream\": true".to_owned());
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("model: Field required".to_owned());
    }
    if body["max_tokens"].as_u64().is_none_or(|limit| limit == 0) {
        return Err("max_tokens: Field required".to_owned());
    }
    let messages = body["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let role = |message: Option<&Value>| {
        message.and_then(|message| message["role"].as_str().map(str::to_owned))
    };
    if role(messages.first()).as_deref() != Some("user") {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    if role(messages.last()).as_deref() != Some("user") {
        return Err("This model does not support assistant message prefill. The conversation must end with a user message."
            .to_owned());
    }
    if messages.iter().any(|message| {
        message["content"]
            .as_str()
            .is_none_or(|text| text.trim().is_empty())
    }) {
        return Err("messages: text content blocks must contain non-whitespace text".to_owned());
    }
    Ok(())
}

/// The conversation in a request.
pub(super) fn messages(body: &Value) -> Vec<String> {
    let all = body["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    all.iter()
        .filter_map(|message| message["content"].as_str().map(str::to_owned))
        .collect()
}

/// The lines of a reply.
pub(super) fn lines(body: &Value, said: &Utterance) -> Lines {
    let event = |data: Value| {
        let kind = data["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let (input, output) = said.usage;
    let start = event(json!({"type": "message_start", "message": {
        "id": "msg_simulated", "type": "message", "role": "assistant", "model": body["model"], "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1},
    }}));
    let mut index = 0;
    let mut deltas: Vec<String> = Vec::new();
    let mut block = |kind: &str, field: &str, texts: &[String]| {
        let thinks = kind == "thinking";
        let mut empty = json!({"type": kind, field: ""});
        if thinks {
            empty["signature"] = json!("");
        }
        let begin =
            event(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        let delta = |text: &String| {
            event(
                json!({"type": "content_block_delta", "index": index, "delta": {"type": format!("{kind}_delta"), field: text}}),
            )
        };
        let mut lines: Vec<String> = texts.iter().map(delta).collect();
        if let Some(first) = lines.first_mut() {
            first.insert_str(0, &begin);
        }
        if let Some(last) = lines.last_mut() {
            if thinks {
                let signature = json!({"type": "signature_delta", "signature": "c2ltdWxhdGVk"});
                last.push_str(&event(
                    json!({"type": "content_block_delta", "index": index, "delta": signature}),
                ));
            }
            last.push_str(&event(
                json!({"type": "content_block_stop", "index": index}),
            ));
            index += 1;
        }
        deltas.append(&mut lines);
    };
    block("thinking", "thinking", &said.reasoning);
    block("text", "text", &said.deltas);
    let refused = said
        .refusal
        .as_ref()
        .map(|words| json!({"type": "refusal", "category": null, "explanation": words}));
    let ordinary = if refused.is_some() {
        "refusal"
    } else {
        "end_turn"
    };
    let reason = said.stop_reason.as_deref().unwrap_or(ordinary);
    let mut end = event(json!({
        "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null, "stop_details": refused},
        "usage": {"output_tokens": output},
    }));
    end.push_str(&event(json!({"type": "message_stop"})));
    Lines {
        head: start + &event(json!({"type": "ping"})),
        deltas,
        end,
    }
}
