//! For `fuzz/` and `benches/guards` alone: answers without a network.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    Api, Dialect, KINDS, Kind, Part, ProviderConfig, Reply, Request, Timeouts,
    frames::{Frames, Next},
    reply::Limits,
    secret::Secret,
};
use crate::conversation::{AttemptFailure, Params, Prompt};

/// Nothing is waited for: whatever comes is there.
const PATIENCE: Duration = Duration::from_secs(3600);
const LIMITS: Limits = Limits {
    timeouts: Timeouts {
        connect: PATIENCE,
        first_delta: PATIENCE,
        idle: PATIENCE,
        usage: PATIENCE,
    },
    max_event_bytes: 1 << 20,
};

/// The data of the frames in a body that comes in these pieces, and what ended them early.
pub async fn frames(pieces: &[&[u8]]) -> (Vec<String>, Option<AttemptFailure>) {
    let mut frames = Frames::new(response(owned(pieces)), PATIENCE, LIMITS.max_event_bytes);
    let mut all = Vec::new();
    loop {
        match frames.next(Instant::now() + PATIENCE).await {
            Ok(Next::Frame(frame)) => all.push(frame.data.to_owned()),
            Ok(Next::End | Next::Late) => return (all, None),
            Err(failure) => return (all, Some(failure)),
        }
    }
}

/// Who answers, and how.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    kind: &'static Kind,
    api: Api,
    /// Whether `<think>` tags are told apart.
    pub think_tags: bool,
}

impl Speaker {
    /// One of all APIs.
    #[must_use]
    pub fn any(number: u8, think_tags: bool) -> Self {
        let number = usize::from(number) % (KINDS.len() + 1);
        let (kind, api) = match KINDS.get(number) {
            Some(kind) => (*kind, Api::ChatCompletions),
            None => (KINDS[0], Api::Responses),
        };
        Self {
            kind,
            api,
            think_tags,
        }
    }

    /// The parts of an answer whose body comes in these pieces, and what it failed by.
    pub async fn answer(self, key: &str, pieces: &[&[u8]]) -> (Vec<Part>, Option<AttemptFailure>) {
        let mut reply = self.reply(key, owned(pieces));
        let mut parts = Vec::new();
        loop {
            match reply.next().await {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => return (parts, None),
                Err(failure) => return (parts, Some(failure)),
            }
        }
    }

    /// An answer whose body comes in these pieces.
    #[must_use]
    pub fn reply(self, key: &str, pieces: Vec<Bytes>) -> Reply {
        let request = Request {
            model: "m",
            prompt: &Prompt {
                system: None,
                messages: Vec::new(),
            },
            params: &Params::default(),
            cache_key: "",
            show_reasoning: true,
            trace: None,
        };
        let converter = (self.kind.adapter)(&self.config()).converter(&request);
        Reply::of(
            response(pieces),
            Secret::new(&SecretString::from(key)),
            converter,
            self.think_tags,
            &LIMITS,
            Instant::now() + PATIENCE,
        )
    }

    fn config(self) -> ProviderConfig {
        ProviderConfig {
            name: self.kind.name.to_owned(),
            kind: self.kind,
            api: self.api,
            base_url: None,
            query: Vec::new(),
            headers: Vec::new(),
            key_header: None,
            dialect: Dialect::default(),
            think_tags: self.think_tags,
            max_concurrent: None,
            requests_per_minute: None,
            api_key: None,
            api_key_env: String::new(),
            simulated: false,
            models: Vec::new(),
        }
    }
}

pub(super) fn owned(pieces: &[&[u8]]) -> Vec<Bytes> {
    pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece))
        .collect()
}

fn response(pieces: Vec<Bytes>) -> reqwest::Response {
    let pieces = pieces.into_iter().map(Ok::<_, Infallible>);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    hyper::Response::new(body).into()
}
