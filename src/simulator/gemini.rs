//! `streamGenerateContent` as the service streams it, in literal JSON, with the rules that the service itself enforces.

use axum::http::Uri;
use serde_json::{Value, json};

use super::reply::{Lines, Utterance};

/// The fields that a request may have, and those of its `generationConfig`; the service refuses any other by name.
const FIELDS: &[&str] = &[
    "cachedContent",
    "contents",
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "toolConfig",
    "tools",
];
const CONFIG: &[&str] = &[
    "candidateCount",
    "frequencyPenalty",
    "maxOutputTokens",
    "presencePenalty",
    "responseMimeType",
    "seed",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];

/// The path's end: the model, as it is written there, and what is to be done with it.
fn asked(uri: &Uri) -> Option<(&str, &str)> {
    uri.path()
        .strip_prefix("/v1beta/models/")
        .and_then(|rest| rest.rsplit_once(':'))
}

/// Puts the model into the body.
pub(super) fn name_model(uri: &Uri, body: &mut Value) {
    if let (Some((model, _)), Some(fields)) = (asked(uri), body.as_object_mut()) {
        fields.insert("model".to_owned(), json!(model));
    }
}

/// What is wrong with a request, as the service would say.
pub(super) fn check(uri: &Uri, body: &Value) -> Result<(), String> {
    let streamed = uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let Some((model, "streamGenerateContent")) = asked(uri).filter(|_| streamed) else {
        return Err(
            "only streamed answers are simulated: ask for :streamGenerateContent?alt=sse"
                .to_owned(),
        );
    };
    if model.is_empty() {
        return Err("* GenerateContentRequest.model: unexpected model name format".to_owned());
    }
    for (place, object, known) in [
        ("", body, FIELDS),
        (" at 'generation_config'", &body["generationConfig"], CONFIG),
    ] {
        let fields = object.as_object().into_iter().flat_map(|all| all.keys());
        if let Some(field) = fields
            .into_iter()
            .find(|field| !known.contains(&field.as_str()))
        {
            return Err(format!(
                "Invalid JSON payload received. Unknown name \"{field}\"{place}: Cannot find field."
            ));
        }
    }
    let contents = body["contents"].as_array().map(Vec::as_slice);
    match contents.unwrap_or_default() {
        [] => Err("* GenerateContentRequest.contents: contents is not specified".to_owned()),
        all => all.iter().enumerate().try_for_each(checked),
    }
}

fn checked((at, content): (usize, &Value)) -> Result<(), String> {
    if !matches!(content["role"].as_str(), None | Some("user" | "model")) {
        return Err("Please use a valid role: user, model.".to_owned());
    }
    let parts = content["parts"].as_array().map(Vec::as_slice);
    let fine = |part: &Value| part["text"].is_string();
    match parts.unwrap_or_default() {
        [] => Err(format!(
            "* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty."
        )),
        parts if parts.iter().all(fine) => Ok(()),
        _ => Err(format!(
            "* GenerateContentRequest.contents[{at}].parts[0].data: required oneof field 'data' must have one initialized field"
        )),
    }
}

/// The conversation in a request, without the system prompt.
pub(super) fn messages(body: &Value) -> Vec<String> {
    let contents = body["contents"].as_array().into_iter().flatten();
    contents
        .map(|content| {
            let parts = content["parts"].as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        })
        .collect()
}

/// The lines of a reply. A refusal comes before any answer, in place of it.
pub(super) fn lines(body: &Value, said: &Utterance) -> Lines {
    let (input, output) = said.usage;
    let frame = |mut frame: Value, output: u64| {
        let mut counts = json!({"promptTokenCount": input, "totalTokenCount": input + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": input}]});
        // What is zero is not sent.
        if output > 0 {
            counts["candidatesTokenCount"] = json!(output);
        }
        frame["usageMetadata"] = counts;
        frame["modelVersion"] = body["model"].clone();
        frame["responseId"] = json!("simulated");
        format!("data: {frame}\r\n\r\n")
    };
    if said.refusal.is_some() {
        return Lines {
            head: String::new(),
            deltas: Vec::new(),
            end: frame(
                json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
                0,
            ),
        };
    }
    let part = |part: Value| {
        let content = json!({"parts": [part], "role": "model"});
        frame(json!({"candidates": [{"content": content, "index": 0}]}), 0)
    };
    // It tells its thoughts only to those who ask for them.
    let asked = body["generationConfig"]["thinkingConfig"]["includeThoughts"] == json!(true);
    let thoughts = said.reasoning.iter().filter(|_| asked);
    let thoughts = thoughts.map(|text| part(json!({"text": text, "thought": true})));
    let texts = said.deltas.iter().map(|text| part(json!({"text": text})));
    let reason = said.stop_reason.as_deref().unwrap_or("STOP");
    let content = json!({"parts": [{"text": ""}], "role": "model"});
    let end = json!({"candidates": [{"content": content, "finishReason": reason, "index": 0}]});
    Lines {
        head: String::new(),
        deltas: thoughts.chain(texts).collect(),
        end: frame(end, output),
    }
}

/// The body of an error status.
pub(super) fn error(status: u16, message: &str) -> Value {
    let word = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": word}})
}
