//! What one step of a run writes: pure, a function of the run as its owner knows it, of what happened, and of the commands that
//! wait. The transaction that writes it is `models`' part.

use crate::{
    conversation::{
        AttemptError, Bot, BotUpdated, BotVersion, EndReason, Failure, Message, MessageKind,
        MessageStatus, RestartReason, RunCompleted, RunEvent, RunFailed, RunId, RunStatus,
        RunStopped, StopReason, Timestamp, Totals, TurnCompleted, TurnFailed, TurnInterrupted,
        TurnRestarted, TurnStarted, Usage, end_after, speaker,
    },
    models::{Applied, AttemptRecord, Change, Claimed, Command, CommandKind, Head, Locked},
};

/// A run as its owner knows it.
#[derive(Debug, Clone)]
pub(super) struct RunState {
    pub(super) id: RunId,
    pub(super) max_turns: u32,
    /// The newest version of each bot.
    pub(super) bots: Vec<Bot>,
    /// The bot of the open turn, in the version that `turn.started` pinned.
    pub(super) speaker: Option<Bot>,
    /// When the open turn started.
    pub(super) turn_started: Timestamp,
    pub(super) transcript: Vec<Message>,
    pub(super) head: Head,
}

impl RunState {
    /// The run as the database has it. Each bot speaks in the newest version that is in force for the turn that is open or next.
    pub(super) fn resumed(claimed: Claimed, now: Timestamp) -> Self {
        let Claimed {
            run,
            head,
            versions,
            messages,
            ..
        } = claimed;
        let mut state = Self {
            id: run.id,
            max_turns: run.max_turns,
            bots: run.bots,
            speaker: None,
            turn_started: now,
            transcript: messages,
            head,
        };
        if state.head.open_seq.is_some() {
            let (turn, next) = (
                state.head.turns,
                speaker(state.head.turns, state.bot_count()),
            );
            let in_force = |version: &&BotVersion| {
                version.bot.index == next
                    && version.effective_from_turn.is_some_and(|from| from <= turn)
            };
            state.speaker = versions
                .iter()
                .rfind(in_force)
                .map(|version| version.bot.clone());
        }
        state
    }

    /// How many bots take part. 2 to 8.
    pub(super) fn bot_count(&self) -> u32 {
        u32::try_from(self.bots.len()).unwrap_or(u32::MAX)
    }

    /// The run after its change was committed.
    pub(super) fn advance(&mut self, change: Change, commands: &[Command]) {
        for command in commands {
            if let CommandKind::UpdateBot { bot, .. } = &command.kind
                && let Some(known) = self.bots.iter_mut().find(|known| known.index == bot.index)
            {
                known.clone_from(bot);
            }
        }
        if change.message.is_some() {
            self.speaker = None;
        }
        if self.speaker.is_none() && change.head.open_seq.is_some() {
            let next = speaker(change.head.turns, self.bot_count());
            self.speaker = self.bots.iter().find(|bot| bot.index == next).cloned();
            self.turn_started = change.at;
        }
        self.transcript.extend(change.message);
        self.head = change.head;
    }
}

/// What an attempt came to, in numbers and words.
#[derive(Debug, Clone, Default)]
pub(super) struct Spoken {
    /// The number of the attempt within its turn, from 1.
    pub(super) attempt: u32,
    pub(super) text: String,
    pub(super) refusal: Option<String>,
    pub(super) usage: Usage,
    pub(super) duration_ms: u64,
    pub(super) first_delta_ms: Option<u64>,
}

/// What happened to the run.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// It was claimed and has no open turn.
    Begin,
    /// The provider said that it is done.
    Completed(Spoken, StopReason),
    /// A stop cut the attempt off, or came between two attempts (then there is no attempt to record).
    Interrupted(Option<Spoken>),
    /// The last attempt failed.
    Failed(Spoken, Failure),
    /// An attempt failed and another will follow.
    Retry {
        spoken: Spoken,
        failure: Failure,
        wait_ms: u64,
    },
    /// The run cannot go on, and no provider was asked.
    Abort(Failure),
}

impl Step {
    /// Whether commands are applied with it: only between turns, so that nothing durable stands between two deltas.
    pub(super) fn takes_commands(&self) -> bool {
        !matches!(self, Self::Retry { .. })
    }
}

/// A plan in the making.
struct Draft<'a> {
    state: &'a RunState,
    at: Timestamp,
    bots: Vec<Bot>,
    change: Change,
}

