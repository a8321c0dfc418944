//! One turn of a run: who is asked, when, and how often.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    attempt::{self, Ended, Stage},
    clock,
    driver::Driver,
    offers::Offers,
    plan::Step,
    spans,
    state::Spoken,
};
use crate::{
    conversation::{
        AttemptFailure, Bot, FailedAttempt, Failure, FailureCode, ParamName, Pricing, Span, Target,
        lay_out,
    },
    models::StoreError,
    providers::{Admission, Obstacle, Place, Provider, Request},
};

/// What an attempt needs before it begins.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a moment; a box would only be in the way"
)]
enum Admitted {
    /// This target may be asked now.
    Now(Target, Provider, Place),
    /// Somebody had to wait: whether the run is still ours has to be seen again.
    Later,
    /// The turn is closed.
    Closed,
}

impl Driver {
    /// Attempts until one of them closes the turn.
    pub(super) async fn speak(&mut self, speaker: &Bot) -> Result<(), StoreError> {
        let tracing = self.config.tracing.clone();
        let (run, turn) = (self.state.id, self.state.head.turns);
        let mut span = spans::turn(&tracing, run, turn, speaker.index, self.span.context());
        let spoken = self.attempts(speaker, &span).await;
        let failed = self.state.head.failure.as_ref();
        let failed = failed.map(|failure| failure.code.as_str());
        // A turn that fails ends its run.
        if let Some(word) = failed.or(spoken.as_ref().err().map(StoreError::word)) {
            span.fail(word);
        }
        spoken
    }

