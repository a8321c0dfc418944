//! Events into steps. Pure.
//!
//! | the last event | stop reason |
//! |---|---|
//! | `response.completed` | `end_turn`; `refusal` where one was said |
//! | `response.incomplete`, reason `max_output_tokens` or `max_tokens` | `max_tokens` |
//! | … reason `content_filter` | `content_filter` |
//! | … any other reason, or none | `other` |
//! | `response.failed`, `error` | none: the attempt failed |
//!
//! The response's own `status` overrules the name of its event: some gateways end everything by `response.completed`. An event's
//! type is what its data says: the `event:` line gets lost on some ways.

use serde_json::Value;

use super::wire::Frame;
use crate::{
    conversation::{AttemptFailure, FailureCode, StopReason, Usage},
    providers::{
        adapter::{Converter, Step},
        error::{ErrorObject, shortened},
    },
};

/// What has to be remembered of an answer.
#[derive(Debug, Default)]
pub(in crate::providers::openai) struct Responses {
    /// Whether text has come in deltas.
    spoke: bool,
    /// Whether a refusal has come in deltas.
    refused: bool,
    thoughts: Thoughts,
}

/// Where the thoughts are: their parts are paragraphs.
#[derive(Debug, Default)]
struct Thoughts {
    /// The part that the last piece belonged to.
    part: Option<Part>,
    /// Whether a new part was announced since.
    announced: bool,
}

/// Which of the two kinds of thoughts, and its places. Not the item's id: some gateways give each event another.
type Part = (bool, Option<Value>, Option<Value>);

impl Converter for Responses {
    fn convert(&mut self, data: &str) -> Result<Step, AttemptFailure> {
        // Gateways end any stream like this. It says nothing of this answer.
        if data.starts_with("[DONE]") {
            return Ok(Step::default());
        }
        let frame: Frame = serde_json::from_str(data)
            .map_err(|error| malformed(&format!("no response event ({error})"), data))?;
        if let Some(failure) = reported_error(&frame, data) {
            return Err(failure);
        }
        match frame.kind() {
            "response.output_text.delta" => {
                let text = words(frame.delta, data)?;
                self.spoke |= !text.is_empty();
                Ok(Step {
                    text: Some(text),
                    ..Step::default()
                })
            }
            "response.refusal.delta" => {
                let refusal = words(frame.delta, data)?;
                self.refused |= !refusal.is_empty();
                Ok(Step {
                    refusal: Some(refusal),
                    ..Step::default()
                })
            }
            "response.reasoning_summary_part.added" => {
                self.thoughts.announced = true;
                Ok(Step::default())
            }
            "response.reasoning_summary_text.delta" => {
                let part = (true, frame.output_index, frame.summary_index);
                Ok(self.thoughts.go_on(part, words(frame.delta, data)?))
            }
            "response.reasoning_text.delta" => {
                let part = (false, frame.output_index, frame.content_index);
                Ok(self.thoughts.go_on(part, words(frame.delta, data)?))
            }
            kind @ ("response.completed" | "response.incomplete" | "response.failed") => {
                Ok(self.ended(kind, frame.response.as_ref().unwrap_or(&Value::Null)))
            }
            // Among them the undocumented keepalive.
            _ => Ok(Step::default()),
        }
    }
}

impl Thoughts {
    /// A piece of thought, after a blank line where it begins another part.
    fn go_on(&mut self, part: Part, mut piece: String) -> Step {
        if !piece.is_empty() {
            let another = self.announced || self.part.as_ref() != Some(&part);
            if another && self.part.is_some() {
                piece.insert_str(0, "\n\n");
            }
            (self.part, self.announced) = (Some(part), false);
        }
        Step {
            reasoning: Some(piece),
            ..Step::default()
        }
    }
}

