//! What the owners of the model-based test write.

use parley::{
    conversation::{
        BotUpdated, EndReason, Failure, FailureCode, Message, MessageKind, RestartReason,
        RunCompleted, RunEvent, RunFailed, RunStatus, RunStopped, StopReason, Timestamp, Totals,
        TurnCompleted, TurnFailed, TurnRestarted, TurnStarted, Usage,
    },
    models::{Applied, Change, Command, CommandKind, Head},
};

use super::model::{Kind, Model};

const AT: Timestamp = Timestamp::from_millis(1);

struct Draft(Change);

/// What that step writes while these commands wait.
pub(super) fn step(kind: Kind, head: &Head, commands: &[Command]) -> Change {
    let mut draft = Draft::new(head);
    if kind == Kind::Restart {
        draft.push(restarted(head.turns));
        return draft.0;
    }
    if let Some(pos) = head.open_seq {
        draft.close(pos, kind);
    }
    let mut stop = false;
    for command in commands {
        match &command.kind {
            CommandKind::Stop(_) => stop = true,
            CommandKind::UpdateBot { update, .. } => {
                draft.push(RunEvent::BotUpdated(update.clone()));
            }
        }
        let seq = Some(draft.0.head.last_seq);
        draft.0.applied.push(Applied {
            id: command.id,
            seq,
        });
    }
    let turns = draft.0.head.turns;
    match kind {
        Kind::Abort => draft.end(RunStatus::Failed),
        _ if stop => draft.end(RunStatus::Stopped),
        _ if turns == Model::MAX_TURNS => draft.end(RunStatus::Completed),
        Kind::Leave => draft.0.release = true,
        Kind::Advance | Kind::Restart => {
            draft.push(started(turns));
            draft.0.head.open_seq = Some(draft.0.head.last_seq);
            draft.0.head.status = RunStatus::Running;
        }
    }
    draft.0
}

/// What a stop writes about a run that nobody drives.
pub(super) fn stopped(head: &Head) -> Change {
    let mut draft = Draft::new(head);
    draft.end(RunStatus::Stopped);
    draft.0
}

/// What a change of a bot writes about a run that nobody drives.
pub(super) fn updated(head: &Head, update: &BotUpdated) -> Change {
    let mut draft = Draft::new(head);
    draft.push(RunEvent::BotUpdated(update.clone()));
    draft.0
}

impl Draft {
    fn new(head: &Head) -> Self {
        Self(Change {
            at: AT,
            events: Vec::new(),
            head: head.clone(),
            message: None,
            cut: None,
            attempt: None,
            applied: Vec::new(),
            stopped_by: None,
            release: false,
        })
    }

    fn push(&mut self, event: RunEvent) {
        self.0.head.last_seq += 1;
        self.0.events.push(event);
    }

    fn close(&mut self, pos: u64, kind: Kind) {
        let turn = self.0.head.turns;
        self.push(if kind == Kind::Abort {
            failed(turn)
        } else {
            completed(turn)
        });
        self.0.message = Some(Message {
            turn: Some(turn),
            bot_index: Some(turn % 2),
            bot_version: Some(1),
            author: "Bot".to_owned(),
            text: "Tea.".to_owned(),
            ..Message::blank(MessageKind::Bot, pos, AT)
        });
        self.0.head.turns += 1;
        self.0.head.open_seq = None;
    }

    fn end(&mut self, status: RunStatus) {
        let totals = Totals {
            turns: self.0.head.turns,
            usage: Usage::default(),
            cost_usd: None,
            cost_complete: false,
        };
        self.0.head.status = status;
        self.push(match status {
            RunStatus::Stopped => RunEvent::RunStopped(RunStopped {
                reason: EndReason::StopRequested,
                totals,
            }),
            RunStatus::Failed => RunEvent::RunFailed(RunFailed {
                error: failure(),
                totals,
            }),
            _ => RunEvent::RunCompleted(RunCompleted {
                reason: EndReason::MaxTurns,
                totals,
            }),
        });
    }
}

fn failure() -> Failure {
    Failure::new(FailureCode::Internal, "it broke")
}

fn started(turn: u32) -> RunEvent {
    RunEvent::TurnStarted(TurnStarted {
        turn,
        bot_index: turn % 2,
        bot_name: "Bot".to_owned(),
        bot_version: 1,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        attempt: 1,
    })
}

fn completed(turn: u32) -> RunEvent {
    RunEvent::TurnCompleted(TurnCompleted {
        turn,
        bot_index: turn % 2,
        bot_version: 1,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        text: "Tea.".to_owned(),
        refusal: None,
        stop_reason: StopReason::EndTurn,
        usage: Usage::default(),
        cost_usd: None,
        duration_ms: 1,
        first_delta_ms: None,
    })
}

fn failed(turn: u32) -> RunEvent {
    RunEvent::TurnFailed(TurnFailed {
        turn,
        bot_index: turn % 2,
        text: String::new(),
        usage: Usage::default(),
        cost_usd: None,
        error: failure(),
    })
}

fn restarted(turn: u32) -> RunEvent {
    RunEvent::TurnRestarted(TurnRestarted {
        turn,
        bot_index: turn % 2,
        attempt: 2,
        reason: RestartReason::Crash,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        usage: Usage::default(),
        cost_usd: None,
    })
}
