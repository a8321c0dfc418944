//! One turn of a run: who is asked, when, and how often.

use std::time::Duration;

use super::{
    attempt::{self, Ended, Stage},
    clock,
    driver::Driver,
    offers::Offers,
    plan::Step,
    state::Spoken,
};
use crate::{
    conversation::{
        AttemptFailure, Bot, FailedAttempt, Failure, FailureCode, ParamName, Pricing, Target,
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
        let targets = speaker.targets();
        let names: Vec<String> = self.state.bots.iter().map(|bot| bot.name.clone()).collect();
        let prompt = lay_out(speaker, &names, &self.state.transcript);
        let cache_key = format!("{}:{}", self.state.id, speaker.index);
        let mut place = None;
        loop {
            // Nobody is asked while what is said could not be shown or written down.
            let term = self.own().await?;
            if self.signals.leave.is_cancelled() {
                return self.commit(Step::Left).await;
            }
            let (target, provider, held) = match self.admitted(&targets, &mut place).await? {
                Admitted::Now(target, provider, held) => (target, provider, held),
                Admitted::Later => continue,
                Admitted::Closed => return Ok(()),
            };
            let request = Request {
                model: &target.model,
                prompt: &prompt,
                params: &speaker.params,
                cache_key: &cache_key,
                show_reasoning: self.state.show_reasoning && self.reasons(&target),
            };
            let stage = Stage {
                channel: &self.channel,
                signals: &self.signals,
                term,
                turn: self.state.head.turns,
                bot_index: speaker.index,
                show_reasoning: self.state.show_reasoning,
                max_text_bytes: self.config.max_text_bytes,
                pricing: self.pricing(&target, speaker),
            };
            let number = self.state.asked.attempts + 1;
            self.signals.speaks.send_replace(true);
            let ended = attempt::run(&provider, held, request, number, &stage).await;
            self.signals.speaks.send_replace(false);
            match ended {
                Ended::Completed(spoken, reason) => {
                    return self.commit(Step::Completed(spoken, reason)).await;
                }
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
                    if !self.retry(&targets, spoken, failure).await? {
                        return Ok(());
                    }
                }
            }
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
        targets: &[Target],
        place: &mut Option<Place>,
    ) -> Result<Admitted, StoreError> {
        let retry = &self.config.retry;
        let next = retry.next(targets, &self.state.asked.failed);
        let target = next.unwrap_or(&targets[0]).clone();
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
            && let Some((other, provider, place)) = self.stand_in(targets, &target)
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
        self.delayed(target, code, message.to_owned(), wait).await?;
        tokio::select! {
            biased;
            () = self.signals.stop.cancelled() => {
                self.commit(Step::Interrupted(None)).await?;
                return Ok(Admitted::Closed);
            }
            () = self.signals.leave.cancelled() => {}
            admitted = provider.admitted(&model) => *place = Some(admitted),
        }
        Ok(Admitted::Later)
    }

    /// Another target that may be asked now.
    fn stand_in(
        &self,
        targets: &[Target],
        instead_of: &Target,
    ) -> Option<(Target, Provider, Place)> {
        let (retry, failed) = (&self.config.retry, &self.state.asked.failed);
        let others = targets.iter().filter(|target| {
            let worth_it = retry.next(std::slice::from_ref(target), failed).is_some();
            *target != instead_of && worth_it
        });
        let mut free = others.filter_map(|target| {
            let provider = self.registry.get(&target.provider)?;
            match provider.admit(&target.model) {
                Admission::Now(place) => Some((target.clone(), provider.clone(), place)),
                Admission::Wait(..) => None,
            }
        });
        free.next()
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
        targets: &[Target],
        spoken: Spoken,
        error: AttemptFailure,
    ) -> Result<bool, StoreError> {
        tracing::warn!(
            run.id = %self.state.id, turn = self.state.head.turns, attempt = spoken.attempt,
            code = error.failure.code.as_str(), reason = %error.failure.message, "attempt failed"
        );
        let mut failed = self.state.asked.failed.clone();
        failed.push(FailedAttempt {
            target: spoken.target.clone(),
            code: error.failure.code,
            retryable: error.retryable,
        });
        let policy = &self.config.retry;
        let Some(next) = policy.next(targets, &failed) else {
            self.commit(Step::Failed(spoken, error)).await?;
            return Ok(false);
        };
        let of_it = |attempt: &&FailedAttempt| attempt.target == *next;
        let failures = u32::try_from(failed.iter().filter(of_it).count()).unwrap_or(u32::MAX);
        // Another target is asked at once: it has not failed.
        let wait = if *next == spoken.target {
            policy.wait_after(&error, failures, rand::random())
        } else {
            Duration::ZERO
        };
        let next = next.clone();
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
