//! One provider request, from sending it to its end, whatever that is.

use std::time::Instant;

use super::{driver::Signals, state::Spoken};
use crate::{
    conversation::{AttemptFailure, Delta, FailureCode, RestartReason, StopReason},
    event_log::Channel,
    providers::{Part, Provider, Request},
};

/// How an attempt ended.
pub(super) enum Ended {
    /// The provider said that it is done.
    Completed(StopReason),
    /// It did not come to its end.
    Failed(AttemptFailure),
    /// A stop cut it off.
    Stopped,
    /// Its owner may not go on with it.
    GivenUp(RestartReason),
}

/// Where an attempt's deltas go, and when it must end.
pub(super) struct Stage<'a> {
    /// Where deltas are shown.
    pub(super) channel: &'a Channel,
    /// What may cut it off.
    pub(super) signals: &'a Signals,
    /// The term in which the run is known to be ours.
    pub(super) term: u64,
    /// The turn that is spoken.
    pub(super) turn: u32,
    /// Who speaks.
    pub(super) bot_index: u32,
    /// The most bytes of text that the turn may have.
    pub(super) max_text_bytes: usize,
}

/// Makes the request and shows its deltas. When this returns, or is dropped, the provider's stream is closed.
pub(super) async fn run(
    provider: &Provider,
    request: Request<'_>,
    number: u32,
    stage: &Stage<'_>,
) -> (Spoken, Ended) {
    let started = Instant::now();
    let mut speech = Speech {
        spoken: Spoken {
            attempt: number,
            ..Spoken::default()
        },
        started,
        stage,
        finished: None,
    };
    let ended = tokio::select! {
        // A stop that is there already wins over what has not been read yet.
        biased;
        () = stage.signals.stop.cancelled() => Ended::Stopped,
        () = stage.signals.cut.cancelled() => Ended::GivenUp(RestartReason::Drain),
        () = stage.signals.node.lapsed(stage.term) => Ended::GivenUp(RestartReason::Crash),
        ended = speech.listen(provider, request) => ended,
    };
    let Speech {
        mut spoken,
        finished,
        ..
    } = speech;
    spoken.duration_ms = millis(started);
    let ended = match (finished, ended) {
        // A terminal frame that was read wins over everything that came after it.
        (Some(reason), _) => Ended::Completed(reason),
        (None, ended) => ended,
    };
    (spoken, ended)
}

/// What was heard so far: kept outside the future that listens, so that a stop does not lose it.
struct Speech<'a> {
    spoken: Spoken,
    started: Instant,
    stage: &'a Stage<'a>,
    finished: Option<StopReason>,
}

impl Speech<'_> {
    /// Listens to the end of the answer, or of what may be shown of it.
    async fn listen(&mut self, provider: &Provider, request: Request<'_>) -> Ended {
        match self.parts(provider, request).await {
            Ok(true) => Ended::Failed(AttemptFailure::new(
                FailureCode::Truncated,
                "the provider's stream just ended",
            )),
            Ok(false) => Ended::GivenUp(RestartReason::Crash),
            Err(failure) => Ended::Failed(failure),
        }
    }

    /// False if the process found that it may not go on.
    async fn parts(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
    ) -> Result<bool, AttemptFailure> {
        let mut reply = provider.send(request).await?;
        while let Some(part) = reply.next().await? {
            // A frozen process that wakes finds frames before its timers fire: others may speak for the run by now.
            if !self.stage.signals.node.holds(self.stage.term) {
                return Ok(false);
            }
            match part {
                Part::Text(text) => self.hear(&text)?,
                // Nobody has asked to see reasoning, and it never becomes text.
                Part::Reasoning(_) => {}
                Part::Refusal(words) => {
                    self.spoken.refusal.get_or_insert_default().push_str(&words);
                }
                Part::Usage(usage) => self.spoken.usage = self.spoken.usage.updated_by(usage),
                Part::Finished(reason) => self.finished = Some(reason),
            }
        }
        Ok(true)
    }

    fn hear(&mut self, text: &str) -> Result<(), AttemptFailure> {
        let Stage {
            channel,
            turn,
            bot_index,
            max_text_bytes,
            ..
        } = *self.stage;
        if self.spoken.text.len() + text.len() > max_text_bytes {
            let message = format!("the turn's text went over the limit of {max_text_bytes} bytes");
            return Err(AttemptFailure::new(FailureCode::TextTooLong, message));
        }
        if self.spoken.first_delta_ms.is_none() {
            self.spoken.first_delta_ms = Some(millis(self.started));
        }
        channel.push(&Delta {
            turn,
            bot_index,
            text,
        });
        self.spoken.text.push_str(text);
        Ok(())
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
