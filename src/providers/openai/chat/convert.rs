//! Chunks into steps. Pure.
//!
//! | `finish_reason` | stop reason |
//! |---|---|
//! | `stop` | `end_turn`; `refusal` where `delta.refusal` has spoken |
//! | `length`, `model_length` | `max_tokens` |
//! | `content_filter` | `content_filter` |
//! | `error`, `insufficient_system_resource` | none: the attempt failed |
//! | any, where `native_finish_reason` is `error` or `network_error` | none: the attempt failed |
//! | any other; `[DONE]` without any | `other` |

use serde_json::Value;

use super::wire::{Chunk, Content, Delta, FirstChoice};
use crate::{
    conversation::{AttemptFailure, FailureCode, StopReason, Usage},
    providers::{
        adapter::{Converter, Step},
        error::{ErrorObject, shortened},
    },
};

/// What has to be remembered of an answer.
#[derive(Debug, Default)]
pub(in crate::providers::openai) struct Chat {
    refused: bool,
    finished: bool,
}

impl Converter for Chat {
    fn convert(&mut self, data: &str) -> Result<Step, AttemptFailure> {
        if data.starts_with("[DONE]") {
            return Ok(self.done());
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            AttemptFailure::new(
                FailureCode::Malformed,
                format!("a frame is no chat chunk ({error}): {data}"),
            )
        })?;
        if let Some(failure) = reported_error(&chunk, data) {
            return Err(failure);
        }
        self.chunk(chunk)
    }
}

