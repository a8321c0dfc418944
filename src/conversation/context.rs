//! What becomes of a talk that outgrows the context window of a model.
//!
//! A bot's context is cut once and deeply, and grows again from there: a window that moved with each turn would never find the
//! provider's prompt cache. What a cut leaves out of prompts stays in the transcript, and the cut itself is a part of it: after a
//! crash, and on any node, a bot is shown the same.

use std::{collections::HashMap, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    bot::Bot,
    stop_reason::StopReason,
    transcript::{Message, MessageKind, last_cut, last_summary, shown},
};

/// Kept free for an answer where nobody sets a limit, in tokens; at most a quarter of the window.
const ANSWER: u64 = 4096;
/// What a message takes beside its text, in tokens: its role and its borders. About, as all counts here.
const BORDER: u64 = 4;
/// What it takes to ask for a summary, in tokens.
const ASKING: u64 = 100;
/// The shortest and the longest summary that is asked for, in words.
const WORDS: (u64, u64) = (50, 300);

/// What becomes of a run that outgrows a model's context window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ContextPolicy {
    /// It fails, with what the provider says. Nothing is left out unasked.
    #[default]
    Fail,
    /// The oldest messages are left out of prompts, many at once; the topic stays.
    TruncateOldest,
    /// The bot's own model writes a summary of the oldest messages, which stands in their place. Where a window is too small for one,
    /// or none is written, they are left out.
    Summarise,
}

impl FromStr for ContextPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "fail" => Ok(Self::Fail),
            "truncate_oldest" => Ok(Self::TruncateOldest),
            "summarise" => Ok(Self::Summarise),
            _ => Err(UnknownPolicy),
        }
    }
}

impl TryFrom<String> for ContextPolicy {
    type Error = UnknownPolicy;

    fn try_from(word: String) -> Result<Self, UnknownPolicy> {
        word.parse()
    }
}

/// A word that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("takes fail, truncate_oldest or summarise")]
pub struct UnknownPolicy;

/// The tokens that a prompt may have where prompt and answer together have `window`, and the answer at most `answer`, if that is
/// known.
#[must_use]
pub fn prompt_limit(window: u64, answer: Option<u64>) -> u64 {
    let answer = answer.unwrap_or_else(|| ANSWER.min(window / 4));
    window - answer.min(window / 4 * 3)
}

/// How a context is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueCut {
    /// The context begins with that turn from now on.
    LeaveOut {
        /// The oldest turn that is still shown.
        kept_from_turn: u32,
    },
    /// A summary is to be asked for, and to stand in the place of what is left out.
    SumUp {
        /// The oldest turn that is still shown.
        kept_from_turn: u32,
        /// How long the summary may be.
        words: u64,
    },
}

/// How many tokens the texts of a talk have, about. What is not counted yet counts as nothing.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    /// Of the messages, by their `pos`.
    pub messages: HashMap<u64, u64>,
    /// Of the speaker's system prompt.
    pub system: u64,
}

/// A bot's context: what it is shown of the transcript.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Whose turn it is.
    pub speaker: &'a Bot,
    /// Which turn it is.
    pub turn: u32,
    /// Everything that was said.
    pub transcript: &'a [Message],
}

