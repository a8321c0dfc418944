//! A script made concrete for one request: what is sent, and when.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    anthropic, dialogue, gemini, openai, responses,
    script::{Gate, Script, Speech},
    seen::Open,
};

/// Which API is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
}

/// What one reply says, whatever the API.
pub(super) struct Utterance {
    pub(super) deltas: Vec<String>,
    pub(super) reasoning: Vec<String>,
    pub(super) refusal: Option<String>,
    pub(super) stop_reason: Option<String>,
    /// Input and output tokens.
    pub(super) usage: (u64, u64),
}

/// A reply in an API's format: what comes at once, a piece a delta, and the end.
pub(super) struct Lines {
    pub(super) head: String,
    pub(super) deltas: Vec<String>,
    pub(super) end: String,
}

/// A piece of a body, and what it waits for.
struct Piece {
    wait: Wait,
    bytes: Bytes,
}

enum Wait {
    Nothing,
    Time(Duration),
    Gate(Gate),
    ForEver,
}

/// A body that is sent piece by piece. Holding `Open` in it counts the request as open until the client leaves or the end.
pub(super) struct Reply {
    pieces: Box<dyn Iterator<Item = Piece> + Send>,
    /// Bytes that may still be sent, and whether the connection breaks after them.
    left: Option<(usize, bool)>,
    cancelled: CancellationToken,
    _open: Open,
}

impl Reply {
    pub(super) fn new(
        script: &Script,
        api: Api,
        body: &Value,
        cancelled: CancellationToken,
        open: Open,
    ) -> Self {
        Self {
            pieces: pieces(script, api, body),
            left: script.cut,
            cancelled,
            _open: open,
        }
    }

    /// The bytes as they are due.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::unfold(Some(self), |reply| async {
            let mut reply = reply?;
            let piece = reply.pieces.next()?;
            tokio::select! {
                () = reply.cancelled.cancelled() => return Some((Err(io::ErrorKind::ConnectionAborted.into()), None)),
                () = piece.wait.over() => {}
            }
            match &mut reply.left {
                Some((left, abort)) if *left <= piece.bytes.len() => {
                    // Breaking the connection is an error after what may still be sent.
                    let (rest, abort) = (piece.bytes.slice(..*left), *abort);
                    if !abort {
                        return Some((Ok(rest), None));
                    }
                    if rest.is_empty() {
                        // Being idle once lets the server send what it has before the connection breaks.
                        tokio::task::yield_now().await;
                        return Some((Err(io::ErrorKind::ConnectionAborted.into()), None));
                    }
                    reply.left = Some((0, true));
                    reply.pieces = Box::new(std::iter::once(Piece {
                        wait: Wait::Nothing,
                        bytes: Bytes::new(),
                    }));
                    Some((Ok(rest), Some(reply)))
                }
                Some((left, _)) => {
                    *left -= piece.bytes.len();
                    Some((Ok(piece.bytes), Some(reply)))
                }
                None => Some((Ok(piece.bytes), Some(reply))),
            }
        })
    }
}

impl Wait {
    async fn over(&self) {
        match self {
            Self::Nothing => {}
            Self::Time(wait) => tokio::time::sleep(*wait).await,
            Self::Gate(gate) => gate.pass().await,
            Self::ForEver => std::future::pending().await,
        }
    }
}

fn pieces(script: &Script, api: Api, body: &Value) -> Box<dyn Iterator<Item = Piece> + Send> {
    if let Speech::Raw(bytes, _) = &script.speech {
        let body = std::iter::once(Piece {
            wait: first_wait(script),
            bytes: Bytes::from(bytes.clone()),
        });
        let silence = script.silent_after.map(|_| Piece {
            wait: Wait::ForEver,
            bytes: Bytes::new(),
        });
        return Box::new(body.chain(silence));
    }
    let said = utterance(script, api, body);
    let lines = match api {
        Api::OpenAi => openai::lines(body, &said),
        Api::Responses => responses::lines(body, &said),
        Api::Anthropic => anthropic::lines(body, &said),
        Api::Gemini => gemini::lines(body, &said),
    };
    let head = std::iter::once(Piece {
        wait: Wait::Nothing,
        bytes: lines.head.into(),
    });
    let (first, every, gate) = (script.first_delta_after, script.every, script.gate.clone());
    let paced = move |at: usize| match &gate {
        Some(gate) => Wait::Gate(gate.clone()),
        None if at == 0 => Wait::Time(first),
        None => pause(every, at),
    };
    let endless = matches!(script.speech, Speech::Endless(_));
    let deltas: Box<dyn Iterator<Item = String> + Send> = if endless {
        Box::new(lines.deltas.into_iter().cycle())
    } else {
        Box::new(lines.deltas.into_iter())
    };
    let ended = std::iter::once(lines.end);
    let spoken = deltas
        .chain(ended)
        .enumerate()
        .map(move |(at, line)| Piece {
            wait: paced(at),
            bytes: line.into(),
        });
    match script.silent_after {
        None => Box::new(head.chain(spoken)),
        Some(count) => {
            let silence = std::iter::once(Piece {
                wait: Wait::ForEver,
                bytes: Bytes::new(),
            });
            Box::new(head.chain(spoken.take(count)).chain(silence))
        }
    }
}

fn first_wait(script: &Script) -> Wait {
    match &script.gate {
        Some(gate) => Wait::Gate(gate.clone()),
        None => Wait::Time(script.first_delta_after),
    }
}

/// A wait between the two bounds that looks random and is the same in every run.
fn pause((least, most): (Duration, Duration), at: usize) -> Wait {
    if most.is_zero() {
        return Wait::Nothing;
    }
    let step = u32::try_from(dialogue::hash(&[&at.to_string()]) % 16).unwrap_or_default();
    Wait::Time(least + (most - least) * step / 15)
}

/// The texts of a request's messages.
fn messages(api: Api, body: &Value) -> Vec<String> {
    match api {
        Api::OpenAi => openai::messages(body),
        Api::Responses => responses::messages(body),
        Api::Anthropic => anthropic::messages(body),
        Api::Gemini => gemini::messages(body),
    }
}

/// The tokens of a request's messages, as they are billed.
pub(super) fn prompt_tokens(api: Api, body: &Value) -> u64 {
    tokens(&messages(api, body))
}

/// Four for three words.
fn tokens(texts: &[String]) -> u64 {
    let words: usize = texts
        .iter()
        .map(|text| text.split_whitespace().count())
        .sum();
    words as u64 * 4 / 3
}

fn utterance(script: &Script, api: Api, body: &Value) -> Utterance {
    let messages = messages(api, body);
    let deltas = match &script.speech {
        Speech::Dialogue => dialogue::deltas(&dialogue::reply(
            body["model"].as_str().unwrap_or_default(),
            &messages,
        )),
        Speech::Deltas(deltas) => deltas.clone(),
        Speech::Endless(piece) => vec![piece.clone()],
        Speech::Raw(..) | Speech::Status(..) | Speech::Silence => Vec::new(),
    };
    let usage = script
        .usage
        .unwrap_or_else(|| (tokens(&messages), tokens(&[deltas.concat()])));
    Utterance {
        deltas,
        reasoning: script.reasoning.clone(),
        refusal: script.refusal.clone(),
        stop_reason: script.stop_reason.clone(),
        usage,
    }
}
