//! Events into steps. Pure.
//!
//! | `stop_reason` | stop reason |
//! |---|---|
//! | `end_turn`, `pause_turn` | `end_turn` |
//! | `max_tokens` | `max_tokens` |
//! | `stop_sequence` | `stop_sequence` |
//! | `refusal` | `refusal` |
//! | `model_context_window_exceeded` | `context_exceeded` |
//! | any other; `message_stop` without any | `other` |
//!
//! The API counts input that was read from or written to the cache apart; ours is the sum of the three.

use super::wire::{Frame, Piece, UsageCounts};
use crate::{
    conversation::{AttemptFailure, FailureCode, StopReason, Usage},
    providers::{
        adapter::{Converter, Step},
        error::{ErrorObject, shortened},
    },
};

/// What has to be remembered of an answer.
#[derive(Debug, Default)]
pub(super) struct Messages {
    counts: UsageCounts,
    finished: bool,
}

impl Converter for Messages {
    fn convert(&mut self, data: &str) -> Result<Step, AttemptFailure> {
        // Gateways end any stream like this.
        if data.starts_with("[DONE]") {
            return Ok(Step {
                last: self.finished,
                ..Step::default()
            });
        }
        let frame: Frame = serde_json::from_str(data).map_err(|error| {
            AttemptFailure::new(
                FailureCode::Malformed,
                format!("a frame is no message event ({error}): {data}"),
            )
        })?;
        match frame.r#type.as_deref() {
            Some("error") | None if frame.error.is_some() => {
                let error = frame
                    .error
                    .as_ref()
                    .and_then(ErrorObject::find)
                    .unwrap_or_default();
                Err(error.failure(None))
            }
            Some("message_start") => {
                Ok(self.counted(frame.message.and_then(|message| message.usage)))
            }
            Some("content_block_start") => Ok(said(frame.content_block)),
            Some("content_block_delta") => Ok(said(frame.delta)),
            Some("message_delta") => {
                Ok(self.message_delta(frame.delta.unwrap_or_default(), frame.usage))
            }
            Some("message_stop") => Ok(self.message_stop()),
            _ => Ok(Step::default()),
        }
    }
}

/// Blocks and deltas of kinds that we do not know have neither text nor thinking.
fn said(piece: Option<Piece>) -> Step {
    let piece = piece.unwrap_or_default();
    Step {
        text: piece.text,
        reasoning: piece.thinking,
        ..Step::default()
    }
}

impl Messages {
    fn message_delta(&mut self, delta: Piece, usage: Option<UsageCounts>) -> Step {
        let mut step = self.counted(usage);
        let Some(word) = delta.stop_reason.filter(|_| !self.finished) else {
            return step;
        };
        let reason = stop_reason(&word);
        if reason == StopReason::Refusal {
            step.refusal = delta.stop_details.and_then(|details| details.explanation);
        }
        step.finished = Some(reason);
        self.finished = true;
        step
    }

    fn message_stop(&mut self) -> Step {
        let finished = (!self.finished).then(|| {
            tracing::warn!("the provider ended its message without a stop reason");
            StopReason::Other
        });
        self.finished = true;
        Step {
            finished,
            last: true,
            ..Step::default()
        }
    }

    fn counted(&mut self, newer: Option<UsageCounts>) -> Step {
        let Some(newer) = newer else {
            return Step::default();
        };
        let counts = &mut self.counts;
        counts.input_tokens = newer.input_tokens.or(counts.input_tokens);
        counts.cache_creation_input_tokens = newer
            .cache_creation_input_tokens
            .or(counts.cache_creation_input_tokens);
        counts.cache_read_input_tokens = newer
            .cache_read_input_tokens
            .or(counts.cache_read_input_tokens);
        counts.output_tokens = newer.output_tokens.or(counts.output_tokens);
        if newer.output_tokens_details.is_some() {
            counts.output_tokens_details = newer.output_tokens_details;
        }
        let read = counts.cache_read_input_tokens.unwrap_or(0);
        let cached = read.saturating_add(counts.cache_creation_input_tokens.unwrap_or(0));
        let usage = Usage {
            input_tokens: counts
                .input_tokens
                .map(|plain| plain.saturating_add(cached)),
            cached_input_tokens: counts.cache_read_input_tokens,
            cache_write_tokens: counts.cache_creation_input_tokens,
            output_tokens: counts.output_tokens,
            reasoning_tokens: counts
                .output_tokens_details
                .as_ref()
                .and_then(|details| details.thinking_tokens),
        };
        Step {
            usage: (!usage.is_unknown()).then_some(usage),
            ..Step::default()
        }
    }
}

fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" | "pause_turn" => StopReason::EndTurn,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        other => {
            tracing::warn!(stop_reason = %shortened(other), "an unknown stop reason");
            StopReason::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(frames: &[&str]) -> Vec<Result<Step, FailureCode>> {
        let mut messages = Messages::default();
        frames
            .iter()
            .map(|frame| {
                messages
                    .convert(frame)
                    .map_err(|failure| failure.failure.code)
            })
            .collect()
    }

    #[test]
    fn input_is_the_sum_of_three_and_silence_erases_nothing() {
        let said = steps(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":40,"cache_creation_input_tokens":5,"output_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
            r#"{"type":"message_stop"}"#,
        ]);
        let last = said[1].as_ref().unwrap();
        let usage = last.usage.unwrap();
        assert_eq!(
            (
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.cache_write_tokens
            ),
            (Some(48), Some(40), Some(5))
        );
        assert_eq!(
            (usage.output_tokens, last.finished),
            (Some(9), Some(StopReason::EndTurn))
        );
        assert_eq!(
            said[2],
            Ok(Step {
                last: true,
                ..Step::default()
            })
        );
    }

    #[test]
    fn stop_reasons_by_the_table() {
        for (word, reason) in [
            ("pause_turn", StopReason::EndTurn),
            ("max_tokens", StopReason::MaxTokens),
            ("stop_sequence", StopReason::StopSequence),
            ("refusal", StopReason::Refusal),
            ("model_context_window_exceeded", StopReason::ContextExceeded),
            ("tool_use", StopReason::Other),
        ] {
            assert_eq!(stop_reason(word), reason);
        }
        assert_eq!(
            steps(&[r#"{"type":"message_stop"}"#])[0]
                .as_ref()
                .unwrap()
                .finished,
            Some(StopReason::Other)
        );
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_is_not() {
        for harmless in [
            "{}",
            r#"{"type":"ping"}"#,
            r#"{"type":"future"}"#,
            r#"{"type":"content_block_delta","delta":{"type":"x"}}"#,
        ] {
            assert_eq!(steps(&[harmless]), [Ok(Step::default())], "{harmless}");
        }
        for broken in ["<html>", "{", r#"{"type":5}"#] {
            assert_eq!(steps(&[broken]), [Err(FailureCode::Malformed)], "{broken}");
        }
        let error =
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        assert_eq!(steps(&[error]), [Err(FailureCode::Overloaded)]);
    }
}
