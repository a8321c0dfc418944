//! Frames into steps. Pure.
//!
//! | what ends the answer | stop reason |
//! |---|---|
//! | `finishReason` `STOP` | `end_turn`, also at a stop sequence: the API does not tell them apart |
//! | `MAX_TOKENS` | `max_tokens` |
//! | `SAFETY`, `RECITATION`, `BLOCKLIST`, `PROHIBITED_CONTENT`, `SPII` | `content_filter` |
//! | any other (`LANGUAGE`, `OTHER`, `MALFORMED_FUNCTION_CALL` …) | `other` |
//! | `promptFeedback.blockReason` | `refusal`: the prompt was not answered at all |
//!
//! Nothing else ends it: the stream has no last frame of its own, and an `…_UNSPECIFIED` reason is none.

use super::wire::{Content, Frame, PromptFeedback, UsageCounts};
use crate::{
    conversation::{AttemptFailure, FailureCode, StopReason, Usage},
    providers::{
        adapter::{Converter, Step},
        error::{ErrorObject, shortened},
    },
};

/// What has to be remembered of an answer.
#[derive(Debug, Default)]
pub(super) struct Contents {
    counts: UsageCounts,
    finished: bool,
}

impl Converter for Contents {
    fn convert(&mut self, data: &str) -> Result<Step, AttemptFailure> {
        // Gateways end any stream like this. By itself it says nothing of this answer.
        if data.starts_with("[DONE]") {
            return Ok(Step {
                last: self.finished,
                ..Step::default()
            });
        }
        let frame: Frame = serde_json::from_str(data).map_err(|error| {
            AttemptFailure::new(
                FailureCode::Malformed,
                format!("a frame is no response ({error}): {data}"),
            )
        })?;
        if let Some(error) = &frame.error {
            let error = ErrorObject::find(error).unwrap_or_default();
            return Err(error.failure(None));
        }
        let candidate = frame
            .candidates
            .and_then(|all| all.into_iter().next())
            .unwrap_or_default();
        let mut step = said(candidate.content.unwrap_or_default());
        step.usage = frame.usage_metadata.and_then(|counts| self.counted(counts));
        if let Some(word) = candidate.finish_reason.filter(|word| is_reason(word)) {
            step.finished = Some(stop_reason(&word));
        } else if let Some(words) = frame.prompt_feedback.and_then(blocked) {
            step.finished = Some(StopReason::Refusal);
            step.refusal = Some(words);
        }
        self.finished |= step.finished.is_some();
        Ok(step)
    }
}

/// Parts that we do not know have no text.
fn said(content: Content) -> Step {
    let mut step = Step::default();
    for piece in content.parts.unwrap_or_default() {
        let Some(text) = piece.text else { continue };
        let said = if piece.thought == Some(true) {
            &mut step.reasoning
        } else {
            &mut step.text
        };
        said.get_or_insert_with(String::new).push_str(&text);
    }
    step
}

fn is_reason(word: &str) -> bool {
    !word.is_empty() && !word.ends_with("_UNSPECIFIED")
}

fn stop_reason(word: &str) -> StopReason {
    match word {
        "STOP" => StopReason::EndTurn,
        "MAX_TOKENS" => StopReason::MaxTokens,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
            StopReason::ContentFilter
        }
        "LANGUAGE" | "OTHER" => StopReason::Other,
        other => {
            tracing::warn!(finish_reason = %shortened(other), "an unknown finish reason");
            StopReason::Other
        }
    }
}

/// Why the prompt was not answered: the service's sentence, or else its word for it.
fn blocked(feedback: PromptFeedback) -> Option<String> {
    let reason = feedback.block_reason.filter(|word| is_reason(word))?;
    let message = feedback
        .block_reason_message
        .filter(|words| !words.is_empty());
    Some(message.unwrap_or(reason))
}

