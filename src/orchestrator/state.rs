//! A run as its owner knows it, and what an attempt came to.

use crate::{
    conversation::{
        Bot, BotVersion, Charge, ContextPolicy, Cost, Message, Pricing, RunId, StopReason, Taken,
        Target, Timestamp, Usage, speaker,
    },
    models::{Asked, Change, Claimed, Command, CommandKind, Head},
};

/// A run as its owner knows it.
#[derive(Debug, Clone)]
pub(super) struct RunState {
    pub(super) id: RunId,
    pub(super) max_turns: u32,
    pub(super) show_reasoning: bool,
    pub(super) context_policy: ContextPolicy,
    /// Each bot in the newest version that the log tells of.
    pub(super) bots: Vec<Bot>,
    /// The bot of the open turn, in the version that `turn.started` pinned.
    pub(super) speaker: Option<Bot>,
    /// When the open turn started.
    pub(super) turn_started: Timestamp,
    pub(super) transcript: Vec<Message>,
    pub(super) head: Head,
    /// What was asked of providers for the open turn.
    pub(super) asked: Asked,
}

impl RunState {
    /// The run as the database has it. Each bot speaks in the newest version that is in force for the turn that is open or next.
    pub(super) fn resumed(claimed: Claimed, now: Timestamp) -> Self {
        let Claimed {
            run,
            head,
            versions,
            messages,
            asked,
            waiting,
            turn_started,
            ..
        } = claimed;
        // A change that waits is not in the log yet: the open turn is spoken as if nobody had made it, in every attempt alike.
        let waits = |bot: &Bot| {
            waiting.iter().any(|command| match &command.kind {
                CommandKind::UpdateBot { bot: next, .. } => {
                    (next.index, next.version) == (bot.index, bot.version)
                }
                CommandKind::Stop(_) => false,
            })
        };
        let told = |bot: Bot| {
            let of_it = |version: &&BotVersion| version.bot.index == bot.index;
            let known = versions
                .iter()
                .filter(of_it)
                .rfind(|version| !waits(&version.bot));
            known.map_or(bot, |version| version.bot.clone())
        };
        let mut state = Self {
            id: run.id,
            max_turns: run.max_turns,
            show_reasoning: run.show_reasoning,
            context_policy: run.context_policy,
            bots: run.bots.into_iter().map(told).collect(),
            speaker: None,
            turn_started: turn_started.unwrap_or(now),
            transcript: messages,
            head,
            asked,
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
        if let Some(attempt) = &change.attempt {
            self.asked.attempts = attempt.attempt;
            self.asked.failed.extend(attempt.failed.clone());
        }
        if change.cut.is_some() {
            let failed = &mut self.asked.failed;
            failed.retain(|attempt| !attempt.code.calls_for_a_cut());
        }
        if change.message.is_some() {
            self.speaker = None;
            self.asked = Asked::default();
        }
        if self.speaker.is_none() && change.head.open_seq.is_some() {
            let next = speaker(change.head.turns, self.bot_count());
            self.speaker = self.bots.iter().find(|bot| bot.index == next).cloned();
            self.turn_started = change.at;
        }
        self.transcript.extend(change.cut);
        self.transcript.extend(change.message);
        self.head = change.head;
    }
}

/// What an attempt came to, in numbers and words.
#[derive(Debug, Clone)]
pub(super) struct Spoken {
    /// Who was asked.
    pub(super) target: Target,
    /// The number of the attempt within its turn, from 1.
    pub(super) attempt: u32,
    pub(super) text: String,
    /// How much was sent, in bytes.
    pub(super) sent: usize,
    /// What it costs; `None` where no price is known.
    pub(super) pricing: Option<Pricing>,
    /// What was written, where a summary was asked for: it is no part of the turn's text.
    pub(super) summary: Option<String>,
    /// How much was thought, in bytes. The thoughts themselves are kept nowhere.
    pub(super) reasoning_bytes: usize,
    pub(super) refusal: Option<String>,
    pub(super) usage: Usage,
    /// `None` where no price or no usage is known.
    pub(super) cost: Option<Cost>,
    pub(super) duration_ms: u64,
    /// From the request to the first delta that was shown, whatever its kind; `None` where nothing was.
    pub(super) first_delta_ms: Option<u64>,
    /// How many were shown, of all kinds.
    pub(super) deltas: u64,
}

impl Spoken {
    /// Whether an answer that ended so is what was asked for: a turn may end in any way, and a summary must be one.
    pub(super) fn is_whole(&self, reason: StopReason) -> bool {
        let Some(summary) = &self.summary else {
            return true;
        };
        let whole = match reason {
            StopReason::EndTurn | StopReason::StopSequence | StopReason::Other => true,
            StopReason::MaxTokens
            | StopReason::Refusal
            | StopReason::ContentFilter
            | StopReason::ContextExceeded => false,
        };
        whole && !summary.trim().is_empty()
    }

    /// What it is in the quotas of its owner, if that is what it may cost: what nobody has counted is presumed.
    pub(super) fn taken(&self, charge: Charge) -> Taken {
        if charge == Charge::Nothing {
            return Taken::of(self.usage, self.cost);
        }
        let open = charge == Charge::Open;
        let usage = self.usage.presumed(open, self.sent, self.heard());
        let cost = self.pricing.as_ref().and_then(|price| price.cost(usage));
        Taken::of(usage, cost.or(self.cost))
    }

    /// Whether anything came of it, were it but a count.
    pub(super) fn is_answered(&self) -> bool {
        self.heard() > 0 || !self.usage.is_unknown()
    }

    /// How much was heard, in bytes, whatever it was.
    fn heard(&self) -> usize {
        let words = [&self.summary, &self.refusal].into_iter().flatten();
        self.text.len() + self.reasoning_bytes + words.map(String::len).sum::<usize>()
    }

    /// Nothing heard yet.
    pub(super) fn nothing(target: Target, attempt: u32) -> Self {
        Self {
            target,
            attempt,
            sent: 0,
            pricing: None,
            text: String::new(),
            summary: None,
            reasoning_bytes: 0,
            refusal: None,
            usage: Usage::default(),
            cost: None,
            duration_ms: 0,
            first_delta_ms: None,
            deltas: 0,
        }
    }
}
