//! The thin loop: sends a request, reads frames, hands their parts on. What they mean is the converter's business.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{
    Timeouts,
    adapter::{Converter, Outgoing, Step},
    error,
    frames::{Frames, Next},
    gate::Place,
    halves::Halves,
    limits,
    secret::{Censor, Secret},
    think_tags::{ThinkTags, Told},
};
use crate::conversation::{AttemptFailure, FailureCode, StopReason, Usage};

/// The longest that a provider's word about its limits is believed.
const MAX_LIMIT: Duration = Duration::from_mins(1);

/// What bounds an answer.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeouts: Timeouts,
    pub(super) max_event_bytes: usize,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text, never empty.
    Text(String),
    /// Thoughts, never part of the text.
    Reasoning(String),
    /// A refusal's own words.
    Refusal(String),
    /// Counts so far: replaces the fields that it names.
    Usage(Usage),
    /// The answer is complete. Comes once; only usage may follow.
    Finished(StopReason),
}

/// What takes the key out of each of the texts of an answer.
#[derive(Default)]
struct Censors {
    reasoning: Option<Censor>,
    text: Option<Censor>,
    refusal: Option<Censor>,
}

/// An answer that is coming. Dropping it closes the connection.
pub struct Reply {
    frames: Frames,
    converter: Box<dyn Converter>,
    halves: Halves,
    ready: VecDeque<Part>,
    /// Tells thoughts from text where the provider marks them in it.
    think_tags: Option<ThinkTags>,
    /// By when the next words must have come, and how long each are waited for.
    word_until: Instant,
    word_patience: Duration,
    /// Whether any have come.
    begun: bool,
    /// How many bytes of refusal have come, and may come.
    refusal_bytes: usize,
    max_refusal_bytes: usize,
    /// When to stop waiting for usage; set by the terminal frame.
    usage_until: Option<Instant>,
    usage_patience: Duration,
    /// A failure that is told after the parts that came before it.
    failed: Option<AttemptFailure>,
    over: bool,
    /// What must not be told.
    secret: Option<Secret>,
    censors: Censors,
    /// Given back when the answer is let go of.
    _place: Option<Place>,
}

impl Reply {
    pub(super) async fn open(
        client: &reqwest::Client,
        place: &mut Place,
        outgoing: Outgoing,
        converter: Box<dyn Converter>,
        think_tags: bool,
        limits: &Limits,
    ) -> Result<Self, AttemptFailure> {
        let deadline = Instant::now() + limits.timeouts.first_delta;
        let secret = outgoing
            .auth
            .as_ref()
            .and_then(|(_, value)| Secret::new(value));
        let response = tokio::time::timeout_at(deadline, begin(client, place, outgoing))
            .await
            .unwrap_or_else(|_| Err(no_delta()))
            .map_err(|failure| error::told(failure, secret.as_ref()))?;
        Ok(Self::of(
            response, secret, converter, think_tags, limits, deadline,
        ))
    }

    /// What a response says that has begun to come.
    pub(super) fn of(
        response: reqwest::Response,
        secret: Option<Secret>,
        converter: Box<dyn Converter>,
        think_tags: bool,
        limits: &Limits,
        deadline: Instant,
    ) -> Self {
        let Limits {
            timeouts,
            max_event_bytes,
        } = *limits;
        Self {
            frames: Frames::new(response, timeouts.idle, max_event_bytes),
            converter,
            halves: Halves::default(),
            ready: VecDeque::new(),
            think_tags: think_tags.then(ThinkTags::default),
            word_until: deadline,
            word_patience: timeouts.first_delta,
            begun: false,
            refusal_bytes: 0,
            max_refusal_bytes: max_event_bytes,
            usage_until: None,
            usage_patience: timeouts.usage,
            failed: None,
            over: false,
            censors: Censors::of(secret.as_ref()),
            secret,
            _place: None,
        }
    }

    /// The same, holding its place until it has been read.
    pub(super) fn holding(self, place: Place) -> Self {
        Self {
            _place: Some(place),
            ..self
        }
    }

