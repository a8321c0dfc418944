//! A run's way, for tracing tools: run → turn → each request to a provider. Names are OpenTelemetry's for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>), and our own where it has none.
//!
//! A run goes on in the trace of the request that started it, in whatever process that is: its place is in the run's row.

use serde_json::{Value, json};

use super::{attempt::Ended, state::Spoken};
use crate::conversation::{
    Attribute::{Number, Seconds, Text, Words},
    Beginning, Prompt, RestartReason, Role, RunId, Span, SpanKind, Target, TraceContext, Tracing,
};

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
        if let Some(system) = &prompt.system {
            let system = json!([text(system)]).to_string();
            span.note("gen_ai.system_instructions", Text(&system));
        }
        let messages = prompt.messages.iter().map(|message| {
            let role = match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            json!({"role": role, "parts": [text(&message.text)]})
        });
        let messages = Value::from_iter(messages).to_string();
        span.note("gen_ai.input.messages", Text(&messages));
    }
    span
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
        let said = said(spoken, outcome).to_string();
        span.note("gen_ai.output.messages", Text(&said));
    }
}

fn said(spoken: &Spoken, finish: &str) -> Value {
    let words = spoken.summary.as_ref().unwrap_or(&spoken.text);
    json!([{"role": "assistant", "parts": [text(words)], "finish_reason": finish}])
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
