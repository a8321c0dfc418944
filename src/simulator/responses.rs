//! Responses as the service streams it, in literal JSON, with the rules that the service itself enforces.

use serde_json::{Value, json};

use super::reply::{Lines, Utterance};

/// The fields that a request may have; the service refuses any other by name.
const FIELDS: &[&str] = &[
    "background",
    "conversation",
    "context_management",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// What is wrong with a request, as the service would say.
pub(super) fn check(body: &Value) -> Result<(), String> {
    if body["stream"] != json!(true) {
        return Err("only streamed answers are simulated: set \"stream\": true".to_owned());
    }
    let fields = body.as_object().into_iter().flat_map(|body| body.keys());
    if let Some(field) = fields
        .into_iter()
        .find(|field| !FIELDS.contains(&field.as_str()))
    {
        return Err(format!("Unknown parameter: '{field}'."));
    }
    if let Some(options) = body["stream_options"].as_object()
        && let Some(field) = options.keys().find(|field| *field != "include_obfuscation")
    {
        return Err(format!("Unknown parameter: 'stream_options.{field}'."));
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("Missing required parameter: 'model'.".to_owned());
    }
    match &body["input"] {
        Value::String(_) => Ok(()),
        Value::Array(items) if !items.is_empty() => items.iter().enumerate().try_for_each(checked),
        _ => Err("Missing required parameter: 'input'.".to_owned()),
    }
}

fn checked((at, item): (usize, &Value)) -> Result<(), String> {
    let role = item["role"].as_str().unwrap_or_default();
    if !matches!(role, "user" | "assistant" | "system" | "developer") {
        return Err(format!("Invalid value: 'input[{at}].role'."));
    }
    if !(item["content"].is_string() || item["content"].is_array()) {
        return Err(format!(
            "Missing required parameter: 'input[{at}].content'."
        ));
    }
    Ok(())
}

/// The conversation in a request, without the system prompt.
pub(super) fn messages(body: &Value) -> Vec<String> {
    if let Some(text) = body["input"].as_str() {
        return vec![text.to_owned()];
    }
    let items = body["input"].as_array().into_iter().flatten();
    let said = items.filter(|item| !matches!(item["role"].as_str(), Some("system" | "developer")));
    said.filter_map(|item| match &item["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(
            parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
        ),
        _ => None,
    })
    .collect()
}

/// The lines of a reply.
pub(super) fn lines(body: &Value, said: &Utterance) -> Lines {
    let mut events = Events::default();
    let head = events.event(
        "response.created",
        json!({"response": response(body, "in_progress", &json!([]))}),
    ) + &events.event(
        "response.in_progress",
        json!({"response": response(body, "in_progress", &json!([]))}),
    );
    let (kind, status, details) = match said.stop_reason.as_deref() {
        None | Some("completed") => ("response.completed", "completed", Value::Null),
        Some(reason) => (
            "response.incomplete",
            "incomplete",
            json!({"reason": reason}),
        ),
    };
    let mut deltas = Vec::new();
    if !said.reasoning.is_empty() {
        deltas.append(&mut events.thoughts(&said.reasoning, summarised(body)));
    }
    if let Some(words) = &said.refusal {
        deltas.append(&mut events.message("refusal", status, std::slice::from_ref(words)));
    }
    if !said.deltas.is_empty() {
        deltas.append(&mut events.message("output_text", status, &said.deltas));
    }
    let mut whole = response(body, status, &Value::from(events.output.clone()));
    let (input, output) = said.usage;
    whole["incomplete_details"] = details;
    whole["usage"] = json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output,
    });
    let end = events.event(kind, json!({"response": whole}));
    Lines { head, deltas, end }
}

/// A summary of the thoughts comes where it is asked for; open models show their thoughts as they are.
fn summarised(body: &Value) -> bool {
    body["reasoning"]["summary"].is_string()
}

/// The response as far as it has come.
fn response(body: &Value, status: &str, output: &Value) -> Value {
    let or = |field: &str, default: Value| body.get(field).cloned().unwrap_or(default);
    json!({
        "id": "resp_simulated", "object": "response", "created_at": 1_795_000_000, "status": status, "background": false,
        "error": null, "incomplete_details": null, "instructions": body["instructions"],
        "max_output_tokens": body["max_output_tokens"], "model": body["model"], "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": body["prompt_cache_key"],
        "reasoning": or("reasoning", json!({"effort": null, "summary": null})), "service_tier": "default",
        "store": or("store", json!(true)), "temperature": body["temperature"], "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": [], "top_p": body["top_p"], "truncation": "disabled", "usage": null,
        "user": null, "metadata": {},
    })
}