    /// The next part; `None` after the answer is complete and all of its usage is known.
    ///
    /// Cancel-safe: what was read and not returned is returned by the next call.
    ///
    /// # Errors
    /// When the provider fails, falls silent, or ends without having said that the answer is complete.
    pub async fn next(&mut self) -> Result<Option<Part>, AttemptFailure> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if let Some(failure) = self.failed.take() {
                self.over = true;
                return Err(error::told(failure, self.secret.as_ref()));
            }
            if self.over {
                return Ok(None);
            }
            match self.step().await {
                Ok(Some(step)) => self.take(step),
                // The answer is complete: whatever becomes of the rest of the body is no matter.
                Ok(None) | Err(_) if self.usage_until.is_some() => self.over = true,
                Ok(None) => self.fail(self.broken_off()),
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// The next frame's meaning; `None` at the end of the body.
    async fn step(&mut self) -> Result<Option<Step>, AttemptFailure> {
        let due = self.usage_until.unwrap_or(self.word_until);
        let frame = match self.frames.next(due).await? {
            Next::Frame(frame) => frame,
            Next::End => return Ok(None),
            Next::Late => return Err(self.no_word()),
        };
        let data = frame.data.trim();
        // Empty frames, and comments that a gateway put into a data field.
        if data.is_empty() || data.starts_with(':') {
            return Ok(Some(Step::default()));
        }
        // It ends any stream, also one that broke off with an error where nobody reads it.
        if data.starts_with("[DONE]") && self.usage_until.is_none() && frame.after_stray {
            return Err(self.broken_off());
        }
        let data = self.halves.joined(data);
        let secret = self.secret.as_ref();
        let data = match secret {
            Some(secret) => secret.frame_hidden(&data),
            None => data,
        };
        self.converter.convert(&data).map(Some)
    }

    fn take(&mut self, step: Step) {
        let Step {
            reasoning,
            text,
            refusal,
            usage,
            finished,
            failed,
            last,
        } = step;
        if self.usage_until.is_some() {
            self.ready.extend(usage.map(Part::Usage));
            self.over |= last || is_over(self.usage_until);
            return;
        }
        if [&reasoning, &text, &refusal]
            .into_iter()
            .any(|words| words.as_ref().is_some_and(|words| !words.is_empty()))
        {
            self.begun = true;
            self.word_until = Instant::now() + self.word_patience;
        } else if finished.is_none() && failed.is_none() && is_over(Some(self.word_until)) {
            // Frames that say nothing are no words, however many come.
            self.ready.extend(usage.map(Part::Usage));
            self.fail(self.no_word());
            return;
        }
        self.refusal_bytes += refusal.as_ref().map_or(0, String::len);
        let Censors {
            reasoning: thoughts,
            text: words,
            refusal: refusals,
        } = &mut self.censors;
        let reasoning = reasoning.and_then(|said| censored(thoughts, said));
        let text = text.and_then(|said| censored(words, said));
        let refusal = refusal.and_then(|said| censored(refusals, said));
        self.ready.extend(reasoning.map(Part::Reasoning));
        self.ready_text(text);
        if self.refusal_bytes > self.max_refusal_bytes {
            let message = format!(
                "the refusal went over the limit of {} bytes",
                self.max_refusal_bytes
            );
            self.fail(AttemptFailure::new(FailureCode::TextTooLong, message));
            return;
        }
        self.ready.extend(refusal.map(Part::Refusal));
        if finished.is_some() {
            self.say_the_rest();
        }
        self.ready.extend(usage.map(Part::Usage));
        if let Some(reason) = finished {
            self.ready.push_back(Part::Finished(reason));
            self.usage_until = Some(Instant::now() + self.usage_patience);
        }
        if let Some(failure) = failed {
            self.fail(failure);
        }
        self.over |= last;
    }

    /// Fails the answer, after all that came of it.
    fn fail(&mut self, failure: AttemptFailure) {
        self.say_the_rest();
        self.failed = Some(failure);
    }

    /// Readies what was held back as a possible part of a tag, or of the key.
    fn say_the_rest(&mut self) {
        let rest = |censor: &mut Option<Censor>| {
            let rest = censor.as_mut().map(Censor::end);
            rest.filter(|rest| !rest.is_empty())
        };
        let (reasoning, text) = (
            rest(&mut self.censors.reasoning),
            rest(&mut self.censors.text),
        );
        let refusal = rest(&mut self.censors.refusal);
        self.ready.extend(reasoning.map(Part::Reasoning));
        self.ready_text(text);
        if let Some(tags) = &mut self.think_tags {
            let told = tags.end();
            self.say(told);
        }
        self.ready.extend(refusal.map(Part::Refusal));
    }

    /// Readies text, told apart from the thoughts in it where the provider marks them.
    fn ready_text(&mut self, text: Option<String>) {
        match (&mut self.think_tags, text) {
            (Some(tags), Some(text)) => {
                let told = tags.push(&text);
                self.say(told);
            }
            (None, text) => self.ready.extend(text.map(Part::Text)),
            (Some(_), None) => {}
        }
    }

    fn broken_off(&self) -> AttemptFailure {
        let message = "the provider's stream ended without its terminal event".to_owned();
        let message = match self.frames.stray_error() {
            Some(error) => format!("{message}, after it had said: {error}"),
            None => message,
        };
        AttemptFailure::new(FailureCode::Truncated, message)
    }

    fn no_word(&self) -> AttemptFailure {
        if !self.begun {
            return no_delta();
        }
        let message = format!(
            "the provider kept the connection busy and said nothing for {} ms",
            self.word_patience.as_millis()
        );
        AttemptFailure::new(FailureCode::Timeout, message)
    }

    fn say(&mut self, Told { thoughts, text }: Told) {
        let said = |words: String| Some(words).filter(|words| !words.is_empty());
        self.ready.extend(said(thoughts).map(Part::Reasoning));
        self.ready.extend(said(text).map(Part::Text));
    }
}

impl Censors {
    fn of(secret: Option<&Secret>) -> Self {
        let censor = || secret.and_then(Secret::censor);
        Self {
            reasoning: censor(),
            text: censor(),
            refusal: censor(),
        }
    }
}

fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// The words as they may be told; `None` if there are none yet.
fn censored(censor: &mut Option<Censor>, said: String) -> Option<String> {
    let said = without_nul(said);
    let told = match censor {
        Some(censor) => censor.push(said),
        None => said,
    };
    (!told.is_empty()).then_some(told)
}

/// PostgreSQL's text cannot hold U+0000, and nobody can read it.
fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

fn no_delta() -> AttemptFailure {
    AttemptFailure::new(
        FailureCode::Timeout,
        "the provider did not begin to answer in time",
    )
}

/// Sends the request and checks that what comes back is a stream.
async fn begin(
    client: &reqwest::Client,
    place: &mut Place,
    outgoing: Outgoing,
) -> Result<reqwest::Response, AttemptFailure> {
    let mut request = client
        .post(&outgoing.url)
        .header("content-type", "application/json");
    for (name, value) in &outgoing.headers {
        request = request.header(name.as_ref(), value);
    }
    if let Some((name, value)) = &outgoing.auth {
        let value = reqwest::header::HeaderValue::from_str(value.expose_secret());
        let mut value = value.map_err(|_| {
            AttemptFailure::new(
                FailureCode::Auth,
                "the provider's key has characters that no header can carry",
            )
        })?;
        value.set_sensitive(true);
        request = request.header(name.as_ref(), value);
    }
    let response = request
        .body(outgoing.body.to_string())
        .send()
        .await
        .map_err(|error| {
            if error.is_connect() {
                place.failed();
            }
            error::unreachable(&error)
        })?;
    if let Some(wait) = limits::announced(response.headers(), SystemTime::now()) {
        place.limited(wait.min(MAX_LIMIT));
    }
    let status = response.status();
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if status.is_success() {
        place.succeeded();
    }
    let packed = response.headers().get("content-encoding");
    if status.is_success()
        && let Some(packed) = packed.filter(|coding| *coding != "identity")
    {
        return Err(error::packed(&String::from_utf8_lossy(packed.as_bytes())));
    }
    if status.is_success() && is_stream(content_type) {
        return Ok(response);
    }
    let (content_type, headers) = (content_type.to_owned(), response.headers().clone());
    let body = error::read_body(response).await;
    if status.is_success() {
        return Err(error::no_stream(&content_type, &body));
    }
    let failure = error::refused(status, &headers, &body);
    match failure.failure.code {
        FailureCode::Overloaded | FailureCode::Server | FailureCode::RateLimited => place.failed(),
        // Whatever else it refuses, it is there.
        _ => place.succeeded(),
    }
    Err(failure)
}

/// Some servers name no type at all; what they send is judged by what it holds.
fn is_stream(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.is_empty() || kind.eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests;