impl Chat {
    fn done(&mut self) -> Step {
        let finished = (!self.finished).then(|| {
            tracing::warn!("the provider ended its stream without a finish reason");
            StopReason::Other
        });
        self.finished = true;
        Step {
            finished,
            last: true,
            ..Step::default()
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<Step, AttemptFailure> {
        let usage = chunk
            .usage
            .as_ref()
            .or_else(|| chunk.x_groq.as_ref()?.usage.as_ref())
            .and_then(usage);
        let Some(choice) = chunk.choices.and_then(|FirstChoice(choice)| choice) else {
            return Ok(Step {
                usage,
                ..Step::default()
            });
        };
        let mut step = self.delta(choice.delta.unwrap_or_default());
        step.usage = usage;
        if self.finished {
            return Ok(step);
        }
        let native = choice.native_finish_reason.as_ref().and_then(Value::as_str);
        if let Some(word) = native.filter(|word| matches!(*word, "error" | "network_error")) {
            step.failed = Some(gave_up(word));
            return Ok(step);
        }
        if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) {
            match self.stop_reason(&word) {
                Ok(reason) => {
                    step.finished = Some(reason);
                    self.finished = true;
                }
                Err(failure) => step.failed = Some(failure),
            }
        }
        Ok(step)
    }

    fn delta(&mut self, delta: Delta) -> Step {
        // Servers that are changing from one name to the other send both, alike or one of them empty.
        let thoughts = [delta.reasoning_content, delta.reasoning].into_iter();
        let mut thoughts = thoughts.filter_map(|thought| match thought {
            Some(Value::String(words)) if !words.is_empty() => Some(words),
            _ => None,
        });
        let mut step = Step {
            reasoning: thoughts.next(),
            ..Step::default()
        };
        match delta.content {
            Some(Content::Text(text)) => step.text = Some(text),
            Some(parts @ Content::Parts(_)) => {
                let (mut text, mut thoughts) =
                    (String::new(), step.reasoning.take().unwrap_or_default());
                flatten(parts, &mut text, &mut thoughts);
                (step.text, step.reasoning) = (Some(text), Some(thoughts));
            }
            None => {}
        }
        self.refused |= delta
            .refusal
            .as_ref()
            .is_some_and(|words| !words.is_empty());
        step.refusal = delta.refusal;
        step
    }

    fn stop_reason(&self, word: &str) -> Result<StopReason, AttemptFailure> {
        Ok(match word {
            "stop" if self.refused => StopReason::Refusal,
            "stop" => StopReason::EndTurn,
            "length" | "model_length" => StopReason::MaxTokens,
            "content_filter" => StopReason::ContentFilter,
            "error" | "insufficient_system_resource" => return Err(gave_up(word)),
            other => {
                tracing::warn!(finish_reason = %shortened(other), "an unknown finish reason");
                StopReason::Other
            }
        })
    }
}

fn gave_up(word: &str) -> AttemptFailure {
    let message = format!("the provider gave up: its finish reason is {word:?}");
    AttemptFailure::new(FailureCode::Server, message)
}

/// Parts of text and of thinking, each in its order.
fn flatten(content: Content, text: &mut String, thoughts: &mut String) {
    match content {
        Content::Text(piece) => text.push_str(&piece),
        Content::Parts(parts) => {
            for part in parts {
                if let Some(thinking) = part.thinking {
                    let (mut thought, mut deeper) = (String::new(), String::new());
                    flatten(thinking, &mut thought, &mut deeper);
                    thoughts.push_str(&thought);
                    thoughts.push_str(&deeper);
                }
                text.push_str(part.text.as_deref().unwrap_or_default());
            }
        }
    }
}

/// An error inside the stream: under `error`, or the chunk itself.
fn reported_error(chunk: &Chunk, data: &str) -> Option<AttemptFailure> {
    let wrapped = chunk
        .error
        .as_ref()
        .is_some_and(|error| !matches!(error, Value::Null | Value::Bool(false)));
    let bare = chunk.object.as_ref().is_some_and(|object| object.is_error);
    if !wrapped && !bare {
        return None;
    }
    let value: Value = serde_json::from_str(data).ok()?;
    Some(ErrorObject::find(&value).unwrap_or_default().failure(None))
}

fn usage(object: &Value) -> Option<Usage> {
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    let usage = Usage {
        input_tokens: count("/prompt_tokens"),
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens"),
        cache_write_tokens: count("/prompt_tokens_details/cache_write_tokens"),
        output_tokens: count("/completion_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
    };
    (!usage.is_unknown()).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(frames: &[&str]) -> Vec<Result<Step, FailureCode>> {
        let mut chat = Chat::default();
        frames
            .iter()
            .map(|frame| chat.convert(frame).map_err(|failure| failure.failure.code))
            .collect()
    }

    fn finish(word: &str) -> Result<Option<StopReason>, FailureCode> {
        let frame = format!("{{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{word}\"}}]}}");
        let step = steps(&[&frame]).remove(0)?;
        match step.failed {
            Some(failed) => Err(failed.failure.code),
            None => Ok(step.finished),
        }
    }

    #[test]
    fn finish_reasons_by_the_table() {
        assert_eq!(finish("stop"), Ok(Some(StopReason::EndTurn)));
        assert_eq!(finish("length"), Ok(Some(StopReason::MaxTokens)));
        assert_eq!(finish("model_length"), Ok(Some(StopReason::MaxTokens)));
        assert_eq!(
            finish("content_filter"),
            Ok(Some(StopReason::ContentFilter))
        );
        assert_eq!(finish("tool_calls"), Ok(Some(StopReason::Other)));
        assert_eq!(finish(""), Ok(None));
        assert_eq!(finish("error"), Err(FailureCode::Server));
        assert_eq!(
            finish("insufficient_system_resource"),
            Err(FailureCode::Server)
        );
    }

    #[test]
    fn a_refusal_is_no_text_and_turns_stop_into_refusal() {
        let said = steps(&[
            r#"{"choices":[{"delta":{"refusal":"No."}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(said[0].as_ref().unwrap().refusal.as_deref(), Some("No."));
        assert_eq!(
            said[1].as_ref().unwrap().finished,
            Some(StopReason::Refusal)
        );
    }

    #[test]
    fn what_is_not_a_chunk_is_passed_over_or_malformed() {
        for harmless in [
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{}],"x":1}"#,
            r#"{"choices":null}"#,
        ] {
            assert_eq!(steps(&[harmless]), [Ok(Step::default())], "{harmless}");
        }
        for broken in [
            "<html>",
            "{",
            "[1]",
            r#"{"choices":[{"delta":{"content":5}}]}"#,
            r#"{"choices":{}}"#,
            r#"{"object":5}"#,
        ] {
            assert_eq!(steps(&[broken]), [Err(FailureCode::Malformed)], "{broken}");
        }
    }

    #[test]
    fn of_several_choices_the_first_is_read() {
        let frame = r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":5}},7]}"#;
        let step = steps(&[frame]).remove(0).unwrap();
        assert_eq!(step.text.as_deref(), Some("a"));
    }

    #[test]
    fn parts_are_sorted_into_text_and_thoughts() {
        let frame = r#"{"choices":[{"delta":{"content":[
            {"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Hi"}]}}]}"#;
        let step = steps(&[frame]).remove(0).unwrap();
        assert_eq!(
            (step.text.as_deref(), step.reasoning.as_deref()),
            (Some("Hi"), Some("hm"))
        );
    }

    #[test]
    fn thoughts_come_by_either_name_and_are_said_once() {
        for (delta, thought) in [
            (r#"{"reasoning_content":"hm"}"#, Some("hm")),
            (r#"{"reasoning":"hm"}"#, Some("hm")),
            (r#"{"reasoning_content":"","reasoning":"hm"}"#, Some("hm")),
            (r#"{"reasoning_content":"hm","reasoning":"hm"}"#, Some("hm")),
            (r#"{"reasoning_content":null,"reasoning":""}"#, None),
            // Nobody knows what it says, and the text goes on.
            (r#"{"reasoning":{"effort":"low"}}"#, None),
        ] {
            let frame = format!("{{\"choices\":[{{\"delta\":{delta}}}]}}");
            let step = steps(&[&frame]).remove(0).unwrap();
            assert_eq!(step.reasoning.as_deref(), thought, "{delta}");
        }
    }

    #[test]
    fn a_failure_that_a_reason_tells_comes_before_the_end() {
        let frame = |reason: &str, native: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}","native_finish_reason":"{native}"}}],"usage":{{"prompt_tokens":7}}}}"#
            )
        };
        for (reason, native) in [
            ("stop", "error"),
            ("stop", "network_error"),
            ("error", ""),
            ("insufficient_system_resource", ""),
        ] {
            let step = steps(&[&frame(reason, native)]).remove(0).unwrap();
            assert_eq!(step.finished, None);
            let failed = step.failed.map(|failed| failed.failure.code);
            assert_eq!(failed, Some(FailureCode::Server), "{reason} {native}");
            // What was said and what it cost are told all the same.
            assert_eq!(step.text.as_deref(), Some("x"));
            assert_eq!(step.usage.and_then(|usage| usage.input_tokens), Some(7));
        }
        let step = steps(&[&frame("stop", "end_turn")]).remove(0).unwrap();
        assert_eq!(step.finished, Some(StopReason::EndTurn));
    }

    #[test]
    fn an_error_chunk_comes_wrapped_or_bare() {
        assert_eq!(
            steps(&[r#"{"error":{"type":"server_error"},"choices":[]}"#]),
            [Err(FailureCode::Server)]
        );
        assert_eq!(
            steps(&[r#"{"object":"error","message":"m","code":429}"#]),
            [Err(FailureCode::RateLimited)]
        );
        assert_eq!(
            steps(&[r#"{"error":null,"choices":[]}"#]),
            [Ok(Step::default())]
        );
    }
}