/// Counts the events and the items of one answer.
#[derive(Default)]
struct Events {
    sequence: u64,
    output: Vec<Value>,
}

impl Events {
    fn event(&mut self, kind: &str, mut data: Value) -> String {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        format!("event: {kind}\ndata: {data}\n\n")
    }

    /// An item of thoughts, a piece a delta: the first opens it and the last closes it.
    fn thoughts(&mut self, pieces: &[String], summarised: bool) -> Vec<String> {
        let at = self.output.len();
        let (index, text) = if summarised {
            ("summary_index", "reasoning_summary_text")
        } else {
            ("content_index", "reasoning_text")
        };
        let place = |more: Value| {
            let mut data = json!({"item_id": "rs_simulated", "output_index": at, index: 0});
            merge(&mut data, more);
            data
        };
        let (part_kind, part_event) = if summarised {
            ("summary_text", "reasoning_summary_part")
        } else {
            ("reasoning_text", "content_part")
        };
        let part = |text: &str| json!({"part": {"type": part_kind, "text": text}});
        let mut item = json!({"id": "rs_simulated", "type": "reasoning", "summary": []});
        let mut open = self.event(
            "response.output_item.added",
            json!({"output_index": at, "item": item}),
        );
        open.push_str(&self.event(&format!("response.{part_event}.added"), place(part(""))));
        let mut lines = Vec::new();
        for piece in pieces {
            let delta = place(json!({"delta": piece}));
            let delta = self.event(&format!("response.{text}.delta"), delta);
            lines.push(std::mem::take(&mut open) + &delta);
        }
        let thoughts = pieces.concat();
        let mut close = String::new();
        for (kind, data) in [
            (format!("{text}.done"), json!({"text": thoughts})),
            (format!("{part_event}.done"), part(&thoughts)),
        ] {
            close.push_str(&self.event(&format!("response.{kind}"), place(data)));
        }
        let list = if summarised { "summary" } else { "content" };
        item[list] = json!([part(&thoughts)["part"]]);
        close.push_str(&self.event(
            "response.output_item.done",
            json!({"output_index": at, "item": item}),
        ));
        self.output.push(item);
        if let Some(last) = lines.last_mut() {
            last.push_str(&close);
        }
        lines
    }

    /// A message of one part, a piece a delta: the first opens it and the last closes it with that status.
    fn message(&mut self, part: &str, status: &str, texts: &[String]) -> Vec<String> {
        let at = self.output.len();
        let place = |more: Value| {
            let mut data =
                json!({"item_id": "msg_simulated", "output_index": at, "content_index": 0});
            merge(&mut data, more);
            data
        };
        let whole = |text: &str| match part {
            "refusal" => json!({"type": part, "refusal": text}),
            _ => json!({"type": part, "annotations": [], "logprobs": [], "text": text}),
        };
        let item = |status: &str, content: Value| {
            json!({"id": "msg_simulated", "type": "message", "status": status, "role": "assistant",
                   "phase": "final_answer", "content": content})
        };
        let mut lines: Vec<String> = Vec::new();
        let mut open = self.event(
            "response.output_item.added",
            json!({"output_index": at, "item": item("in_progress", json!([]))}),
        );
        open.push_str(&self.event(
            "response.content_part.added",
            place(json!({"part": whole("")})),
        ));
        for text in texts {
            let delta = self.event(
                &format!("response.{part}.delta"),
                place(json!({"delta": text})),
            );
            lines.push(std::mem::take(&mut open) + &delta);
        }
        let all = texts.concat();
        let done = match part {
            "refusal" => json!({"refusal": all}),
            _ => json!({"text": all}),
        };
        let item = item(status, json!([whole(&all)]));
        let close = [
            (format!("{part}.done"), place(done)),
            (
                "content_part.done".to_owned(),
                place(json!({"part": whole(&all)})),
            ),
            (
                "output_item.done".to_owned(),
                json!({"output_index": at, "item": item}),
            ),
        ];
        for (kind, data) in close {
            let event = self.event(&format!("response.{kind}"), data);
            if let Some(last) = lines.last_mut() {
                last.push_str(&event);
            }
        }
        self.output.push(item);
        lines
    }
}

fn merge(data: &mut Value, more: Value) {
    if let (Value::Object(data), Value::Object(more)) = (data, more) {
        data.extend(more);
    }
}
