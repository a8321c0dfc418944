//! A script: the plan for one reply.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{gemini, reply::Api};

/// What is said in a reply.
#[derive(Debug, Clone)]
pub(super) enum Speech {
    /// Whatever fits the conversation.
    Dialogue,
    /// These pieces.
    Deltas(Vec<String>),
    /// This piece, for ever.
    Endless(String),
    /// These bytes with this content type, in whatever format they are.
    Raw(Vec<u8>, String),
    /// An error status with headers and a body; without one, the API's own shape.
    Status(u16, Vec<(String, String)>, Option<Value>),
    /// Nothing at all: not even headers.
    Silence,
}

/// The plan for one reply. The default says something fitting at once.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) speech: Speech,
    pub(super) reasoning: Vec<String>,
    pub(super) refusal: Option<String>,
    /// The stop reason in the API's own words; `None`: its ordinary end.
    pub(super) stop_reason: Option<String>,
    /// Input and output tokens; `None`: counted from the words.
    pub(super) usage: Option<(u64, u64)>,
    /// The most tokens that a prompt may have, counted from its words.
    pub(super) window: Option<u64>,
    pub(super) first_delta_after: Duration,
    /// The shortest and the longest wait between deltas.
    pub(super) every: (Duration, Duration),
    pub(super) gate: Option<Gate>,
    /// After how many deltas nothing more comes, while the connection stays.
    pub(super) silent_after: Option<usize>,
    /// After how many bytes of the body it ends, and whether it ends by breaking the connection.
    pub(super) cut: Option<(usize, bool)>,
}

impl Script {
    fn new(speech: Speech) -> Self {
        Self {
            speech,
            reasoning: Vec::new(),
            refusal: None,
            stop_reason: None,
            usage: None,
            window: None,
            first_delta_after: Duration::ZERO,
            every: (Duration::ZERO, Duration::ZERO),
            gate: None,
            silent_after: None,
            cut: None,
        }
    }

    /// Says what fits the conversation, at the pace of a quick model times `pace`: a first delta within 200 ms, then one every
    /// 20 to 40 ms.
    #[must_use]
    pub fn dialogue(pace: f64) -> Self {
        let millis = |ms: u64| Duration::from_millis(ms).mul_f64(pace.clamp(0.001, 1000.0));
        Self {
            first_delta_after: millis(150),
            every: (millis(20), millis(40)),
            ..Self::new(Speech::Dialogue)
        }
    }