/// What is to be written for `step` while `commands` wait.
pub(super) fn plan(state: &RunState, step: &Step, commands: &[Command], at: Timestamp) -> Change {
    let mut draft = Draft {
        state,
        at,
        bots: state.bots.clone(),
        change: nothing(&state.head, at),
    };
    let end = draft.close(step);
    let stop = step.takes_commands() && draft.apply(commands);
    match end {
        _ if matches!(step, Step::Retry { .. }) => {}
        Some(End::Failed(failure)) => {
            finish(&mut draft.change, RunStatus::Failed, None, Some(failure));
        }
        Some(End::Planned(reason)) if !stop => {
            finish(&mut draft.change, RunStatus::Completed, Some(reason), None);
        }
        Some(End::Stopped | End::Planned(_)) => draft.stop(),
        None if stop => draft.stop(),
        None => draft.start_turn(),
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
        attempt: None,
        applied: Vec::new(),
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
    let totals = Totals {
        turns: head.turns,
        usage: head.usage,
        cost_usd: None,
        cost_complete: head.cost_complete,
    };
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
                Step::Abort(failure) => Some(End::Failed(failure.clone())),
                _ => None,
            };
        };
        match step {
            Step::Begin => None,
            Step::Completed(spoken, reason) => {
                self.completed(bot, turn, spoken, *reason);
                let turns = self.change.head.turns;
                end_after(turns, self.state.max_turns, self.state.bot_count(), *reason)
                    .map(End::Planned)
            }
            Step::Interrupted(spoken) => {
                self.record(bot, spoken.as_ref(), "interrupted");
                let (text, usage) = spoken
                    .as_ref()
                    .map(|s| (s.text.clone(), s.usage))
                    .unwrap_or_default();
                self.message(bot, &text, MessageStatus::Interrupted, None, usage);
                let bot_index = bot.index;
                self.push(RunEvent::TurnInterrupted(TurnInterrupted {
                    turn,
                    bot_index,
                    text,
                    usage,
                    cost_usd: None,
                }));
                Some(End::Stopped)
            }
            Step::Failed(spoken, failure) => {
                self.record(bot, Some(spoken), failure.code.as_str());
                self.error(bot, turn, spoken, failure, None);
                self.failed(bot, turn, &spoken.text, spoken.usage, failure);
                Some(End::Failed(failure.clone()))
            }
            Step::Retry {
                spoken,
                failure,
                wait_ms,
            } => {
                self.record(bot, Some(spoken), failure.code.as_str());
                self.error(bot, turn, spoken, failure, Some(*wait_ms));
                self.restarted(bot, turn, spoken);
                None
            }
            Step::Abort(failure) => {
                self.failed(bot, turn, "", Usage::default(), failure);
                Some(End::Failed(failure.clone()))
            }
        }
    }

    fn completed(&mut self, bot: &Bot, turn: u32, spoken: &Spoken, stop_reason: StopReason) {
        self.record(bot, Some(spoken), "completed");
        self.message(
            bot,
            &spoken.text,
            MessageStatus::Completed,
            Some(stop_reason),
            spoken.usage,
        );
        self.push(RunEvent::TurnCompleted(TurnCompleted {
            turn,
            bot_index: bot.index,
            bot_version: bot.version,
            provider: bot.provider.clone(),
            model: bot.model.clone(),
            text: spoken.text.clone(),
            refusal: spoken.refusal.clone(),
            stop_reason,
            usage: spoken.usage,
            cost_usd: None,
            duration_ms: self.at.millis_since(self.state.turn_started),
            first_delta_ms: spoken.first_delta_ms,
        }));
    }

    fn failed(&mut self, bot: &Bot, turn: u32, text: &str, usage: Usage, failure: &Failure) {
        self.message(bot, text, MessageStatus::Failed, None, usage);
        self.push(RunEvent::TurnFailed(TurnFailed {
            turn,
            bot_index: bot.index,
            text: text.to_owned(),
            usage,
            cost_usd: None,
            error: failure.clone(),
        }));
    }

    fn error(
        &mut self,
        bot: &Bot,
        turn: u32,
        spoken: &Spoken,
        failure: &Failure,
        retry_in_ms: Option<u64>,
    ) {
        self.push(RunEvent::Error(AttemptError {
            failure: failure.clone(),
            provider: bot.provider.clone(),
            turn,
            attempt: spoken.attempt,
            retry_in_ms,
            usage: spoken.usage,
        }));
    }

    /// Takes back what was shown, if anything was.
    fn restarted(&mut self, bot: &Bot, turn: u32, spoken: &Spoken) {
        if spoken.first_delta_ms.is_none() {
            return;
        }
        self.push(RunEvent::TurnRestarted(TurnRestarted {
            turn,
            bot_index: bot.index,
            attempt: spoken.attempt + 1,
            reason: RestartReason::ProviderError,
            provider: bot.provider.clone(),
            model: bot.model.clone(),
            usage: spoken.usage,
            cost_usd: None,
        }));
    }

    /// The attempt's row, and its share of the sums. Prices are not known yet, so no cost is complete once something was asked.
    fn record(&mut self, bot: &Bot, spoken: Option<&Spoken>, outcome: &'static str) {
        let Some(spoken) = spoken else { return };
        self.change.head.usage = self.change.head.usage.plus(spoken.usage);
        self.change.head.cost_complete = false;
        self.change.attempt = Some(AttemptRecord {
            turn: self.change.head.turns,
            attempt: spoken.attempt,
            provider: bot.provider.clone(),
            model: bot.model.clone(),
            outcome,
            usage: spoken.usage,
            duration_ms: spoken.duration_ms,
            first_delta_ms: spoken.first_delta_ms,
        });
    }

    /// The turn's entry in the transcript; the turn is over with it.
    fn message(
        &mut self,
        bot: &Bot,
        text: &str,
        status: MessageStatus,
        stop_reason: Option<StopReason>,
        usage: Usage,
    ) {
        self.change.message = Some(Message {
            pos: self
                .change
                .head
                .open_seq
                .unwrap_or(self.change.head.last_seq),
            kind: MessageKind::Bot,
            turn: Some(self.change.head.turns),
            bot_index: Some(bot.index),
            bot_version: Some(bot.version),
            author: bot.name.clone(),
            text: text.to_owned(),
            status,
            stop_reason,
            usage,
            provider: Some(bot.provider.clone()),
            model: Some(bot.model.clone()),
            at: self.at,
        });
        self.change.head.turns += 1;
        self.change.head.open_seq = None;
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
mod tests;
