//! The bytes of a provider's answer: Chat Completions' chunks as `OpenAI` sends them, each in an HTTP chunk of its own.

use crate::clock::{STAMP, now};

const HEAD: &str = r#"{"id":"chatcmpl-Cq8mC1Zt7yXn2LwVb5KsD0aRf","object":"chat.completion.chunk","created":1795953600,"model":"bench","service_tier":"default","system_fingerprint":"fp_8d0c6f2a41","choices":["#;
const USAGE: &str = r#"],"usage":{"prompt_tokens":20,"completion_tokens":200,"total_tokens":220,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"obfuscation":""}"#;
const TAIL: &str = r#"],"usage":null,"obfuscation":"Zk3vQ9x"}"#;

/// The head of the answer.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// Makes the deltas of one answer. All are of the same size, so that only the text has to be written anew.
#[derive(Debug)]
pub(crate) struct Deltas {
    before: Vec<u8>,
    after: Vec<u8>,
    /// What the filler is cut from.
    filler: Vec<u8>,
    /// How much of it a delta takes.
    size: usize,
    seed: u64,
}

impl Deltas {
    /// Deltas whose text has so many bytes; at least the stamp.
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        let before = format!(r#"data: {HEAD}{{"index":0,"delta":{{"content":""#);
        let after = format!("\"}},\"logprobs\":null,\"finish_reason\":null}}{TAIL}\n\n");
        let size = size.max(STAMP);
        let length = before.len() + size + after.len();
        let mut random = seed | 1;
        let filler = (0..1024.max(2 * size))
            .map(|_| b"etaoin shrdlu cmfwyp vbgkqjxz, .ETAO"[next(&mut random) % 36])
            .collect();
        Self {
            before: format!("{length:x}\r\n{before}").into_bytes(),
            after: format!("{after}\r\n").into_bytes(),
            filler,
            size: size - STAMP,
            seed: random,
        }
    }

    /// Puts one delta, stamped with the time that it is now, at the end of `bytes`, and its text at the end of `text`.
    pub(crate) fn put(&mut self, bytes: &mut Vec<u8>, text: &mut String) {
        let stamp = format!("{:0STAMP$x}", now());
        let from = next(&mut self.seed) % (self.filler.len() - self.size);
        let filler = &self.filler[from..from + self.size];
        bytes.extend_from_slice(&self.before);
        bytes.extend_from_slice(stamp.as_bytes());
        bytes.extend_from_slice(filler);
        bytes.extend_from_slice(&self.after);
        text.push_str(&stamp);
        text.push_str(std::str::from_utf8(filler).unwrap_or_default());
    }
}

/// The head and the first chunk, which has the role and no text.
pub(crate) fn opening() -> Vec<u8> {
    let mut bytes = ANSWER.to_vec();
    let role = r#"{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}"#;
    put_frame(&mut bytes, &format!("{HEAD}{role}{TAIL}"));
    bytes
}

/// The reason of the end, the usage, `[DONE]`, and the end of the body.
pub(crate) fn ending() -> Vec<u8> {
    let mut bytes = Vec::new();
    put_frame(
        &mut bytes,
        &format!(
            r#"{HEAD}{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"stop"}}{TAIL}"#
        ),
    );
    put_frame(&mut bytes, &format!("{HEAD}{USAGE}"));
    put_frame(&mut bytes, "[DONE]");
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn put_frame(bytes: &mut Vec<u8>, data: &str) {
    let frame = format!("data: {data}\n\n");
    bytes.extend_from_slice(format!("{:x}\r\n{frame}\r\n", frame.len()).as_bytes());
}

/// The next of a row of numbers that look random (xorshift).
pub(crate) fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap_or(0)
}
