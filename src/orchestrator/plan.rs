//! What one step of a run writes: pure, a function of the run as its owner knows it, of what happened, and of the commands that
//! wait. The transaction that writes it is `models`' part.

mod draft;

use super::state::{RunState, Spoken};
use crate::{
    conversation::{
        AttemptFailure, Bot, BotUpdated, Charge, EndReason, Failure, FailureCode, OverQuota,
        RestartReason, RunCompleted, RunEvent, RunFailed, RunStatus, RunStopped, StopReason,
        Target, Timestamp, TurnStarted, end_after, speaker,
    },
    models::{Applied, AttemptRecord, Change, Command, CommandKind, Head, Locked},
};

/// What happened to the run.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// It was claimed and has no open turn.
    Begin,
    /// It was claimed with an open turn, whose request was lost with the owner before.
    Recovered(Spoken),
    /// An attempt was given up because its owner may not go on with it; another will follow, here or elsewhere.
    GivenUp(Spoken, RestartReason),
    /// Nothing happened, and the process is to end: the run is left to another one, its turn open.
    Left,
    /// The provider said that it is done.
    Completed(Spoken, StopReason),
    /// A stop cut the attempt off, or came between two attempts (then there is no attempt to record).
    Interrupted(Option<Spoken>),
    /// The last attempt failed.
    Failed(Spoken, AttemptFailure),
    /// The context of the speaker begins with this turn from now on, for the sake of that target.
    LeftOut(u32, Target),
    /// The same, and the attempt wrote a summary of what is left out.
    Summarised(Spoken, StopReason, u32),
    /// An attempt failed and another will follow, to `next`.
    Retry {
        spoken: Spoken,
        failure: AttemptFailure,
        wait_ms: u64,
        next: Target,
    },
    /// The next attempt has to wait, or goes to another target: nobody is asked yet.
    Delayed {
        target: Target,
        failure: Failure,
        wait_ms: u64,
    },
    /// The run cannot go on, and no provider was asked.
    Abort(Failure),
}

impl Step {
    /// Whether commands are applied with it: only between turns, so that nothing durable stands between two deltas.
    pub(super) fn takes_commands(&self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Completed(..)
                | Self::Interrupted(_)
                | Self::Failed(..)
                | Self::Abort(_)
        )
    }
}

impl Step {
    /// Whether a process that is to end may leave the run with it: nothing is being asked of a provider, nor about to be.
    fn may_leave(&self) -> bool {
        matches!(self, Self::GivenUp(..) | Self::Left)
    }
}

/// A plan in the making.
struct Draft<'a> {
    state: &'a RunState,
    at: Timestamp,
    bots: Vec<Bot>,
    change: Change,
}

/// What keeps a run from its next turn, whatever it is that happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Halt {
    /// The process is to end, so the run is left to another one.
    pub(super) leaving: bool,
    /// Its owner has taken what it may take within a day, so the run fails.
    pub(super) over: Option<OverQuota>,
}

/// What is to be written for `step` while `commands` wait.
pub(super) fn plan(
    state: &RunState,
    step: &Step,
    commands: &[Command],
    halt: &Halt,
    at: Timestamp,
) -> Change {
    let leaving = halt.leaving;
    let mut draft = Draft {
        state,
        at,
        bots: state.bots.clone(),
        change: nothing(&state.head, at),
    };
    let end = draft.close(step);
    let stop = step.takes_commands() && draft.apply(commands);
    match end {
        _ if !step.takes_commands() => draft.change.release = leaving && step.may_leave(),
        Some(End::Failed(failure)) => {
            finish(&mut draft.change, RunStatus::Failed, None, Some(failure));
        }
        Some(End::Planned(reason)) if !stop => {
            finish(&mut draft.change, RunStatus::Completed, Some(reason), None);
        }
        Some(End::Stopped | End::Planned(_)) => draft.stop(),
        None if stop => draft.stop(),
        None if leaving => draft.change.release = true,
        None => match &halt.over {
            Some(over) => {
                let failure = Failure::new(FailureCode::QuotaExceeded, over.to_string());
                finish(&mut draft.change, RunStatus::Failed, None, Some(failure));
            }
            None => draft.start_turn(),
        },
    }
    if draft.change.head.status.is_final() {
        draft.close_commands(commands);
    }
    draft.change
}

/// What a stop writes about a run that nobody drives and that has no open turn.
pub(super) fn stop_unowned(locked: &Locked, at: Timestamp) -> Change {
    let mut change = nothing(&locked.head, at);
    finish(
        &mut change,
        RunStatus::Stopped,
        Some(EndReason::StopRequested),
        None,
    );
    change
}

/// What a change of a bot writes about a run that nobody drives.
pub(super) fn update_unowned(locked: &Locked, update: &BotUpdated, at: Timestamp) -> Change {
    let mut change = nothing(&locked.head, at);
    push(&mut change, RunEvent::BotUpdated(update.clone()));
    change
}

/// The change that changes nothing yet.
fn nothing(head: &Head, at: Timestamp) -> Change {
    Change {
        at,
        events: Vec::new(),
        head: head.clone(),
        message: None,
        cut: None,
        attempt: None,
        applied: Vec::new(),
        stopped_by: None,
        release: false,
    }
}

fn push(change: &mut Change, event: RunEvent) {
    change.head.last_seq += 1;
    change.events.push(event);
}