    async fn attempts(&mut self, speaker: &Bot, span: &Span) -> Result<(), StoreError> {
        self.rests.clear();
        let cache_key = format!("{}:{}", self.state.id, speaker.index);
        let mut place = None;
        let tracing = self.config.tracing.clone();
        let (run, turn) = (self.state.id, self.state.head.turns);
        loop {
            let question = self.question(speaker).await?;
            // Nobody is asked while what is said could not be shown or written down.
            let term = self.own().await?;
            if self.signals.leave.is_cancelled() {
                return self.commit(Step::Left).await;
            }
            let (target, provider, held) = match self.admitted(speaker, &mut place).await? {
                Admitted::Now(target, provider, held) => (target, provider, held),
                Admitted::Later => continue,
                Admitted::Closed => return Ok(()),
            };
            let number = self.state.asked.attempts + 1;
            let span = spans::attempt(
                &tracing,
                run,
                &target,
                number,
                &question.prompt,
                span.context(),
            );
            let trace = span.context().cloned();
            let request = Request {
                model: &target.model,
                prompt: &question.prompt,
                params: &question.params,
                cache_key: &cache_key,
                show_reasoning: self.state.show_reasoning
                    && question.summary_before.is_none()
                    && self.reasons(&target),
                trace: trace.as_ref(),
            };
            let stage = Stage {
                channel: &self.channel,
                signals: &self.signals,
                term,
                turn,
                bot_index: speaker.index,
                summarises: question.summary_before.is_some(),
                show_reasoning: self.state.show_reasoning,
                max_text_bytes: self.config.max_text_bytes,
                pricing: self.pricing(&target, speaker),
            };
            self.signals.speaks.send_replace(true);
            let ended = attempt::run(&provider, held, request, number, &stage).await;
            self.signals.speaks.send_replace(false);
            spans::answered(span, &ended, &tracing);
            match ended {
                Ended::Completed(spoken, reason) => match question.summary_before {
                    Some(turn) => self.commit(Step::Summarised(spoken, reason, turn)).await?,
                    None => return self.commit(Step::Completed(spoken, reason)).await,
                },
                Ended::Stopped(spoken) => return self.commit(Step::Interrupted(spoken)).await,
                Ended::GivenUp(None, _) => {}
                Ended::GivenUp(Some(spoken), reason) => {
                    self.signals.node.regained().await;
                    self.commit(Step::GivenUp(spoken, reason)).await?;
                    if self.released {
                        return Ok(());
                    }
                }
                Ended::Failed(spoken, failure) => {
                    if !self.retry(speaker, spoken, failure).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The attempt that the owner before had begun, of which nobody knows more than what it must have asked.
    pub(super) fn lost(&self, speaker: &Bot) -> Spoken {
        let target = self.next_target(speaker);
        let names: Vec<String> = self.state.bots.iter().map(|bot| bot.name.clone()).collect();
        Spoken {
            sent: lay_out(speaker, &names, &self.state.transcript).bytes(),
            pricing: self.pricing(&target, speaker),
            ..Spoken::nothing(target, self.state.asked.attempts + 1)
        }
    }

    /// What a request to that target costs that begins now.
    fn pricing(&self, target: &Target, speaker: &Bot) -> Option<Pricing> {
        let Target { provider, model } = target;
        let catalogue = &self.config.catalogue;
        catalogue.pricing(provider, model, &speaker.params, clock::now())
    }

    /// Whether it is worth asking for reasoning: models that have none may refuse even the question.
    fn reasons(&self, target: &Target) -> bool {
        let offers = Offers {
            registry: &self.registry,
            catalogue: &self.config.catalogue,
        };
        let facts = offers.facts(target);
        facts.is_some_and(|facts| facts.params.contains_key(&ParamName::ReasoningEffort))
    }

    /// Who is asked next, once that is possible. `place` is kept for the look after a wait.
    async fn admitted(
        &mut self,
        speaker: &Bot,
        place: &mut Option<Place>,
    ) -> Result<Admitted, StoreError> {
        let targets = &speaker.targets();
        let failed = &self.counted(speaker, &self.state.asked.failed);
        let target = self.next_target(speaker);
        let Some(provider) = self.registry.get(&target.provider).cloned() else {
            let message = format!("the provider {:?} is not configured", target.provider);
            let failure = Failure::new(FailureCode::ProviderNotConfigured, message);
            self.commit(Step::Abort(failure)).await?;
            return Ok(Admitted::Closed);
        };
        if let Some(place) = place.take() {
            return Ok(Admitted::Now(target, provider, place));
        }
        let (obstacle, wait) = match provider.admit(&target.model) {
            Admission::Now(place) => return Ok(Admitted::Now(target, provider, place)),
            Admission::Wait(obstacle, wait) => (obstacle, wait),
        };
        if obstacle == Obstacle::Breaker
            && let Some((other, provider, place)) = self.stand_in(targets, failed, &target)
        {
            let message = format!(
                "{} of {} fails too often and is left alone; {} of {} is asked in its place",
                target.model, target.provider, other.model, other.provider
            );
            self.delayed(target, FailureCode::Overloaded, message, Duration::ZERO)
                .await?;
            return Ok(Admitted::Now(other, provider, place));
        }
        let (code, message) = match obstacle {
            Obstacle::Breaker => (
                FailureCode::Overloaded,
                "the model fails too often and is left alone for now",
            ),
            Obstacle::RateLimit => (
                FailureCode::RateLimited,
                "no more requests are allowed for now",
            ),
            Obstacle::Busy => (
                FailureCode::RateLimited,
                "as many requests as are allowed are being answered",
            ),
        };
        let model = target.model.clone();
        // Another one may come back sooner, where the model is only left alone.
        let rested = self.rested(targets, failed, &target);
        let rested = rested.filter(|_| obstacle == Obstacle::Breaker);
        let wait = rested.map_or(wait, |at| {
            wait.min(at.saturating_duration_since(Instant::now()))
        });
        self.delayed(target, code, message.to_owned(), wait).await?;
        tokio::select! {
            biased;
            () = self.signals.stop.cancelled() => {
                self.commit(Step::Interrupted(None)).await?;
                return Ok(Admitted::Closed);
            }
            () = self.signals.leave.cancelled() => {}
            () = passed(rested) => {}
            admitted = provider.admitted(&model) => *place = Some(admitted),
        }
        Ok(Admitted::Later)
    }

    /// Another target that may be asked now.
    fn stand_in(
        &self,
        targets: &[Target],
        failed: &[FailedAttempt],
        instead_of: &Target,
    ) -> Option<(Target, Provider, Place)> {
        let now = Instant::now();
        let mut free = self
            .others(targets, failed, instead_of)
            .filter(|target| self.rest_of(target).is_none_or(|until| until <= now))
            .filter_map(|target| {
                let provider = self.registry.get(&target.provider)?;
                match provider.admit(&target.model) {
                    Admission::Now(place) => Some((target.clone(), provider.clone(), place)),
                    Admission::Wait(..) => None,
                }
            });
        free.next()
    }

    /// When the first of the others that still rest after a failure has rested. One that has, and was not let through all the same, is
    /// no reason to look again.
    fn rested(
        &self,
        targets: &[Target],
        failed: &[FailedAttempt],
        instead_of: &Target,
    ) -> Option<Instant> {
        let now = Instant::now();
        let others = self.others(targets, failed, instead_of);
        let rests = others.filter_map(|target| self.rest_of(target));
        rests.filter(|until| *until > now).min()
    }

    /// The targets that are worth asking in the place of that one.
    fn others<'a>(
        &'a self,
        targets: &'a [Target],
        failed: &'a [FailedAttempt],
        instead_of: &'a Target,
    ) -> impl Iterator<Item = &'a Target> {
        targets.iter().filter(move |target| {
            let alone = std::slice::from_ref(*target);
            *target != instead_of && self.config.retry.next(alone, failed).is_some()
        })
    }

    /// Until when a target is left alone after its failure in this turn.
    fn rest_of(&self, target: &Target) -> Option<Instant> {
        let of_it = |(rests, _): &&(Target, Instant)| rests == target;
        self.rests.iter().rfind(of_it).map(|(_, until)| *until)
    }

    /// Says that an attempt has to wait, or goes elsewhere.
    async fn delayed(
        &mut self,
        target: Target,
        code: FailureCode,
        message: String,
        wait: Duration,
    ) -> Result<(), StoreError> {
        let failure = Failure::new(code, message);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.commit(Step::Delayed {
            target,
            failure,
            wait_ms,
        })
        .await
    }

    /// Writes a failed attempt down and waits for the next one; false if there is none because the turn is closed.
    async fn retry(
        &mut self,
        speaker: &Bot,
        spoken: Spoken,
        error: AttemptFailure,
    ) -> Result<bool, StoreError> {
        // The message is the provider's, and may repeat the prompt: the event `error` has it.
        tracing::warn!(
            turn = self.state.head.turns,
            attempt = spoken.attempt,
            code = error.failure.code.as_str(),
            "attempt failed"
        );
        let mut failed = self.state.asked.failed.clone();
        failed.push(FailedAttempt {
            target: spoken.target.clone(),
            code: error.failure.code,
            retryable: error.retryable,
        });
        let failed = self.counted(speaker, &failed);
        let policy = &self.config.retry;
        let targets = speaker.targets();
        let Some(next) = policy.next(&targets, &failed).cloned() else {
            self.commit(Step::Failed(spoken, error)).await?;
            return Ok(false);
        };
        let of_it = |attempt: &&FailedAttempt| attempt.target == spoken.target;
        let failures = failed.iter().filter(of_it).count();
        // What was called too long is asked for again in another form, and at once.
        let rest = match u32::try_from(failures).unwrap_or(u32::MAX) {
            0 => Duration::ZERO,
            failures => policy.wait_after(&error, failures, rand::random()),
        };
        self.rests
            .push((spoken.target.clone(), Instant::now() + rest));
        // Another target is asked at once: it has not failed.
        let wait = if next == spoken.target {
            rest
        } else {
            Duration::ZERO
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.commit(Step::Retry {
            spoken,
            failure: error,
            wait_ms,
            next,
        })
        .await?;
        tokio::select! {
            biased;
            () = self.signals.stop.cancelled() => {
                self.commit(Step::Interrupted(None)).await?;
                Ok(false)
            }
            () = self.signals.leave.cancelled() => Ok(true),
            () = tokio::time::sleep(wait) => Ok(true),
        }
    }
}

/// Waits until that moment; without one, for ever.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