    /// Says this text, in pieces of a word or two.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(Speech::Deltas(super::dialogue::deltas(text)))
    }

    /// Says these pieces.
    #[must_use]
    pub fn deltas<const N: usize>(pieces: [&str; N]) -> Self {
        Self::new(Speech::Deltas(pieces.map(str::to_owned).to_vec()))
    }

    /// Says this piece again and again until the client leaves.
    #[must_use]
    pub fn endless(piece: &str) -> Self {
        Self::new(Speech::Endless(piece.to_owned()))
    }

    /// Sends these bytes as they are.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>, content_type: &str) -> Self {
        Self::new(Speech::Raw(bytes.into(), content_type.to_owned()))
    }

    /// Answers with an error status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Speech::Status(status, Vec::new(), None))
    }

    /// Takes the request and answers nothing until the client leaves.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Speech::Silence)
    }

    /// Declines in these words.
    #[must_use]
    pub fn refusal(words: &str) -> Self {
        Self {
            refusal: Some(words.to_owned()),
            ..Self::new(Speech::Deltas(Vec::new()))
        }
    }

    /// With a header, for an error status.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Speech::Status(_, headers, _) = &mut self.speech {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With a body, for an error status.
    #[must_use]
    pub fn body(mut self, value: Value) -> Self {
        if let Speech::Status(_, _, body) = &mut self.speech {
            *body = Some(value);
        }
        self
    }

    /// Thinks aloud first, in pieces of a word or two.
    #[must_use]
    pub fn reasoning(self, thoughts: &str) -> Self {
        Self {
            reasoning: super::dialogue::deltas(thoughts),
            ..self
        }
    }

    /// Ends for this reason, in the API's own word.
    #[must_use]
    pub fn stop_reason(self, word: &str) -> Self {
        Self {
            stop_reason: Some(word.to_owned()),
            ..self
        }
    }

    /// Reports these counts.
    #[must_use]
    pub fn usage(self, input: u64, output: u64) -> Self {
        Self {
            usage: Some((input, output)),
            ..self
        }
    }

    /// Calls a prompt of more tokens too long; four for three words.
    #[must_use]
    pub fn window(self, tokens: u64) -> Self {
        Self {
            window: Some(tokens),
            ..self
        }
    }

    /// Waits this long before the first delta.
    #[must_use]
    pub fn first_delta_after(self, wait: Duration) -> Self {
        Self {
            first_delta_after: wait,
            ..self
        }
    }

    /// Waits this long between deltas.
    #[must_use]
    pub fn every(self, wait: Duration) -> Self {
        Self {
            every: (wait, wait),
            ..self
        }
    }

    /// Sends each delta, and the end, only when the gate lets it through.
    #[must_use]
    pub fn gate(self, gate: &Gate) -> Self {
        Self {
            gate: Some(gate.clone()),
            ..self
        }
    }

    /// Falls silent after that many deltas, without ending.
    #[must_use]
    pub fn silent_after(self, deltas: usize) -> Self {
        Self {
            silent_after: Some(deltas),
            ..self
        }
    }

    /// Ends the body cleanly after that many bytes.
    #[must_use]
    pub fn cut_after_bytes(self, bytes: usize) -> Self {
        Self {
            cut: Some((bytes, false)),
            ..self
        }
    }

    /// Breaks the connection after that many bytes of the body.
    #[must_use]
    pub fn abort_after_bytes(self, bytes: usize) -> Self {
        Self {
            cut: Some((bytes, true)),
            ..self
        }
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            first_delta_after: Duration::ZERO,
            every: (Duration::ZERO, Duration::ZERO),
            ..Self::dialogue(1.0)
        }
    }
}

/// Lets a reply go on piece by piece, so that a test decides when something comes and never has to wait for a time.
#[derive(Debug, Clone)]
pub struct Gate {
    passes: Arc<Semaphore>,
}

impl Gate {
    /// A gate that lets nothing through yet.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            passes: Arc::new(Semaphore::new(0)),
        }
    }

    /// Lets that many pieces through.
    pub fn let_through(&self, pieces: usize) {
        self.passes.add_permits(pieces);
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.passes.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub(super) async fn pass(&self) {
        // The semaphore is never closed.
        if let Ok(pass) = self.passes.acquire().await {
            pass.forget();
        }
    }
}

/// The body of the refusal of a prompt that is too long, in each API's own words.
pub(super) fn too_long(api: Api, tokens: u64, most: u64) -> Value {
    match api {
        Api::OpenAi | Api::Responses => {
            let message = format!(
                "This model's maximum context length is {most} tokens. However, your messages resulted in {tokens} tokens."
            );
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}})
        }
        Api::Anthropic => {
            let message = format!("prompt is too long: {tokens} tokens > {most} maximum");
            error_body(api, 400, &message)
        }
        Api::Gemini => {
            let message = format!(
                "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({most})."
            );
            error_body(api, 400, &message)
        }
    }
}

/// The body of an error status in each API's own shape.
pub(super) fn error_body(api: Api, status: u16, message: &str) -> Value {
    let anthropic = match api {
        Api::Gemini => return gemini::error(status, message),
        Api::Anthropic => true,
        Api::OpenAi | Api::Responses => false,
    };
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ if anthropic => "api_error",
        _ => "server_error",
    };
    if anthropic {
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"})
    } else {
        json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
    }
}
