//! The events that tell of a turn, each with what goes into the run's other rows together with it.

use super::Draft;
use crate::{
    conversation::{
        AttemptError, AttemptFailure, Bot, Charge, ContextSummarised, ContextTruncated, Cut,
        FailedAttempt, Failure, Message, MessageKind, MessageStatus, RestartReason, RunEvent,
        StopReason, Taken, Target, TurnCompleted, TurnFailed, TurnInterrupted, TurnRestarted,
    },
    models::AttemptRecord,
    orchestrator::state::Spoken,
};

impl Draft<'_> {
    pub(super) fn interrupted(&mut self, bot: &Bot, turn: u32, spoken: Option<&Spoken>) {
        if let Some(spoken) = spoken {
            self.record(bot, spoken, "interrupted", Charge::Open);
        }
        // What was written of a summary is no part of the turn.
        let spoken = spoken.filter(|spoken| spoken.summary.is_none());
        self.message(bot, spoken, MessageStatus::Interrupted, None);
        self.push(RunEvent::TurnInterrupted(TurnInterrupted {
            turn,
            bot_index: bot.index,
            text: spoken.map(|s| s.text.clone()).unwrap_or_default(),
            usage: spoken.map(|s| s.usage).unwrap_or_default(),
            cost_usd: spoken.and_then(|s| s.cost),
        }));
    }

    pub(super) fn completed(
        &mut self,
        bot: &Bot,
        turn: u32,
        spoken: &Spoken,
        stop_reason: StopReason,
    ) {
        self.record(bot, spoken, AttemptRecord::COMPLETED, Charge::Counted);
        let completed = MessageStatus::Completed;
        self.message(bot, Some(spoken), completed, Some(stop_reason));
        self.push(RunEvent::TurnCompleted(TurnCompleted {
            turn,
            bot_index: bot.index,
            bot_version: bot.version,
            provider: spoken.target.provider.clone(),
            model: spoken.target.model.clone(),
            text: spoken.text.clone(),
            refusal: spoken.refusal.clone(),
            stop_reason,
            usage: spoken.usage,
            cost_usd: spoken.cost,
            duration_ms: self.at.millis_since(self.state.turn_started),
            first_delta_ms: spoken.first_delta_ms,
        }));
    }

    pub(super) fn failed(
        &mut self,
        bot: &Bot,
        turn: u32,
        spoken: Option<&Spoken>,
        failure: &Failure,
    ) {
        let spoken = spoken.filter(|spoken| spoken.summary.is_none());
        self.message(bot, spoken, MessageStatus::Failed, None);
        self.push(RunEvent::TurnFailed(TurnFailed {
            turn,
            bot_index: bot.index,
            text: spoken.map(|s| s.text.clone()).unwrap_or_default(),
            usage: spoken.map(|s| s.usage).unwrap_or_default(),
            cost_usd: spoken.and_then(|s| s.cost),
            error: failure.clone(),
        }));
    }

    pub(super) fn error(
        &mut self,
        turn: u32,
        spoken: &Spoken,
        failure: &Failure,
        retry_in_ms: Option<u64>,
    ) {
        self.push(RunEvent::Error(AttemptError {
            failure: failure.clone(),
            provider: spoken.target.provider.clone(),
            turn,
            attempt: spoken.attempt,
            retry_in_ms,
            usage: spoken.usage,
            cost_usd: spoken.cost,
        }));
    }

    /// Takes back what was shown; `next` is asked now.
    pub(super) fn restarted(
        &mut self,
        bot: &Bot,
        turn: u32,
        spoken: &Spoken,
        reason: RestartReason,
        next: &Target,
    ) {
        self.push(RunEvent::TurnRestarted(TurnRestarted {
            turn,
            bot_index: bot.index,
            attempt: spoken.attempt + 1,
            reason,
            provider: next.provider.clone(),
            model: next.model.clone(),
            usage: spoken.usage,
            cost_usd: spoken.cost,
        }));
    }

    /// The attempt's row, and its share of the sums.
    pub(super) fn record(
        &mut self,
        bot: &Bot,
        spoken: &Spoken,
        outcome: &'static str,
        charge: Charge,
    ) {
        let settled = charge != Charge::Open;
        let head = &mut self.change.head;
        head.spend(bot.index, spoken.usage, spoken.cost, settled);
        self.change.attempt = Some(AttemptRecord {
            turn: self.change.head.turns,
            attempt: spoken.attempt,
            target: spoken.target.clone(),
            outcome,
            failed: None,
            usage: spoken.usage,
            cost: spoken.cost,
            settled,
            taken: spoken.taken(charge),
            duration_ms: spoken.duration_ms,
            first_delta_ms: spoken.first_delta_ms,
            deltas: spoken.deltas,
        });
    }

    /// The same of an attempt that its provider failed.
    pub(super) fn record_failure(&mut self, bot: &Bot, spoken: &Spoken, failure: &AttemptFailure) {
        let code = failure.failure.code;
        self.record(bot, spoken, code.as_str(), failure.charge);
        if let Some(attempt) = &mut self.change.attempt {
            attempt.failed = Some(FailedAttempt {
                target: spoken.target.clone(),
                code,
                retryable: failure.retryable,
            });
            // A provider that is out of order is not paid, and takes nobody's day.
            if !spoken.is_answered() {
                attempt.taken = Taken::of(spoken.usage, spoken.cost);
            }
        }
    }

    /// The turn's entry in the transcript; the turn is over with it.
    fn message(
        &mut self,
        bot: &Bot,
        spoken: Option<&Spoken>,
        status: MessageStatus,
        stop_reason: Option<StopReason>,
    ) {
        let own = bot.targets().swap_remove(0);
        let target = spoken.map_or(own, |spoken| spoken.target.clone());
        let head = &self.change.head;
        let pos = head.open_seq.unwrap_or(head.last_seq);
        let (provider, model) = (Some(target.provider), Some(target.model));
        self.change.message = Some(Message {
            text: spoken.map(|spoken| spoken.text.clone()).unwrap_or_default(),
            status,
            stop_reason,
            usage: spoken.map(|spoken| spoken.usage).unwrap_or_default(),
            cost: spoken.and_then(|spoken| spoken.cost),
            provider,
            model,
            ..self.entry(MessageKind::Bot, bot, pos)
        });
        self.change.head.turns += 1;
        self.change.head.open_seq = None;
    }

    /// From now on the bot is not shown what was said before that turn.
    pub(super) fn left_out(&mut self, bot: &Bot, turn: u32, kept_from_turn: u32, target: &Target) {
        self.push(RunEvent::ContextTruncated(ContextTruncated {
            turn,
            bot_index: bot.index,
            kept_from_turn,
            provider: target.provider.clone(),
            model: target.model.clone(),
        }));
        let cut = Cut {
            kept_from_turn,
            after_attempt: self.state.asked.attempts,
        };
        self.change.cut = Some(self.cut(MessageKind::Truncation, bot, cut));
    }

    /// The same, and a summary stands in its place.
    pub(super) fn summarised(
        &mut self,
        bot: &Bot,
        turn: u32,
        spoken: &Spoken,
        stop_reason: StopReason,
        kept_from_turn: u32,
    ) {
        let Target { provider, model } = spoken.target.clone();
        let text = spoken.summary.clone().unwrap_or_default();
        self.record(bot, spoken, AttemptRecord::SUMMARISED, Charge::Counted);
        self.push(RunEvent::ContextSummarised(ContextSummarised {
            turn,
            bot_index: bot.index,
            kept_from_turn,
            attempt: spoken.attempt,
            provider: provider.clone(),
            model: model.clone(),
            text: text.clone(),
            stop_reason,
            usage: spoken.usage,
            cost_usd: spoken.cost,
            duration_ms: spoken.duration_ms,
        }));
        let cut = Cut {
            kept_from_turn,
            after_attempt: spoken.attempt,
        };
        self.change.cut = Some(Message {
            text,
            stop_reason: Some(stop_reason),
            usage: spoken.usage,
            cost: spoken.cost,
            provider: Some(provider),
            model: Some(model),
            ..self.cut(MessageKind::Summary, bot, cut)
        });
    }

    /// The transcript's entry of a cut; it is opened by the event that was written last.
    fn cut(&self, kind: MessageKind, bot: &Bot, cut: Cut) -> Message {
        Message {
            cut: Some(cut),
            ..self.entry(kind, bot, self.change.head.last_seq)
        }
    }

    /// An entry of the open turn in the transcript.
    fn entry(&self, kind: MessageKind, bot: &Bot, pos: u64) -> Message {
        Message {
            turn: Some(self.change.head.turns),
            bot_index: Some(bot.index),
            bot_version: Some(bot.version),
            author: bot.name.clone(),
            ..Message::blank(kind, pos, self.at)
        }
    }
}