impl Responses {
    /// The answer's end: nothing comes after it.
    fn ended(&self, kind: &str, response: &Value) -> Step {
        let mut step = Step {
            usage: response.get("usage").and_then(usage),
            last: true,
            ..Step::default()
        };
        let (text, refusal) = output(response);
        let refused = self.refused || refusal.is_some();
        let status = response.get("status").and_then(Value::as_str);
        match (kind, status) {
            ("response.failed", _) | (_, Some("failed" | "cancelled")) => {
                step.failed = Some(failure(response.get("error")));
                return step;
            }
            ("response.incomplete", _) | (_, Some("incomplete")) => {
                let reason = response.pointer("/incomplete_details/reason");
                step.finished = Some(incomplete(reason.and_then(Value::as_str)));
            }
            _ if refused => step.finished = Some(StopReason::Refusal),
            _ => step.finished = Some(StopReason::EndTurn),
        }
        // What came in pieces is not said twice; a server that sends none says all of it here.
        step.text = text.filter(|_| !self.spoke);
        step.refusal = refusal.filter(|_| !self.refused);
        step
    }
}

fn incomplete(reason: Option<&str>) -> StopReason {
    match reason {
        Some("max_output_tokens" | "max_tokens") => StopReason::MaxTokens,
        Some("content_filter") => StopReason::ContentFilter,
        other => {
            let reason = shortened(other.unwrap_or("none"));
            tracing::warn!(%reason, "an answer is incomplete for an unknown reason");
            StopReason::Other
        }
    }
}

/// The text and the refusal of a whole response, as far as it has them.
fn output(response: &Value) -> (Option<String>, Option<String>) {
    let items = response.get("output").and_then(Value::as_array);
    let contents = items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("content").and_then(Value::as_array));
    let (mut text, mut refusal) = (None, None);
    for part in contents.flatten() {
        let (said, words): (&mut Option<String>, _) = match part.get("type").and_then(Value::as_str)
        {
            Some("output_text") => (&mut text, part.get("text")),
            Some("refusal") => (&mut refusal, part.get("refusal")),
            _ => continue,
        };
        let words = words.and_then(Value::as_str).unwrap_or_default();
        said.get_or_insert_with(String::new).push_str(words);
    }
    (text, refusal)
}

/// A delta's words. Absent ones are none; what is no text is no delta.
fn words(delta: Option<Value>, data: &str) -> Result<String, AttemptFailure> {
    match delta {
        Some(Value::String(words)) => Ok(words),
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => Err(malformed("no response event (its delta is no text)", data)),
    }
}

fn malformed(what: &str, data: &str) -> AttemptFailure {
    AttemptFailure::new(FailureCode::Malformed, format!("a frame is {what}: {data}"))
}

/// An error inside the stream: wrapped, as the service sends it; flat, as its documents have it; or the bare object.
fn reported_error(frame: &Frame, data: &str) -> Option<AttemptFailure> {
    let wrapped = frame.error.as_ref().filter(|error| is_error(error));
    let object = frame.object.as_ref().and_then(Value::as_str);
    let bare = object.is_some_and(|object| object.eq_ignore_ascii_case("error"));
    let flat = frame.kind() == "error" || bare;
    match wrapped {
        Some(error) => Some(failure(Some(error))),
        None if flat => {
            let value: Value = serde_json::from_str(data).ok()?;
            let object: Option<ErrorObject> = serde_json::from_value(value).ok();
            Some(object.unwrap_or_default().failure(None))
        }
        None => None,
    }
}

