//! Messages as the service streams it, in literal JSON, with the rules that the service itself enforces.

use serde_json::{Value, json};

use super::reply::{Lines, Utterance};

/// The fields that a request may have; the service refuses any other by name. Sampling is of the older version of the API.
const FIELDS: &[&str] = &[
    "cache_control",
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];
const MESSAGE: &[&str] = &["role", "content"];
const TEXT: &[&str] = &["type", "text", "cache_control", "citations"];
const CACHE_CONTROL: &[&str] = &["type", "ttl"];

/// How many places in a request may be marked as the end of what is cached.
const MARKERS: usize = 4;

/// What is wrong with a request, as the service would say.
pub(super) fn check(body: &Value) -> Result<(), String> {
    if body["stream"] != json!(true) {
        return Err("only streamed answers are simulated: set \"stream\": true".to_owned());
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("model: Field required".to_owned());
    }
    let limit = body["max_tokens"].as_u64().unwrap_or_default();
    if limit == 0 {
        return Err("max_tokens: Field required".to_owned());
    }
    only(FIELDS, body, "")?;
    let thinking = &body["thinking"];
    if thinking["type"] == json!("enabled") {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or_default();
        if budget < 1024 {
            return Err(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
                    .to_owned(),
            );
        }
        if budget >= limit {
            return Err("`max_tokens` must be greater than `thinking.budget_tokens`".to_owned());
        }
    }
    let mut markers = marker(body, "")?;
    if let Value::Array(blocks) = &body["system"] {
        markers += text_blocks(blocks, "system")?;
    } else if !(body["system"].is_null() || body["system"].is_string()) {
        return Err("system: Input should be a valid string or list".to_owned());
    }
    markers += check_messages(&body["messages"])?;
    if markers > MARKERS {
        return Err(format!(
            "A maximum of {MARKERS} blocks with cache_control may be provided. Found {markers}."
        ));
    }
    Ok(())
}

/// Whether the messages are what they should be, and how many of their blocks are marked.
fn check_messages(messages: &Value) -> Result<usize, String> {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
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
    let mut markers = 0;
    for (at, message) in messages.iter().enumerate() {
        let place = format!("messages.{at}");
        only(MESSAGE, message, &place)?;
        if !matches!(message["role"].as_str(), Some("user" | "assistant")) {
            return Err(format!(
                "{place}.role: Input should be 'user' or 'assistant'"
            ));
        }
        markers += match &message["content"] {
            Value::String(text) if !text.trim().is_empty() => 0,
            Value::String(_) => return Err(blank(&place)),
            Value::Array(blocks) if !blocks.is_empty() => text_blocks(blocks, &place)?,
            _ => return Err(format!("{place}.content: Field required")),
        };
    }
    Ok(markers)
}

/// Whether these are blocks of text, and how many of them are marked.
fn text_blocks(blocks: &[Value], place: &str) -> Result<usize, String> {
    let mut markers = 0;
    for block in blocks {
        if block["type"] != json!("text") {
            return Err(format!("{place}: only blocks of text are simulated"));
        }
        only(TEXT, block, place)?;
        if block["text"]
            .as_str()
            .is_none_or(|text| text.trim().is_empty())
        {
            return Err(blank(place));
        }
        markers += marker(block, place)?;
    }
    Ok(markers)
}

fn blank(place: &str) -> String {
    format!("{place}: text content blocks must contain non-whitespace text")
}

/// 1 where a marker stands, 0 where none does.
fn marker(holder: &Value, place: &str) -> Result<usize, String> {
    let marker = &holder["cache_control"];
    if marker.is_null() {
        return Ok(0);
    }
    only(CACHE_CONTROL, marker, place)?;
    let lasts = marker["ttl"].as_str().unwrap_or("5m");
    if marker["type"] != json!("ephemeral") || !matches!(lasts, "5m" | "1h") {
        return Err(format!(
            "{place}.cache_control: Input should be 'ephemeral', for '5m' or '1h'"
        ));
    }
    Ok(1)
}

/// Refuses fields that are not known.
fn only(known: &[&str], object: &Value, place: &str) -> Result<(), String> {
    let fields = object.as_object().into_iter().flat_map(|all| all.keys());
    match fields
        .into_iter()
        .find(|field| !known.contains(&field.as_str()))
    {
        Some(field) => Err(format!("{place}.{field}: Extra inputs are not permitted")
            .trim_start_matches('.')
            .to_owned()),
        None => Ok(()),
    }
}

/// The conversation in a request.
pub(super) fn messages(body: &Value) -> Vec<String> {
    let all = body["messages"].as_array().map(Vec::as_slice);
    let text = |message: &Value| match &message["content"] {
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect(),
        content => content.as_str().unwrap_or_default().to_owned(),
    };
    all.unwrap_or_default().iter().map(text).collect()
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
