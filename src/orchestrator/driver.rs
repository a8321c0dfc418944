//! The one task of a run: everything that changes it while it runs, one thing after the other.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Config,
    attempt::{self, Ended, Stage},
    clock,
    plan::{RunState, Spoken, Step, plan},
};
use crate::{
    conversation::{AttemptFailure, Bot, Failure, FailureCode, lay_out},
    event_log::Channel,
    models::{Claimed, Fence, Store, StoreError},
    providers::{Registry, Request},
};

/// How often a commit is tried again when the database fails, and how much longer the wait gets each time.
const COMMIT_RETRIES: u32 = 10;
const COMMIT_WAIT: Duration = Duration::from_millis(100);

/// What a run's task works with.
pub(super) struct Driver {
    pub(super) store: Store,
    pub(super) registry: Registry,
    pub(super) config: Arc<Config>,
    pub(super) channel: Arc<Channel>,
    /// Cancelled by a stop.
    pub(super) stop: CancellationToken,
    state: RunState,
    fence: Fence,
}

impl Driver {
    /// The task of a run that was claimed.
    pub(super) fn new(
        claimed: Claimed,
        store: Store,
        registry: Registry,
        config: Arc<Config>,
        channel: Arc<Channel>,
        stop: CancellationToken,
    ) -> Self {
        let Claimed {
            run, head, epoch, ..
        } = &claimed;
        let fence = Fence {
            run: run.id,
            epoch: *epoch,
            expected_seq: head.last_seq,
            known_command: 0,
        };
        let state = RunState::resumed(claimed, clock::now());
        Self {
            store,
            registry,
            config,
            channel,
            stop,
            state,
            fence,
        }
    }

    /// Drives the run to its end.
    ///
    /// # Errors
    /// When the run was lost to another owner, or the database failed for good; nothing more is written then.
    pub(super) async fn drive(mut self) -> Result<(), StoreError> {
        self.commit(Step::Begin).await?;
        while let Some(speaker) = self.state.speaker.clone() {
            self.speak(&speaker).await?;
        }
        tracing::info!(run.id = %self.state.id, status = self.state.head.status.as_str(), turns = self.state.head.turns, "run ended");
        Ok(())
    }

    /// Ends a run that cannot go on.
    ///
    /// # Errors
    /// When the run was lost to another owner, or the database failed for good.
    pub(super) async fn fail(mut self, failure: Failure) -> Result<(), StoreError> {
        self.commit(Step::Abort(failure)).await
    }

    /// One turn: attempts until one of them closes it.
    async fn speak(&mut self, speaker: &Bot) -> Result<(), StoreError> {
        let Some(provider) = self.registry.get(&speaker.provider).cloned() else {
            let message = format!("the provider {:?} is not configured", speaker.provider);
            return self
                .commit(Step::Abort(Failure::new(
                    FailureCode::ProviderNotConfigured,
                    message,
                )))
                .await;
        };
        let names: Vec<String> = self.state.bots.iter().map(|bot| bot.name.clone()).collect();
        let prompt = lay_out(speaker, &names, &self.state.transcript);
        let cache_key = format!("{}:{}", self.state.id, speaker.index);
        for number in 1.. {
            let request = Request {
                model: &speaker.model,
                prompt: &prompt,
                params: &speaker.params,
                cache_key: &cache_key,
            };
            let stage = Stage {
                channel: &self.channel,
                stop: &self.stop,
                turn: self.state.head.turns,
                bot_index: speaker.index,
                max_text_bytes: self.config.max_text_bytes,
            };
            let (spoken, ended) = attempt::run(&provider, request, number, &stage).await;
            match ended {
                Ended::Completed(reason) => {
                    return self.commit(Step::Completed(spoken, reason)).await;
                }
                Ended::Stopped => return self.commit(Step::Interrupted(Some(spoken))).await,
                Ended::Failed(failure) => {
                    if !self.retry(spoken, failure).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a failed attempt down and waits for the next one; false if there is none because the turn is closed.
    async fn retry(&mut self, spoken: Spoken, error: AttemptFailure) -> Result<bool, StoreError> {
        tracing::warn!(
            run.id = %self.state.id, turn = self.state.head.turns, attempt = spoken.attempt,
            code = error.failure.code.as_str(), reason = %error.failure.message, "attempt failed"
        );
        // Every attempt before this one failed by its provider too: its number counts the failures.
        let Some(wait) = self
            .config
            .retry
            .wait_after(&error, spoken.attempt, rand::random())
        else {
            self.commit(Step::Failed(spoken, error.failure)).await?;
            return Ok(false);
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.commit(Step::Retry {
            spoken,
            failure: error.failure,
            wait_ms,
        })
        .await?;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                self.commit(Step::Interrupted(None)).await?;
                Ok(false)
            }
            () = tokio::time::sleep(wait) => Ok(true),
        }
    }

    /// Writes a step, with the commands that wait, and shows its events.
    async fn commit(&mut self, step: Step) -> Result<(), StoreError> {
        let at = clock::now();
        let mut failures = 0;
        let committed = loop {
            match self
                .store
                .commit(&self.fence, |commands| {
                    plan(&self.state, &step, commands, at)
                })
                .await
            {
                Ok(committed) => break committed,
                Err(StoreError::Database(error)) if failures < COMMIT_RETRIES => {
                    failures += 1;
                    tracing::warn!(run.id = %self.state.id, %error, failures, "a commit failed; trying again");
                    tokio::time::sleep(COMMIT_WAIT * failures).await;
                    if self.was_committed().await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        };
        self.fence.expected_seq = committed.change.head.last_seq;
        if step.takes_commands() {
            self.fence.known_command = committed.last_command;
        }
        self.channel.publish(&committed.logged);
        self.state.advance(committed.change, &committed.commands);
        Ok(())
    }

    /// Whether a commit whose answer was lost went through after all. If so, goes on from what the database says.
    async fn was_committed(&mut self) -> Result<bool, StoreError> {
        let Fence {
            run,
            epoch,
            expected_seq,
            ..
        } = self.fence;
        match self.store.stands_at(run, epoch).await {
            Ok(Some(seq)) if seq == expected_seq => return Ok(false),
            Ok(Some(seq)) => self.fence.expected_seq = seq,
            Ok(None) => return Err(StoreError::LeaseLost),
            // Still out of reach: the commit is tried again, and its guard refuses it if it went through.
            Err(StoreError::Database(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        let logged = self
            .store
            .events_after(run, expected_seq, u64::from(u32::MAX))
            .await?;
        let claimed = self.store.load(run).await?.ok_or(StoreError::LeaseLost)?;
        self.channel.publish(&logged);
        self.state = RunState::resumed(claimed, clock::now());
        Ok(true)
    }
}