fn is_error(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

fn failure(error: Option<&Value>) -> AttemptFailure {
    let object = error.filter(|error| is_error(error));
    object
        .and_then(ErrorObject::find)
        .unwrap_or_default()
        .failure(None)
}

fn usage(object: &Value) -> Option<Usage> {
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    let usage = Usage {
        input_tokens: count("/input_tokens"),
        cached_input_tokens: count("/input_tokens_details/cached_tokens"),
        cache_write_tokens: count("/input_tokens_details/cache_write_tokens"),
        output_tokens: count("/output_tokens"),
        reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
    };
    (!usage.is_unknown()).then_some(usage)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(frames: &[Value]) -> Vec<Result<Step, FailureCode>> {
        let mut answer = Responses::default();
        frames
            .iter()
            .map(|frame| {
                answer
                    .convert(&frame.to_string())
                    .map_err(|failure| failure.failure.code)
            })
            .collect()
    }

    fn last(frames: &[Value]) -> Step {
        steps(frames).pop().unwrap().unwrap()
    }

    fn code(step: &Step) -> Option<FailureCode> {
        step.failed.as_ref().map(|failed| failed.failure.code)
    }

    #[test]
    fn stop_reasons_by_the_table() {
        let ended = |kind: &str, response: Value| {
            let step = last(&[json!({"type": kind, "response": response})]);
            assert!(step.last, "{kind}");
            step.finished.ok_or(code(&step))
        };
        let incomplete = |reason: &str| {
            let details = json!({"incomplete_details": {"reason": reason}});
            ended("response.incomplete", details)
        };
        assert_eq!(
            ended("response.completed", json!({"status": "completed"})),
            Ok(StopReason::EndTurn)
        );
        assert_eq!(incomplete("max_output_tokens"), Ok(StopReason::MaxTokens));
        assert_eq!(incomplete("max_tokens"), Ok(StopReason::MaxTokens));
        assert_eq!(incomplete("content_filter"), Ok(StopReason::ContentFilter));
        assert_eq!(incomplete("steered"), Ok(StopReason::Other));
        assert_eq!(
            ended("response.incomplete", Value::Null),
            Ok(StopReason::Other)
        );
        let gateway =
            json!({"status": "incomplete", "incomplete_details": {"reason": "max_tokens"}});
        assert_eq!(
            ended("response.completed", gateway),
            Ok(StopReason::MaxTokens)
        );
        for (kind, status) in [
            ("response.failed", Value::Null),
            ("response.completed", json!("failed")),
            ("response.completed", json!("cancelled")),
        ] {
            let response = json!({"status": status, "error": {"code": "rate_limit_exceeded"}});
            assert_eq!(
                ended(kind, response),
                Err(Some(FailureCode::RateLimited)),
                "{kind} {status}"
            );
        }
    }

    #[test]
    fn a_failed_answer_says_what_it_cost() {
        let step = last(&[json!({"type": "response.failed", "response": {
            "error": {"code": "server_error", "message": "m"}, "usage": {"input_tokens": 31, "output_tokens": 7},
        }})]);
        assert_eq!(code(&step), Some(FailureCode::Server));
        let usage = step.usage.unwrap();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (Some(31), Some(7))
        );
    }

    #[test]
    fn all_counts_are_taken() {
        let step = last(
            &[json!({"type": "response.completed", "response": {"usage": {
                "input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
                "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14,
            }}})],
        );
        let usage = Usage {
            input_tokens: Some(9),
            cached_input_tokens: Some(4),
            cache_write_tokens: Some(3),
            output_tokens: Some(5),
            reasoning_tokens: Some(2),
        };
        assert_eq!(step.usage, Some(usage));
        let silent = json!({"type": "response.completed", "response": {"usage": null}});
        assert_eq!(last(&[silent]).usage, None);
    }

    #[test]
    fn a_refusal_is_no_text_and_is_said_once() {
        let end = json!({"type": "response.completed", "response": {"output": [
            {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
        ]}});
        let delta = json!({"type": "response.refusal.delta", "delta": "No."});
        let said = steps(&[delta, end.clone()]);
        assert_eq!(said[0].as_ref().unwrap().refusal.as_deref(), Some("No."));
        let step = said[1].as_ref().unwrap();
        assert_eq!(
            (step.finished, &step.refusal),
            (Some(StopReason::Refusal), &None)
        );
        let step = last(&[end]);
        assert_eq!(
            (step.finished, step.refusal.as_deref(), step.text),
            (Some(StopReason::Refusal), Some("No."), None)
        );
    }

    #[test]
    fn text_that_came_in_no_delta_is_taken_from_the_whole() {
        let end = json!({"type": "response.completed", "response": {"output": [
            "surprise",
            {"type": "reasoning", "content": null},
            {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, {"type": "new"}]},
            {"type": "message", "content": [{"type": "output_text", "text": " there"}]},
        ]}});
        assert_eq!(
            last(std::slice::from_ref(&end)).text.as_deref(),
            Some("Hi there")
        );
        let delta = json!({"type": "response.output_text.delta", "delta": "Hi"});
        assert_eq!(last(&[delta, end]).text, None);
    }

    /// The thoughts of these pieces: kind, index of the item, index of the part, text. A kind `+` announces a part.
    fn thoughts(pieces: &[(&str, u64, u64, &str)], indexes: bool) -> String {
        let frames: Vec<Value> = pieces
            .iter()
            .map(|(kind, item, part, text)| {
                let (kind, index) = match *kind {
                    "summary" => ("reasoning_summary_text.delta", "summary_index"),
                    "text" => ("reasoning_text.delta", "content_index"),
                    _ => ("reasoning_summary_part.added", "summary_index"),
                };
                let mut frame = json!({"type": format!("response.{kind}"), "delta": text});
                if indexes {
                    frame["output_index"] = json!(item);
                    frame[index] = json!(part);
                }
                frame
            })
            .collect();
        let said = steps(&frames).into_iter();
        said.filter_map(|step| step.unwrap().reasoning).collect()
    }

    #[test]
    fn parts_of_thoughts_are_paragraphs() {
        let two = [
            ("+", 0, 0, ""),
            ("summary", 0, 0, "On"),
            ("summary", 0, 0, "e"),
            ("+", 0, 1, ""),
            ("summary", 0, 1, ""),
            ("summary", 0, 1, "Two"),
        ];
        assert_eq!(thoughts(&two, true), "One\n\nTwo");
        assert_eq!(thoughts(&two, false), "One\n\nTwo", "without indexes");
        let unannounced: Vec<_> = two.into_iter().filter(|piece| piece.0 != "+").collect();
        assert_eq!(thoughts(&unannounced, true), "One\n\nTwo");
        let items = [
            ("text", 0, 0, "One"),
            ("text", 2, 0, "Two"),
            ("summary", 2, 0, "3"),
        ];
        assert_eq!(thoughts(&items, true), "One\n\nTwo\n\n3");
        let long = [("text", 0, 0, "One"), ("text", 0, 0, " thought")];
        assert_eq!(thoughts(&long, false), "One thought");
    }

    #[test]
    fn an_error_event_comes_wrapped_flat_or_bare() {
        for error in [
            json!({"type": "error", "error": {"type": "server_error", "code": "rate_limit_exceeded", "message": "m"}}),
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}),
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "error": null}),
            json!({"error": {"code": 429, "message": "m"}}),
            json!({"object": "error", "message": "m", "code": 429}),
        ] {
            let failed = Responses::default()
                .convert(&error.to_string())
                .unwrap_err();
            assert_eq!(
                (failed.failure.code, failed.failure.message.as_str()),
                (FailureCode::RateLimited, "m"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_not_an_event_is_passed_over_or_malformed() {
        for harmless in [
            json!({}),
            json!({"type": "keepalive", "sequence_number": 3}),
            json!({"type": 5}),
            json!({"type": "response.new.delta", "delta": {"x": 1}, "response": "y", "output_index": "z"}),
            json!({"type": "response.output_text.done", "text": "Hi"}),
            json!({"type": "response.completed.soon", "error": null}),
        ] {
            assert_eq!(
                steps(std::slice::from_ref(&harmless)),
                [Ok(Step::default())],
                "{harmless}"
            );
        }
        assert_eq!(
            steps(&[json!({"type": "response.output_text.delta"})]),
            [Ok(Step {
                text: Some(String::new()),
                ..Step::default()
            })]
        );
        for broken in [
            "<html>",
            "{",
            "5",
            r#"{"type":"response.output_text.delta","delta":5}"#,
        ] {
            let failed = Responses::default().convert(broken).unwrap_err();
            assert_eq!(failed.failure.code, FailureCode::Malformed, "{broken}");
        }
        let done = Responses::default().convert("[DONE]").unwrap();
        assert_eq!(done, Step::default(), "it is no end of this answer");
    }
}
