//! Chat Completions as the service streams it, in literal JSON.

use serde_json::{Value, json};

use super::reply::{Lines, Utterance};

/// What is wrong with a request, as the service would say.
pub(super) fn check(body: &Value) -> Result<(), String> {
    if body["stream"] != json!(true) {
        return Err("only streamed answers are simulated: set \"stream\": true".to_owned());
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("you must provide a model parameter".to_owned());
    }
    if body["messages"].as_array().is_none_or(Vec::is_empty) {
        return Err("[] is too short - 'messages'".to_owned());
    }
    Ok(())
}

/// The conversation in a request, without the system prompt.
pub(super) fn messages(body: &Value) -> Vec<String> {
    let all = body["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let said = all
        .iter()
        .filter(|message| !matches!(message["role"].as_str(), Some("system" | "developer")));
    said.filter_map(|message| message["content"].as_str().map(str::to_owned))
        .collect()
}

/// The lines of a reply.
pub(super) fn lines(body: &Value, said: &Utterance) -> Lines {
    let model = &body["model"];
    let wants_usage = body["stream_options"]["include_usage"] == json!(true);
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-simulated", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_simulated", "choices": choices,
        });
        if wants_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
            None,
        )
    };
    let thoughts = said
        .reasoning
        .iter()
        .map(|text| delta(json!({"reasoning_content": text})));
    let refusal = said
        .refusal
        .iter()
        .map(|text| delta(json!({"refusal": text})));
    let texts = said
        .deltas
        .iter()
        .map(|text| delta(json!({"content": text})));
    let finish = said.stop_reason.as_deref().unwrap_or("stop");
    let mut end = chunk(
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]),
        None,
    );
    if wants_usage {
        let (input, output) = said.usage;
        let usage = json!({
            "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        });
        end.push_str(&chunk(json!([]), Some(usage)));
    }
    end.push_str("data: [DONE]\n\n");
    Lines {
        head: delta(json!({"role": "assistant", "content": "", "refusal": null})),
        deltas: thoughts.chain(refusal).chain(texts).collect(),
        end,
    }
}