/// The final event, and the run as it stands after it.
fn finish(
    change: &mut Change,
    status: RunStatus,
    reason: Option<EndReason>,
    failure: Option<Failure>,
) {
    let head = &mut change.head;
    debug_assert!(head.status.may_become(status));
    head.status = status;
    head.reason = reason;
    head.failure.clone_from(&failure);
    head.finished_at = Some(change.at);
    let totals = head.totals();
    let event = match (failure, reason) {
        (Some(error), _) => RunEvent::RunFailed(RunFailed { error, totals }),
        (None, Some(EndReason::StopRequested) | None) => RunEvent::RunStopped(RunStopped {
            reason: EndReason::StopRequested,
            totals,
        }),
        (None, Some(reason @ (EndReason::MaxTurns | EndReason::Refusal))) => {
            RunEvent::RunCompleted(RunCompleted { reason, totals })
        }
    };
    push(change, event);
}

/// How a step ends the run.
enum End {
    Planned(EndReason),
    Stopped,
    Failed(Failure),
}

impl Draft<'_> {
    fn push(&mut self, event: RunEvent) {
        push(&mut self.change, event);
    }

    /// Closes or restarts the open turn, and says whether that ends the run.
    fn close(&mut self, step: &Step) -> Option<End> {
        let turn = self.change.head.turns;
        let Some(bot) = self.state.speaker.as_ref() else {
            return match step {
                Step::Abort(failure) => {
                    self.change.head.open_seq = None;
                    Some(End::Failed(failure.clone()))
                }
                _ => None,
            };
        };
        match step {
            Step::Begin | Step::Left => None,
            Step::Recovered(lost) => {
                // Nobody knows what was shown of it.
                self.record(bot, lost, AttemptRecord::CRASH, Charge::Open);
                self.restarted(bot, turn, lost, RestartReason::Crash, &lost.target);
                None
            }
            Step::GivenUp(spoken, reason) => {
                let outcome = match reason {
                    RestartReason::Drain => AttemptRecord::DRAIN,
                    RestartReason::Crash | RestartReason::ProviderError => AttemptRecord::CRASH,
                };
                self.record(bot, spoken, outcome, Charge::Open);
                self.restarted(bot, turn, spoken, *reason, &spoken.target);
                None
            }
            Step::Completed(spoken, reason) => {
                self.completed(bot, turn, spoken, *reason);
                let turns = self.change.head.turns;
                end_after(turns, self.state.max_turns, self.state.bot_count(), *reason)
                    .map(End::Planned)
            }
            Step::Interrupted(spoken) => {
                self.interrupted(bot, turn, spoken.as_ref());
                Some(End::Stopped)
            }
            Step::Failed(spoken, failure) => {
                self.record_failure(bot, spoken, failure);
                self.error(turn, spoken, &failure.failure, None);
                self.failed(bot, turn, Some(spoken), &failure.failure);
                Some(End::Failed(failure.failure.clone()))
            }
            Step::LeftOut(kept_from_turn, target) => {
                self.left_out(bot, turn, *kept_from_turn, target);
                None
            }
            Step::Summarised(spoken, reason, kept_from_turn) => {
                self.summarised(bot, turn, spoken, *reason, *kept_from_turn);
                None
            }
            Step::Retry {
                spoken,
                failure,
                wait_ms,
                next,
            } => {
                self.record_failure(bot, spoken, failure);
                self.error(turn, spoken, &failure.failure, Some(*wait_ms));
                // Only what was shown needs to be taken back.
                if spoken.first_delta_ms.is_some() {
                    self.restarted(bot, turn, spoken, RestartReason::ProviderError, next);
                }
                None
            }
            Step::Delayed {
                target,
                failure,
                wait_ms,
            } => {
                let next = Spoken::nothing(target.clone(), self.state.asked.attempts + 1);
                self.error(turn, &next, failure, Some(*wait_ms));
                None
            }
            Step::Abort(failure) => {
                self.failed(bot, turn, None, failure);
                Some(End::Failed(failure.clone()))
            }
        }
    }

    /// Applies the commands that wait, in order. Whether one of them stops the run.
    fn apply(&mut self, commands: &[Command]) -> bool {
        let mut stop = false;
        for command in commands {
            match &command.kind {
                CommandKind::Stop(_) => stop = true,
                CommandKind::UpdateBot { update, bot } => {
                    if let Some(place) = self.bots.iter_mut().find(|known| known.index == bot.index)
                    {
                        *place = bot.clone();
                    }
                    self.push(RunEvent::BotUpdated(update.clone()));
                    let seq = Some(self.change.head.last_seq);
                    self.change.applied.push(Applied {
                        id: command.id,
                        seq,
                    });
                }
            }
        }
        stop
    }

    /// A final event closes every command: a stop that is what ended the run by that event, all else as too late.
    fn close_commands(&mut self, commands: &[Command]) {
        let stopped = self.change.head.status == RunStatus::Stopped;
        let seq = stopped.then_some(self.change.head.last_seq);
        for command in commands
            .iter()
            .filter(|command| matches!(command.kind, CommandKind::Stop(_)))
        {
            self.change.applied.push(Applied {
                id: command.id,
                seq,
            });
        }
    }

    fn stop(&mut self) {
        finish(
            &mut self.change,
            RunStatus::Stopped,
            Some(EndReason::StopRequested),
            None,
        );
    }

    fn start_turn(&mut self) {
        let turn = self.change.head.turns;
        let bot_index = speaker(turn, self.state.bot_count());
        let Some(bot) = self.bots.iter().find(|bot| bot.index == bot_index).cloned() else {
            return;
        };
        self.push(RunEvent::TurnStarted(TurnStarted {
            turn,
            bot_index,
            bot_name: bot.name,
            bot_version: bot.version,
            provider: bot.provider,
            model: bot.model,
            attempt: 1,
        }));
        self.change.head.open_seq = Some(self.change.head.last_seq);
        self.change.head.status = RunStatus::Running;
        self.change.head.started_at.get_or_insert(self.at);
    }
}

#[cfg(test)]
mod context_tests;
#[cfg(test)]
mod halt_tests;
#[cfg(test)]
mod tests;
