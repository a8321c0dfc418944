//! The transcript: what was said, as exports show it and prompts are made of it.

use serde::{Deserialize, Serialize};

use super::{cost::Cost, stop_reason::StopReason, time::Timestamp, usage::Usage};

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The opening message, from the outside world.
    Topic,
    /// A bot's turn.
    Bot,
}

/// How a message came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// It was said to its end.
    Completed,
    /// A stop cut it short.
    Interrupted,
    /// Its last attempt failed.
    Failed,
}

/// One entry of the transcript: the topic, or a turn that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The seq of the event that opened it; orders the transcript.
    pub pos: u64,
    /// Where it comes from.
    pub kind: MessageKind,
    /// Which turn it was; `None` for the topic.
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
}

impl Message {
    /// Whether other bots (and the speaker itself, later) are shown it: not what is empty, failed or refused.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.status != MessageStatus::Failed
            && self.stop_reason != Some(StopReason::Refusal)
            && !self.text.trim().is_empty()
    }
}