impl Contents {
    /// What is counted so far: a frame that is silent about a count erases nothing.
    fn counted(&mut self, newer: UsageCounts) -> Option<Usage> {
        let counts = &mut self.counts;
        for (count, newer) in [
            (&mut counts.prompt_token_count, newer.prompt_token_count),
            (
                &mut counts.cached_content_token_count,
                newer.cached_content_token_count,
            ),
            (
                &mut counts.candidates_token_count,
                newer.candidates_token_count,
            ),
            (&mut counts.thoughts_token_count, newer.thoughts_token_count),
            (&mut counts.total_token_count, newer.total_token_count),
        ] {
            *count = newer.or(*count);
        }
        let (answer, thoughts) = (counts.candidates_token_count, counts.thoughts_token_count);
        let output = match (answer, thoughts) {
            // A count of zero is not sent: then the total is that of the prompt.
            (None, None) => counts
                .total_token_count
                .zip(counts.prompt_token_count)
                .map(|(all, prompt)| all.saturating_sub(prompt)),
            (answer, thoughts) => Some(answer.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
        };
        let usage = Usage {
            input_tokens: counts.prompt_token_count,
            cached_input_tokens: counts.cached_content_token_count,
            // Its prompt cache works by itself, and what it writes costs nothing of its own.
            cache_write_tokens: None,
            output_tokens: output,
            reasoning_tokens: thoughts,
        };
        (!usage.is_unknown()).then_some(usage)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn steps(frames: &[Value]) -> Vec<Result<Step, FailureCode>> {
        let mut answer = Contents::default();
        frames
            .iter()
            .map(|frame| {
                answer
                    .convert(&frame.to_string())
                    .map_err(|failure| failure.failure.code)
            })
            .collect()
    }

    fn only(frame: Value) -> Step {
        steps(&[frame]).pop().unwrap().unwrap()
    }

    fn finish(word: &str) -> Option<StopReason> {
        only(json!({"candidates": [{"finishReason": word}]})).finished
    }

    #[test]
    fn stop_reasons_by_the_table() {
        assert_eq!(finish("STOP"), Some(StopReason::EndTurn));
        assert_eq!(finish("MAX_TOKENS"), Some(StopReason::MaxTokens));
        for word in [
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
        ] {
            assert_eq!(finish(word), Some(StopReason::ContentFilter), "{word}");
        }
        for word in ["LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "NEW"] {
            assert_eq!(finish(word), Some(StopReason::Other), "{word}");
        }
        for none in ["", "FINISH_REASON_UNSPECIFIED"] {
            assert_eq!(finish(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_prompt_that_is_not_answered_is_a_refusal() {
        let blocked = |feedback: Value| {
            let step = only(json!({"promptFeedback": feedback}));
            (step.finished, step.refusal)
        };
        assert_eq!(
            blocked(json!({"blockReason": "PROHIBITED_CONTENT"})),
            (
                Some(StopReason::Refusal),
                Some("PROHIBITED_CONTENT".to_owned())
            )
        );
        let with_words = json!({"blockReason": "SAFETY", "blockReasonMessage": "No."});
        assert_eq!(
            blocked(with_words),
            (Some(StopReason::Refusal), Some("No.".to_owned()))
        );
        for none in [
            json!({"safetyRatings": []}),
            json!({"blockReason": "BLOCK_REASON_UNSPECIFIED"}),
        ] {
            assert_eq!(blocked(none), (None, None));
        }
    }

    #[test]
    fn thoughts_are_told_apart_from_text_also_within_one_frame() {
        let step = only(
            json!({"candidates": [{"content": {"role": "model", "parts": [
            {"text": "Hm", "thought": true},
            {"text": "Hi", "thoughtSignature": "c2ln"},
            {"text": ".", "thought": true},
            {"inlineData": {"mimeType": "image/png", "data": ""}},
            {"text": " there", "thought": false},
        ]}, "index": 0}]}),
        );
        assert_eq!(
            (step.reasoning.as_deref(), step.text.as_deref()),
            (Some("Hm."), Some("Hi there"))
        );
    }

    #[test]
    fn output_is_the_answer_and_the_thoughts_and_silence_erases_nothing() {
        let counts = |counts: Value| json!({"usageMetadata": counts});
        let said = steps(&[
            counts(
                json!({"promptTokenCount": 31, "cachedContentTokenCount": 16, "totalTokenCount": 31}),
            ),
            counts(
                json!({"promptTokenCount": 31, "thoughtsTokenCount": 40, "totalTokenCount": 71}),
            ),
            counts(json!({"candidatesTokenCount": 6, "totalTokenCount": 77})),
            json!({"usageMetadata": {}}),
        ]);
        let usages: Vec<Usage> = said
            .into_iter()
            .map(|step| step.unwrap().usage.unwrap())
            .collect();
        let outputs: Vec<_> = usages.iter().map(|usage| usage.output_tokens).collect();
        assert_eq!(outputs, [Some(0), Some(40), Some(46), Some(46)]);
        let last = Usage {
            input_tokens: Some(31),
            cached_input_tokens: Some(16),
            cache_write_tokens: None,
            output_tokens: Some(46),
            reasoning_tokens: Some(40),
        };
        assert_eq!(usages[3], last);
        assert_eq!(only(json!({"usageMetadata": {}})).usage, None);
        let prompt_only = only(counts(json!({"promptTokenCount": 3}))).usage;
        assert_eq!(prompt_only.unwrap().output_tokens, None);
    }

    #[test]
    fn an_error_in_the_stream_is_known_by_its_number_and_by_its_status() {
        for (error, code) in [
            (
                json!({"code": 503, "status": "UNAVAILABLE"}),
                FailureCode::Overloaded,
            ),
            (
                json!({"status": "RESOURCE_EXHAUSTED"}),
                FailureCode::RateLimited,
            ),
            (json!({"code": 500}), FailureCode::Server),
            (json!("oops"), FailureCode::Server),
        ] {
            let frame = json!({"error": error});
            assert_eq!(steps(std::slice::from_ref(&frame)), [Err(code)], "{frame}");
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_is_not() {
        for harmless in [
            json!({}),
            json!({"candidates": []}),
            json!({"candidates": null, "promptFeedback": null, "usageMetadata": null, "error": null}),
            json!({"candidates": [{"content": null, "finishReason": null, "index": 0}]}),
            json!({"candidates": [{"content": {"role": "model"}}], "modelVersion": "m", "responseId": "r", "new": [1]}),
            json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}, {"text": null}]}}]}),
        ] {
            assert_eq!(only(harmless.clone()), Step::default(), "{harmless}");
        }
        for broken in ["<html>", "{", "5", r#"{"candidates":5}"#] {
            let failed = Contents::default().convert(broken).unwrap_err();
            assert_eq!(failed.failure.code, FailureCode::Malformed, "{broken}");
        }
        let mut answer = Contents::default();
        assert_eq!(answer.convert("[DONE]").unwrap(), Step::default());
        let end = json!({"candidates": [{"finishReason": "STOP"}]});
        answer.convert(&end.to_string()).unwrap();
        assert!(answer.convert("[DONE]").unwrap().last);
    }
}
