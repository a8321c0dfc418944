//! A run's way, for tracing tools: run → turn → each request to a provider. Names are OpenTelemetry's for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>), and our own where it has none.
//!
//! A run goes on in the trace of the request that started it, in whatever process that is: its place is in the run's row.

use serde_json::{Value, json};

use super::attempt::Ended;
use crate::conversation::{
    Attribute::{Number, Seconds, Text, Words},
    Beginning, Prompt, RestartReason, Role, RunId, Span, SpanKind, Target, TraceContext, Tracing,
};

/// The most bytes of what is said in one attribute: a prompt grows with each turn, and each attempt has all of it.
const MAX_CONTENT: usize = 64 * 1024;

/// What a message takes beside its words, in bytes.
const MESSAGE: usize = 70;

/// Of a run, as long as this process drives it.
pub(super) fn run(tracing: &Tracing, run: RunId, parent: Option<&TraceContext>) -> Span {
    let id = run.to_string();
    tracing.begin(Beginning {
        name: ["run", ""],
        kind: SpanKind::Internal,
        parent,
        attributes: &[("gen_ai.conversation.id", Text(&id))],
    })
}

/// Of a turn, from its start or from where it was taken up, to its end.
pub(super) fn turn(
    tracing: &Tracing,
    run: RunId,
    turn: u32,
    bot_index: u32,
    parent: Option<&TraceContext>,
) -> Span {
    let id = run.to_string();
    tracing.begin(Beginning {
        name: ["turn", ""],
        kind: SpanKind::Internal,
        parent,
        attributes: &[
            ("gen_ai.conversation.id", Text(&id)),
            ("parley.turn", Number(turn.into())),
            ("parley.bot.index", Number(bot_index.into())),
        ],
    })
}

/// Of one request to a provider.
pub(super) fn attempt(
    tracing: &Tracing,
    run: RunId,
    target: &Target,
    number: u32,
    prompt: &Prompt,
    parent: Option<&TraceContext>,
) -> Span {
    let id = run.to_string();
    let mut span = tracing.begin(Beginning {
        name: ["chat", &target.model],
        kind: SpanKind::Client,
        parent,
        attributes: &[
            ("gen_ai.operation.name", Text("chat")),
            ("gen_ai.provider.name", Text(known_as(&target.provider))),
            ("gen_ai.request.model", Text(&target.model)),
            ("gen_ai.conversation.id", Text(&id)),
            ("parley.attempt", Number(number.into())),
        ],
    });
    if tracing.records_content() {
        asked(&mut span, prompt);
    }
    span
}

/// What is asked, as much of it as may stand in a span: the newest messages.
fn asked(span: &mut Span, prompt: &Prompt) {
    if let Some(system) = &prompt.system {
        let words = fitting(system, MAX_CONTENT);
        let shown = json!([text(words)]).to_string();
        span.note("gen_ai.system_instructions", Text(&shown));
        let left_out = system.len() - words.len();
        mark(span, "parley.system_instructions.bytes_left_out", left_out);
    }
    let (mut room, mut kept) = (MAX_CONTENT, Vec::new());
    let mut left_out: usize = prompt.messages.iter().map(|said| said.text.len()).sum();
    for message in prompt.messages.iter().rev() {
        let words = fitting(&message.text, room);
        let whole = words.len() == message.text.len();
        // Of the newest one there is a part in any case.
        if whole || kept.is_empty() {
            let role = match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            kept.push(json!({"role": role, "parts": [text(words)]}));
            left_out -= words.len();
        }
        if !whole {
            break;
        }
        room = room.saturating_sub(shown_bytes(words) + MESSAGE);
    }
    let messages = Value::from_iter(kept.into_iter().rev()).to_string();
    span.note("gen_ai.input.messages", Text(&messages));
    mark(span, "parley.input.messages.bytes_left_out", left_out);
}

/// Says how much more there was, if there was more.
fn mark(span: &mut Span, name: &'static str, left_out: usize) {
    if left_out > 0 {
        span.note(name, Number(left_out as u64));
    }
}

/// The beginning of the text that takes no more than so many bytes in JSON.
fn fitting(words: &str, mut room: usize) -> &str {
    for (at, char) in words.char_indices() {
        let Some(left) = room.checked_sub(bytes_of(char)) else {
            return words.get(..at).unwrap_or_default();
        };
        room = left;
    }
    words
}

fn shown_bytes(words: &str) -> usize {
    words.chars().map(bytes_of).sum()
}

/// In a JSON string.
fn bytes_of(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        char => char.len_utf8(),
    }
}

