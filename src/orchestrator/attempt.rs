//! One provider request, from sending it to its end, whatever that is.

use std::time::Instant;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{driver::Signals, state::Spoken};
use crate::{
    conversation::{
        AttemptFailure, Charge, Cost, Delta, DeltaKind, FailureCode, Pricing, RestartReason,
        StopReason, Target,
    },
    event_log::Channel,
    providers::{Part, Place, Provider, Request},
};

/// A summary that is far longer than the longest that is asked for is none.
const MAX_SUMMARY_BYTES: usize = 16 * 1024;

/// How an attempt ended. Without anything spoken, no provider was asked.
pub(super) enum Ended {
    /// The provider said that it is done.
    Completed(Spoken, StopReason),
    /// It did not come to its end.
    Failed(Spoken, AttemptFailure),
    /// A stop cut it off.
    Stopped(Option<Spoken>),
    /// Its owner may not go on with it.
    GivenUp(Option<Spoken>, RestartReason),
}

/// Why nothing more is read of an attempt.
enum End {
    Failed(AttemptFailure),
    Stopped,
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
    /// Whether a summary is asked for, of which nothing is shown until it is whole.
    pub(super) summarises: bool,
    /// Whether reasoning is shown.
    pub(super) show_reasoning: bool,
    /// The most bytes of text that the turn may have, and of reasoning.
    pub(super) max_text_bytes: usize,
    /// What the request costs; `None` where no price is known.
    pub(super) pricing: Option<Pricing>,
}

/// Makes the request and shows its deltas. When this returns, or is dropped, the provider's stream is closed.
pub(super) async fn run(
    provider: &Provider,
    place: Place,
    request: Request<'_>,
    number: u32,
    stage: &Stage<'_>,
) -> Ended {
    let target = Target {
        provider: provider.name().to_owned(),
        model: request.model.to_owned(),
    };
    let started = Instant::now();
    let mut speech = Speech {
        spoken: Spoken {
            sent: request.prompt.bytes(),
            pricing: stage.pricing.clone(),
            summary: stage.summarises.then(String::new),
            ..Spoken::nothing(target, number)
        },
        started,
        stage,
        asked: false,
        finished: None,
    };
    // Looked at when it rings, and not with each delta.
    let mut interrupted: FuturesUnordered<_> = std::iter::once(interrupted(stage)).collect();
    let end = tokio::select! {
        // A stop that is there already wins over what has not been read yet.
        biased;
        Some(end) = interrupted.next() => end,
        end = speech.listen(provider, place, request) => end,
    };
    let Speech {
        mut spoken,
        asked,
        finished,
        ..
    } = speech;
    spoken.duration_ms = millis(started);
    let pricing = spoken.pricing.as_ref();
    spoken.cost = pricing.and_then(|pricing| pricing.cost(spoken.usage));
    match (finished, end) {
        (Some(reason), _) if !spoken.is_whole(reason) => {
            let message = format!(
                "the model was asked for a summary and wrote none that is whole ({})",
                reason.as_str()
            );
            let mut failure = AttemptFailure::new(FailureCode::NoSummary, message);
            failure.charge = Charge::Counted;
            Ended::Failed(spoken, failure)
        }
        // A terminal frame that was read wins over everything that came after it.
        (Some(reason), _) => Ended::Completed(spoken, reason),
        (None, End::Failed(failure)) => {
            if failure.charge == Charge::Nothing {
                spoken.cost = Some(Cost::ZERO);
            }
            Ended::Failed(spoken, failure)
        }
        (None, End::Stopped) => Ended::Stopped(asked.then_some(spoken)),
        (None, End::GivenUp(reason)) => Ended::GivenUp(asked.then_some(spoken), reason),
    }
}

/// Waits for what ends an attempt from outside.
async fn interrupted(stage: &Stage<'_>) -> End {
    tokio::select! {
        biased;
        () = stage.signals.stop.cancelled() => End::Stopped,
        () = stage.signals.cut.cancelled() => End::GivenUp(RestartReason::Drain),
        () = stage.signals.node.lapsed(stage.term) => End::GivenUp(RestartReason::Crash),
    }
}

/// What was heard so far: kept outside the future that listens, so that a stop does not lose it.
struct Speech<'a> {
    spoken: Spoken,
    started: Instant,
    stage: &'a Stage<'a>,
    /// Whether the request was begun: from then on it may cost something.
    asked: bool,
    finished: Option<StopReason>,
}

impl Speech<'_> {
    /// Listens to the end of the answer, or of what may be shown of it.
    async fn listen(&mut self, provider: &Provider, place: Place, request: Request<'_>) -> End {
        self.asked = true;
        match self.parts(provider, place, request).await {
            Ok(true) => End::Failed(AttemptFailure::new(
                FailureCode::Truncated,
                "the provider's stream just ended",
            )),
            Ok(false) => End::GivenUp(RestartReason::Crash),
            Err(failure) => End::Failed(failure),
        }
    }

    /// False if the process found that it may not go on.
    async fn parts(
        &mut self,
        provider: &Provider,
        place: Place,
        request: Request<'_>,
    ) -> Result<bool, AttemptFailure> {
        let mut reply = provider.send(place, request).await?;
        while let Some(part) = reply.next().await? {
            // A frozen process that wakes finds frames before its timers fire: others may speak for the run by now.
            if !self.stage.signals.node.holds(self.stage.term) {
                return Ok(false);
            }
            match part {
                Part::Text(text) => self.hear(&text)?,
                Part::Reasoning(thoughts) => self.overhear(&thoughts)?,
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
        if let Some(summary) = &mut self.spoken.summary {
            if summary.len() + text.len() > MAX_SUMMARY_BYTES {
                let message =
                    format!("the summary went over the limit of {MAX_SUMMARY_BYTES} bytes");
                return Err(AttemptFailure::new(FailureCode::NoSummary, message));
            }
            summary.push_str(text);
            return Ok(());
        }
        let bytes = self.spoken.text.len() + text.len();
        self.bounded("text", bytes)?;
        self.show(DeltaKind::Text, text);
        self.spoken.text.push_str(text);
        Ok(())
    }

    /// Reasoning never becomes text. It is counted whether it is shown or not: who thinks without end is cut off all the same, and how
    /// a run ends does not depend on what is shown of it.
    fn overhear(&mut self, thoughts: &str) -> Result<(), AttemptFailure> {
        let bytes = self.spoken.reasoning_bytes + thoughts.len();
        self.bounded("reasoning", bytes)?;
        self.spoken.reasoning_bytes = bytes;
        if self.stage.show_reasoning && !self.stage.summarises {
            self.show(DeltaKind::Reasoning, thoughts);
        }
        Ok(())
    }

    fn bounded(&self, what: &str, bytes: usize) -> Result<(), AttemptFailure> {
        let max = self.stage.max_text_bytes;
        if bytes <= max {
            return Ok(());
        }
        let message = format!("the turn's {what} went over the limit of {max} bytes");
        Err(AttemptFailure::new(FailureCode::TextTooLong, message))
    }

    fn show(&mut self, kind: DeltaKind, text: &str) {
        if self.spoken.first_delta_ms.is_none() {
            self.spoken.first_delta_ms = Some(millis(self.started));
        }
        self.spoken.deltas += 1;
        self.stage.channel.push(&Delta {
            turn: self.stage.turn,
            bot_index: self.stage.bot_index,
            kind,
            text,
        });
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
