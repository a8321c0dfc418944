//! The transcript: what was said, as exports show it and prompts are made of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{cost::Cost, stop_reason::StopReason, time::Timestamp, usage::Usage};

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The opening message, from the outside world.
    Topic,
    /// A bot's turn.
    Bot,
    /// A bot's context was cut, and nothing stands in the place of what is left out. Has no text.
    Truncation,
    /// A bot's context was cut, and this stands in the place of what is left out.
    Summary,
}

/// How a message came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// It was said to its end.
    Completed,
    /// A stop cut it short.
    Interrupted,
    /// Its last attempt failed.
    Failed,
}

/// That from here on a bot is not shown everything any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The oldest turn that is still shown.
    pub kept_from_turn: u32,
    /// How many attempts of its turn had ended, the one that wrote a summary included.
    pub after_attempt: u32,
}

/// One entry of the transcript: the topic, a turn that has ended, or a cut of what a bot is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The seq of the event that opened it; orders the transcript.
    pub pos: u64,
    /// Where it comes from.
    pub kind: MessageKind,
    /// Which turn it was, or was made in; `None` for the topic.
    pub turn: Option<u32>,
    /// Who spoke; `None` for the topic.
    pub bot_index: Option<u32>,
    /// Which version of the bot spoke.
    pub bot_version: Option<u32>,
    /// The speaker's name as it was then; empty for the topic.
    pub author: String,
    /// What was said, exactly as it was streamed.
    pub text: String,
    /// How it ended.
    pub status: MessageStatus,
    /// Why the model ended; `None` where it did not end by itself.
    pub stop_reason: Option<StopReason>,
    /// What the provider counted for the attempt that gave the text.
    pub usage: Usage,
    /// What that attempt cost; `None` where no price or no usage is known.
    pub cost: Option<Cost>,
    /// The provider that answered.
    pub provider: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// For a truncation or a summary: what is left out of the bot's context.
    pub cut: Option<Cut>,
}

impl Message {
    /// An entry of that kind without anything in it.
    #[must_use]
    pub fn blank(kind: MessageKind, pos: u64, at: Timestamp) -> Self {
        Self {
            pos,
            kind,
            turn: None,
            bot_index: None,
            bot_version: None,
            author: String::new(),
            text: String::new(),
            status: MessageStatus::Completed,
            stop_reason: None,
            usage: Usage::NOTHING,
            cost: None,
            provider: None,
            model: None,
            at,
            cut: None,
        }
    }

    /// Whether other bots (and the speaker itself, later) are shown it: not what is empty, failed or refused.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.cut.is_none()
            && self.status != MessageStatus::Failed
            && self.stop_reason != Some(StopReason::Refusal)
            && !self.text.trim().is_empty()
    }
}

/// The last cut of what that bot is shown, and its entry.
pub(super) fn last_cut(bot_index: u32, transcript: &[Message]) -> Option<(&Message, Cut)> {
    let mut newest_first = transcript.iter().rev();
    newest_first.find_map(|message| {
        let cut = message
            .cut
            .filter(|_| message.bot_index == Some(bot_index))?;
        Some((message, cut))
    })
}

/// The last summary that was written for that bot.
pub(super) fn last_summary(bot_index: u32, transcript: &[Message]) -> Option<&Message> {
    transcript.iter().rfind(|message| {
        message.kind == MessageKind::Summary && message.bot_index == Some(bot_index)
    })
}

/// Puts each cut before the message of the turn that it was made for; its event comes after that of the turn's start.
#[must_use]
pub fn in_order(transcript: Vec<Message>) -> Vec<Message> {
    let mut ordered: Vec<Message> = Vec::with_capacity(transcript.len());
    for message in transcript {
        let of_its_turn = |said: &Message| said.cut.is_none() && said.turn == message.turn;
        match ordered.pop() {
            Some(said) if message.cut.is_some() && of_its_turn(&said) => {
                ordered.extend([message, said]);
            }
            last => ordered.extend(last.into_iter().chain([message])),
        }
    }
    ordered
}

/// What is said within a bot's context: the topic, and the turns that no cut has left out. Cuts are not said.
pub(super) fn shown(bot_index: u32, transcript: &[Message]) -> impl Iterator<Item = &Message> {
    let from = last_cut(bot_index, transcript).map_or(0, |(_, cut)| cut.kept_from_turn);
    let said = transcript.iter().filter(|message| message.cut.is_none());
    said.filter(move |message| message.turn.is_none_or(|turn| turn >= from))
}
