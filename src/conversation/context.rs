//! What becomes of a talk that outgrows the context window of a model.
//!
//! A bot's context is cut once and deeply, and grows again from there: a window that moved with each turn would never find the
//! provider's prompt cache. What a cut leaves out of prompts stays in the transcript, and the cut itself is a part of it: after a
//! crash, and on any node, a bot is shown the same.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    bot::{Bot, Params},
    stop_reason::StopReason,
    tokens,
    transcript::{Message, MessageKind, last_cut, shown},
};

/// Kept free for an answer where the bot sets no limit of its own, in tokens; at most a quarter of the window.
const ANSWER: u64 = 4096;
/// What a message takes beside its text, in tokens: its role and its borders. About, as all counts here.
const BORDER: u64 = 4;

/// What becomes of a run that outgrows a model's context window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextPolicy {
    /// It fails, with what the provider says. Nothing is left out unasked.
    #[default]
    Fail,
    /// The oldest messages are left out of prompts, many at once; the topic stays.
    TruncateOldest,
    /// The bot's own model writes a summary of the oldest messages, which stands in their place.
    Summarise,
}

impl FromStr for ContextPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word);
        Self::deserialize(word).map_err(|_| UnknownPolicy)
    }
}

/// A word that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("takes fail, truncate_oldest or summarise")]
pub struct UnknownPolicy;

/// The tokens that a prompt may have where prompt and answer together have `window`.
#[must_use]
pub fn room(window: u64, params: &Params) -> u64 {
    let answer = params
        .max_tokens
        .map_or_else(|| ANSWER.min(window / 4), u64::from);
    window - answer.min(window / 4 * 3)
}

/// A bot's context: what it is shown of the transcript.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Whose turn it is.
    pub speaker: &'a Bot,
    /// Everything that was said.
    pub transcript: &'a [Message],
}

impl Context<'_> {
    /// Where the context is to begin from now on, as the first turn that is still shown, if it has to be cut before the bot is asked.
    ///
    /// `room`: the tokens that the prompt may have, where that is known. `refused`: how often the provider has called it too long
    /// since the last cut; each time a summary is made of half as much. `None` where nothing has to be, or nothing can be left out.
    #[must_use]
    pub fn due_cut(&self, policy: ContextPolicy, room: Option<u64>, refused: u32) -> Option<u32> {
        let over = || room.is_some_and(|room| self.size() > room);
        if policy == ContextPolicy::Fail || (refused == 0 && !self.was_full() && !over()) {
            return None;
        }
        let turns = self.turns();
        let whole = self.frame() + turns.iter().map(|(_, size)| size).sum::<u64>();
        let goal = match room {
            Some(room) if refused == 0 => room.min(whole) / 2,
            _ => whole / 2,
        };
        // A summary is asked for with what is left out as its prompt, which must fit, too.
        let most = match policy {
            ContextPolicy::Summarise => (whole >> refused.clamp(1, 63)).min(room.unwrap_or(whole)),
            ContextPolicy::TruncateOldest | ContextPolicy::Fail => whole,
        };
        let (mut left_out, mut begin) = (0, None);
        for pair in turns.windows(2) {
            let (size, next) = (pair[0].1, pair[1].0);
            // One turn at least, unless even that was called too long.
            let first = left_out == 0 && refused < 2;
            if left_out > 0 && whole - left_out <= goal || !first && left_out + size > most {
                break;
            }
            left_out += size;
            begin = Some(next);
        }
        begin.filter(|_| left_out > 0)
    }

    /// The tokens of the prompt, about: what the provider counted last, and what is new since then; where it said nothing, all is
    /// counted here.
    fn size(&self) -> u64 {
        let cut = last_cut(self.speaker.index, self.transcript);
        let own = self.transcript.iter().rfind(|message| self.is_own(message));
        let asked_since = |own: &&Message| cut.is_none_or(|(cut, _)| own.turn >= cut.turn);
        let counted = own.filter(asked_since).and_then(|own| {
            let input = own.usage.input_tokens?;
            let turn = own.turn?;
            let answer = own.usage.output_tokens.unwrap_or_else(|| size_of(own));
            Some((turn, input + answer))
        });
        match counted {
            Some((turn, known)) => {
                let newer = shown(self.speaker.index, self.transcript);
                let newer = newer.filter(|message| message.turn.is_some_and(|at| at > turn));
                known + newer.map(size_of).sum::<u64>()
            }
            None => self.frame() + self.turns().iter().map(|(_, size)| size).sum::<u64>(),
        }
    }

    /// Whether the bot's last answer ended because the window was full.
    fn was_full(&self) -> bool {
        let cut = last_cut(self.speaker.index, self.transcript);
        let own = self.transcript.iter().rfind(|message| self.is_own(message));
        own.is_some_and(|own| {
            own.stop_reason == Some(StopReason::ContextExceeded)
                && cut.is_none_or(|(cut, _)| own.turn >= cut.turn)
        })
    }

    fn is_own(&self, message: &Message) -> bool {
        message.kind == MessageKind::Bot && message.bot_index == Some(self.speaker.index)
    }

    /// What stays whatever is left out, in tokens: the system prompt, the topic, and the summary that is there.
    fn frame(&self) -> u64 {
        let system = self.speaker.system_prompt.as_deref().unwrap_or_default();
        let summary = last_cut(self.speaker.index, self.transcript).map(|(message, _)| message);
        let topic = shown(self.speaker.index, self.transcript).filter(|m| m.turn.is_none());
        let texts = topic.chain(summary).map(size_of).sum::<u64>();
        tokens::count(system) + BORDER + texts
    }

    /// The turns that are shown, each with its size in tokens.
    fn turns(&self) -> Vec<(u32, u64)> {
        shown(self.speaker.index, self.transcript)
            .filter_map(|message| Some((message.turn?, size_of(message))))
            .collect()
    }
}

/// The tokens that a message takes in a prompt: none if it is not shown.
fn size_of(message: &Message) -> u64 {
    if message.is_heard() || message.cut.is_some() {
        tokens::count(&message.text) + BORDER
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
