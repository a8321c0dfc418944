//! The one task of a run: everything that changes it while it runs, one thing after the other.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Config, clock, measure,
    node::Node,
    plan::{Halt, Step, plan},
    spans,
    state::RunState,
};
use crate::{
    conversation::{
        Asker, Attribute, Failure, FailureCode, OverQuota, RunStatus, Sizes, Span, StopMode,
        Target, Timestamp,
    },
    event_log::Channel,
    models::{Change, Claimed, Command, CommandKind, Fence, Store, StoreError},
    providers::Registry,
};

/// How long to wait before a commit is tried again when the database fails: longer each time, up to a bound.
const COMMIT_WAIT: Duration = Duration::from_millis(100);
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What tells a run's task to end.
#[derive(Clone)]
pub(super) struct Signals {
    /// Cancelled by a stop: the run is to end.
    pub(super) stop: CancellationToken,
    /// Who has stopped it while the database was away: set before that.
    pub(super) hung_up_by: Arc<OnceLock<Asker>>,
    /// Cancelled when the process is to end: the turn in progress is the last one here.
    pub(super) leave: CancellationToken,
    /// Cancelled when that took too long: the turn in progress is cut.
    pub(super) cut: CancellationToken,
    /// Whether the process may act for its runs.
    pub(super) node: Arc<Node>,
    /// Says whether a provider is being asked.
    pub(super) speaks: Arc<watch::Sender<bool>>,
}

/// What a run's task works with.
pub(super) struct Driver {
    store: Store,
    pub(super) registry: Registry,
    pub(super) config: Arc<Config>,
    pub(super) channel: Arc<Channel>,
    pub(super) signals: Signals,
    pub(super) state: RunState,
    fence: Fence,
    /// The term of this process in which the database has said that the run is ours.
    term: Option<u64>,
    /// Whether the run is somebody else's now, given up by us.
    pub(super) released: bool,
    /// Whether somebody waited for the run to be stopped when it was claimed.
    stop_waits: bool,
    /// Whether the owner before broke down.
    crashed: bool,
    takeovers: u32,
    /// Until when targets that failed in the open turn are left alone.
    pub(super) rests: Vec<(Target, Instant)>,
    /// How long the texts are, where that matters.
    pub(super) sizes: Sizes,
    /// The run's way here, for tracing tools.
    pub(super) span: Span,
    /// What ended the drive early, in a word.
    broken: Option<&'static str>,
    /// Held while the run is suspected of breaking its process down: such runs are tried one at a time.
    suspicion: Option<OwnedSemaphorePermit>,
}

/// What every task of a process works with.
pub(super) struct Tools {
    pub(super) store: Store,
    pub(super) registry: Registry,
    pub(super) config: Arc<Config>,
}

impl Driver {
    /// The task of a run that was claimed.
    pub(super) fn new(
        claimed: Claimed,
        tools: &Tools,
        channel: Arc<Channel>,
        signals: Signals,
        suspicion: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let fence = Fence {
            run: claimed.run.id,
            epoch: claimed.epoch,
            expected_seq: claimed.head.last_seq,
            known_command: Some(0),
        };
        let stop_waits = claimed
            .waiting
            .iter()
            .any(|command| matches!(command.kind, CommandKind::Stop(StopMode::Now)));
        let span = spans::run(
            &tools.config.tracing,
            claimed.run.id,
            claimed.trace.as_ref(),
        );
        if let Some(context) = span.context() {
            tracing::Span::current().record("trace_id", context.trace_id());
        }
        Self {
            store: tools.store.clone(),
            registry: tools.registry.clone(),
            config: Arc::clone(&tools.config),
            channel,
            signals,
            fence,
            term: None,
            released: false,
            stop_waits,
            crashed: claimed.crashed,
            takeovers: claimed.takeovers,
            rests: Vec::new(),
            sizes: Sizes::default(),
            span,
            broken: None,
            suspicion,
            state: RunState::resumed(claimed, clock::now()),
        }
    }

    /// Drives the run to its end, or until the process has to leave it.
    ///
    /// # Errors
    /// When the run was lost to another owner, or the database refuses what the run wants to write; nothing more is written then.
    pub(super) async fn drive(mut self) -> Result<(), StoreError> {
        let driven = self.keep_driving().await;
        self.broken = driven.as_ref().err().map(StoreError::word);
        driven?;
        let status = self.state.head.status.as_str();
        tracing::info!(status, turns = self.state.head.turns, "run ended here");
        Ok(())
    }