/// Ends the span with what the request came to.
pub(super) fn answered(mut span: Span, ended: &Ended, tracing: &Tracing) {
    let (spoken, outcome) = match ended {
        Ended::Completed(spoken, reason) => {
            let reason = reason.as_str();
            span.note("gen_ai.response.finish_reasons", Words(&[reason]));
            (Some(spoken), reason)
        }
        Ended::Failed(spoken, failure) => {
            span.fail(failure.failure.code.as_str());
            (Some(spoken), "error")
        }
        Ended::Stopped(spoken) => (spoken.as_ref(), "stopped"),
        Ended::GivenUp(spoken, RestartReason::Drain) => (spoken.as_ref(), "drain"),
        Ended::GivenUp(spoken, _) => (spoken.as_ref(), "crash"),
    };
    span.note("parley.outcome", Text(outcome));
    let Some(spoken) = spoken else {
        return;
    };
    let usage = spoken.usage;
    for (name, count) in [
        ("gen_ai.usage.input_tokens", usage.input_tokens),
        (
            "gen_ai.usage.cache_read.input_tokens",
            usage.cached_input_tokens,
        ),
        (
            "gen_ai.usage.cache_creation.input_tokens",
            usage.cache_write_tokens,
        ),
        ("gen_ai.usage.output_tokens", usage.output_tokens),
        (
            "gen_ai.usage.reasoning.output_tokens",
            usage.reasoning_tokens,
        ),
    ] {
        if let Some(count) = count {
            span.note(name, Number(count));
        }
    }
    if let Some(first) = spoken.first_delta_ms {
        let seconds = std::time::Duration::from_millis(first).as_secs_f64();
        span.note("gen_ai.response.time_to_first_chunk", Seconds(seconds));
    }
    if tracing.records_content() {
        let whole = spoken.summary.as_ref().unwrap_or(&spoken.text);
        let words = fitting(whole, MAX_CONTENT);
        let said = json!([{"role": "assistant", "parts": [text(words)], "finish_reason": outcome}]);
        span.note("gen_ai.output.messages", Text(&said.to_string()));
        let left_out = whole.len() - words.len();
        mark(&mut span, "parley.output.messages.bytes_left_out", left_out);
    }
}

fn text(words: &str) -> Value {
    json!({"type": "text", "content": words})
}

/// The provider as the convention calls it; those that it does not know stand under their own names.
fn known_as(provider: &str) -> &str {
    match provider {
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::conversation::{Attribute, OpenSpan, PromptMessage, Traces};

    type Noted = Arc<Mutex<Vec<(&'static str, String)>>>;

    #[derive(Debug, Default)]
    struct Keeper(Noted, TraceContext);

    impl Traces for Keeper {
        fn begin(&self, _: Beginning<'_>) -> Box<dyn OpenSpan> {
            Box::new(Self(Arc::clone(&self.0), TraceContext::default()))
        }

        fn records_content(&self) -> bool {
            true
        }
    }

    impl OpenSpan for Keeper {
        fn context(&self) -> &TraceContext {
            &self.1
        }

        fn note(&mut self, name: &'static str, value: Attribute<'_>) {
            let value = match value {
                Text(text) => text.to_owned(),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push((name, value));
        }

        fn fail(&mut self, _: &str) {}
    }

    /// The words that stand in the span, and what else is said of them.
    fn shown(texts: &[&str]) -> (Vec<String>, Vec<(&'static str, String)>) {
        let noted = Noted::default();
        let tracing = Tracing::new(Arc::new(Keeper(
            Arc::clone(&noted),
            TraceContext::default(),
        )));
        let messages = texts.iter().map(|text| PromptMessage {
            role: Role::User,
            text: (*text).to_owned(),
        });
        let prompt = Prompt {
            messages: messages.collect(),
            system: None,
        };
        let target = Target {
            provider: "p".to_owned(),
            model: "m".to_owned(),
        };
        let id = RunId::from_uuid(uuid::Uuid::nil());
        drop(attempt(&tracing, id, &target, 1, &prompt, None));
        let mut noted = noted.lock().unwrap().clone();
        let (_, messages) = noted.remove(0);
        assert!(
            messages.len() <= MAX_CONTENT + 2 * MESSAGE,
            "{}",
            messages.len()
        );
        let messages: Vec<Value> = serde_json::from_str(&messages).unwrap();
        let words = messages.iter().map(|message| {
            let words = &message["parts"][0]["content"];
            words.as_str().unwrap().to_owned()
        });
        (words.collect(), noted)
    }

    #[test]
    fn the_newest_messages_stay_where_there_are_too_many() {
        let long = "\n".repeat(20 * 1024);
        assert_eq!(shown(&["a", "b"]).0, ["a", "b"]);
        assert!(shown(&["a", "b"]).1.is_empty());
        let (words, marks) = shown(&["first", &long, "middle", &long]);
        assert_eq!(words, ["middle", &long]);
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0].0, "parley.input.messages.bytes_left_out");
        assert_eq!(
            marks[0].1,
            format!("Number({})", "first".len() + long.len())
        );
        let (words, marks) = shown(&["first", &"\"é".repeat(64 * 1024)]);
        assert_eq!((words.len(), marks.len()), (1, 1));
        assert!(words[0].starts_with("\"é\"é") && words[0].len() > 40 * 1024);
        let (words, marks) = shown(&[]);
        assert_eq!((words.len(), marks.len()), (0, 0));
    }
}