impl Context<'_> {
    /// Whether anything can be left out: something that is heard, before the newest turn.
    #[must_use]
    pub fn can_be_cut(&self) -> bool {
        let turns = shown(self.speaker.index, self.transcript).filter(|m| m.turn.is_some());
        let turns: Vec<&Message> = turns.collect();
        let older = turns.split_last().map_or(&[][..], |(_, older)| older);
        older.iter().any(|message| message.is_heard())
    }

    /// How the context has to be cut before the bot is asked, if it has to be.
    ///
    /// `limit`: the tokens that the prompt may have, where that is known. `refused`: how often the provider has called it too long
    /// since the last cut. `none_written`: whether a summary was asked for since then, and none was written. `None` where nothing has
    /// to be, or nothing can be left out.
    #[must_use]
    pub fn due_cut(
        &self,
        policy: ContextPolicy,
        limit: Option<u64>,
        (refused, none_written): (u32, bool),
        sizes: &Sizes,
    ) -> Option<DueCut> {
        let over = || limit.is_some_and(|limit| self.size(sizes) > limit);
        let due = refused > 0 || none_written || self.was_full() || over();
        if policy == ContextPolicy::Fail || !due {
            return None;
        }
        let frame = self.frame(sizes);
        if refused == 0 && !none_written && limit.is_some_and(|limit| frame >= limit) {
            // What stays is too much by itself, by our count: no cut helps. The provider may see it otherwise.
            return None;
        }
        let turns = self.turns(sizes);
        let whole = frame + turns.iter().map(|(_, size)| size).sum::<u64>();
        // What the provider has refused is too much, whatever is known.
        let fits = limit.filter(|_| refused == 0).unwrap_or(whole).min(whole);
        // Half of what can change at all: so the next cut is as far away, however long the topic is.
        let goal = frame + fits.saturating_sub(frame) / 2;
        let leave_out = |most: u64| -> Option<(u32, u64)> {
            let (mut left_out, mut begin) = (0, None);
            for pair in turns.windows(2) {
                let (size, next) = (pair[0].1, pair[1].0);
                if left_out > 0 && whole - left_out <= goal || left_out + size > most {
                    break;
                }
                left_out += size;
                begin = Some(next);
            }
            begin.filter(|_| left_out > 0).map(|at| (at, left_out))
        };
        if policy == ContextPolicy::Summarise && !none_written && !self.was_summed_up() {
            // The prompt of the summary must fit, too: half as much each time that it is refused.
            let most = (whole >> refused.min(63)).min(limit.unwrap_or(whole));
            let most = most.saturating_sub(frame + ASKING);
            let words = (whole.min(limit.unwrap_or(whole)) / 10).clamp(WORDS.0, WORDS.1);
            // One that is hardly shorter than what it stands for is not worth its price.
            let summary = leave_out(most).filter(|(_, left_out)| *left_out > 2 * words);
            if let Some((kept_from_turn, _)) = summary {
                return Some(DueCut::SumUp {
                    kept_from_turn,
                    words,
                });
            }
        }
        let (kept_from_turn, _) = leave_out(whole)?;
        Some(DueCut::LeaveOut { kept_from_turn })
    }

    /// The tokens of the prompt, about: what the provider counted last, and what is new since then; where it said nothing, all is
    /// counted here.
    fn size(&self, sizes: &Sizes) -> u64 {
        let cut = last_cut(self.speaker.index, self.transcript);
        let own = self.transcript.iter().rfind(|message| self.is_own(message));
        let asked_since = |own: &&Message| cut.is_none_or(|(cut, _)| own.turn >= cut.turn);
        let counted = own
            .filter(asked_since)
            .and_then(|own| Some((own.turn?, own.usage.input_tokens?)));
        match counted {
            // The provider's count of the answer has the reasoning in it, which is not sent back.
            Some((turn, known)) => {
                let newer = shown(self.speaker.index, self.transcript);
                let newer = newer.filter(|message| message.turn.is_some_and(|at| at >= turn));
                known + newer.map(|message| size_of(message, sizes)).sum::<u64>()
            }
            None => self.frame(sizes) + self.turns(sizes).iter().map(|(_, size)| size).sum::<u64>(),
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

    /// Whether a summary was written for this very turn: one is enough.
    fn was_summed_up(&self) -> bool {
        let summary = last_summary(self.speaker.index, self.transcript);
        summary.is_some_and(|summary| summary.turn == Some(self.turn))
    }

    fn is_own(&self, message: &Message) -> bool {
        message.kind == MessageKind::Bot && message.bot_index == Some(self.speaker.index)
    }

    /// What stays whatever is left out, in tokens: the system prompt, the topic, and the summary that is there.
    fn frame(&self, sizes: &Sizes) -> u64 {
        let topic = shown(self.speaker.index, self.transcript).filter(|m| m.turn.is_none());
        let said = topic.chain(last_summary(self.speaker.index, self.transcript));
        sizes.system + BORDER + said.map(|message| size_of(message, sizes)).sum::<u64>()
    }

    /// The turns that are shown, each with its size in tokens.
    fn turns(&self, sizes: &Sizes) -> Vec<(u32, u64)> {
        shown(self.speaker.index, self.transcript)
            .filter_map(|message| Some((message.turn?, size_of(message, sizes))))
            .collect()
    }
}

/// The tokens that a message takes in a prompt: none if it is not shown.
fn size_of(message: &Message, sizes: &Sizes) -> u64 {
    if message.is_heard() || message.kind == MessageKind::Summary {
        sizes.messages.get(&message.pos).copied().unwrap_or(0) + BORDER
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