    async fn keep_driving(&mut self) -> Result<(), StoreError> {
        self.begin().await?;
        while let Some(speaker) = self.state.speaker.clone()
            && !self.released
        {
            self.speak(&speaker).await?;
        }
        Ok(())
    }

    /// Ends a run that cannot go on.
    ///
    /// # Errors
    /// When the run was lost to another owner, or the database refuses it.
    pub(super) async fn fail(mut self, failure: Failure) -> Result<(), StoreError> {
        if self.state.head.open_seq.is_some()
            && let Some(bot) = &self.state.speaker
        {
            // What was asked for the turn was paid for, whatever came of it.
            let lost = self.lost(bot);
            self.commit(Step::Recovered(lost)).await?;
        }
        self.commit(Step::Abort(failure)).await
    }

    /// Takes the run up where the log leaves it.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let open = self.state.head.open_seq.is_some();
        if open {
            // Deltas follow the last durable event, which this process may never have seen.
            let (run, last) = (self.state.id, self.fence.expected_seq);
            let last = self.store.events_after(run, last.saturating_sub(1), 1);
            self.channel.publish(&last.await?);
        }
        if open
            && self.crashed
            && let Some(bot) = &self.state.speaker
        {
            let lost = self.lost(bot);
            self.commit(Step::Recovered(lost)).await?;
        }
        if self.takeovers >= self.config.max_takeovers {
            let message = format!("its process broke down {} times", self.takeovers);
            let failure = Failure::new(FailureCode::CrashedRepeatedly, message);
            return self.commit(Step::Abort(failure)).await;
        }
        if open && self.state.speaker.is_none() {
            let message = "the bot whose turn it is cannot be read";
            let failure = Failure::new(FailureCode::Internal, message);
            return self.commit(Step::Abort(failure)).await;
        }
        if !open {
            self.commit(Step::Begin).await?;
        } else if self.stop_waits {
            self.commit(Step::Interrupted(None)).await?;
        }
        Ok(())
    }

    /// The term in which the run is ours: the one of the last commit, or else the database is asked again.
    pub(super) async fn own(&mut self) -> Result<u64, StoreError> {
        let node = &self.signals.node;
        if let Some(term) = self.term
            && node.holds(term)
        {
            return Ok(term);
        }
        node.regained().await;
        let (term, Fence { run, epoch, .. }) = (node.term(), self.fence);
        if self.store.stands_at(run, epoch).await?.is_none() {
            return Err(StoreError::LeaseLost);
        }
        self.term = Some(term);
        Ok(term)
    }

    /// Writes a step, with the commands that wait, and shows its events. As long as the database is away it is tried again: what
    /// was heard is paid for. Whether the run is still ours is for the guard to say.
    pub(super) async fn commit(&mut self, step: Step) -> Result<(), StoreError> {
        let at = clock::now();
        let (mut unsure, mut wait) = (false, COMMIT_WAIT);
        let fence = Fence {
            known_command: self.fence.known_command.filter(|_| step.takes_commands()),
            ..self.fence
        };
        let committed = loop {
            let halt = Halt {
                // A process that is told to leave while it tries starts no turn either.
                leaving: self.signals.leave.is_cancelled(),
                over: self.over_quota(&step, at).await,
            };
            let term = self.signals.node.term();
            let answer = self
                .store
                .commit(&fence, |commands| {
                    let change = plan(&self.state, &step, commands, &halt, at);
                    self.signed(change, commands)
                })
                .await;
            self.signals.node.heard(&answer);
            match answer {
                Ok(committed) => {
                    self.term = Some(term);
                    break committed;
                }
                Err(error) if error.passes() => {
                    tracing::warn!(%error, cause = error.cause(), "a commit failed; trying again");
                    unsure = true;
                }
                // The guard refuses what went through although nobody heard of it.
                Err(StoreError::LeaseLost) if unsure => {}
                Err(error) => return Err(error),
            }
            let turn_started = self.state.turn_started;
            let planned = plan(&self.state, &step, &[], &halt, at);
            if self.was_committed(&planned, &mut wait).await? {
                // Commands may have gone with it; whatever they changed, the head that was read knows.
                let change = Change {
                    head: self.state.head.clone(),
                    ..planned
                };
                measure::tell(&self.config.meter, &change, turn_started);
                return Ok(());
            }
        };
        self.fence.expected_seq = committed.change.head.last_seq;
        if step.takes_commands() {
            self.fence.known_command = Some(committed.last_command);
        }
        self.released = committed.change.release;
        if committed.change.message.is_some() {
            self.suspicion = None;
        }
        self.channel.publish(&committed.logged);
        measure::tell(
            &self.config.meter,
            &committed.change,
            self.state.turn_started,
        );
        self.state.advance(committed.change, &committed.commands);
        Ok(())
    }

    /// The change with who has stopped the run, if it ends it, and no command says so.
    fn signed(&self, change: Change, commands: &[Command]) -> Change {
        let is_stop = |command: &Command| matches!(command.kind, CommandKind::Stop(_));
        let unwritten = change.head.status == RunStatus::Stopped && !commands.iter().any(is_stop);
        let stopped_by = self.signals.hung_up_by.get().filter(|_| unwritten);
        Change {
            stopped_by: stopped_by.cloned(),
            ..change
        }
    }

    /// Whether the run's owner has nothing left of a quota of the day, before the step starts another turn. Not known where the database
    /// does not answer: then it is asked again before the commit is tried again; where that went through meanwhile, after the next turn.
    async fn over_quota(&self, step: &Step, at: Timestamp) -> Option<OverQuota> {
        let daily = &self.config.quotas.daily;
        if !daily.is_set() || !matches!(step, Step::Begin | Step::Completed(..)) {
            return None;
        }
        let taken = self.store.taken_by_owner_of(self.state.id, at).await;
        let taken = taken.inspect_err(
            |error| tracing::warn!(%error, "what the run's owner has taken today is not known"),
        );
        let planned = plan(&self.state, step, &[], &Halt::default(), at);
        let now = planned.attempt.map(|attempt| attempt.taken);
        let sum = taken.ok()?.plus(now.unwrap_or_default());
        daily.standings(sum, at).err()
    }

    /// Whether a commit whose answer was lost went through after all: asks until the database answers. If so, goes on from what it
    /// says.
    async fn was_committed(
        &mut self,
        planned: &Change,
        wait: &mut Duration,
    ) -> Result<bool, StoreError> {
        loop {
            tokio::time::sleep(*wait).await;
            *wait = (*wait * 2).min(COMMIT_WAIT_MAX);
            match self.look_up(planned).await {
                Err(error) if error.passes() => {}
                answer => return answer,
            }
        }
    }

    async fn look_up(&mut self, planned: &Change) -> Result<bool, StoreError> {
        let Fence {
            run,
            epoch,
            expected_seq,
            ..
        } = self.fence;
        match self.store.stands_at(run, epoch).await? {
            Some(seq) if seq == expected_seq => return Ok(false),
            Some(_) => {}
            None if self.was_released(planned).await? => return Ok(true),
            None => return Err(StoreError::LeaseLost),
        }
        let logged = self
            .store
            .events_after(run, expected_seq, u64::from(u32::MAX))
            .await?;
        let claimed = self.store.load(run).await?;
        let claimed = claimed.filter(|claimed| claimed.epoch == epoch);
        let claimed = claimed.ok_or(StoreError::LeaseLost)?;
        self.released = claimed.owner != self.signals.node.id;
        self.fence.expected_seq = claimed.head.last_seq;
        self.channel.publish(&logged);
        self.state = RunState::resumed(claimed, clock::now());
        Ok(true)
    }

    /// Whether the run was given up by the change, which ends our epoch: then the log has its events, or, where it has none, the run
    /// still wants an owner. If so, goes on from the change.
    async fn was_released(&mut self, planned: &Change) -> Result<bool, StoreError> {
        let Fence {
            run,
            epoch,
            expected_seq,
            ..
        } = self.fence;
        if !planned.release {
            return Ok(false);
        }
        let logged = if planned.events.is_empty() {
            let free = self.store.is_free_at(run, epoch + 1, expected_seq).await?;
            free.then(Vec::new)
        } else {
            self.store.logged(run, expected_seq, planned).await?
        };
        let Some(logged) = logged else {
            return Ok(false);
        };
        self.released = true;
        self.channel.publish(&logged);
        self.state.advance(planned.clone(), &[]);
        Ok(true)
    }
}

impl Drop for Driver {
    /// However the drive ends, its span says how the run stands.
    fn drop(&mut self) {
        let head = &self.state.head;
        self.span
            .note("parley.run.status", Attribute::Text(head.status.as_str()));
        let panicked = std::thread::panicking().then_some("panic");
        let failed = head.failure.as_ref().map(|failure| failure.code.as_str());
        if let Some(word) = panicked.or(failed).or(self.broken) {
            self.span.fail(word);
        }
    }
}
