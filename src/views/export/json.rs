//! A run with everything that was said in it, as JSON: one object, whose messages come last, so that they can be written as they are read.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::Writer;
use crate::{
    conversation::{
        Bot, BotVersion, Cost, MessageKind, MessageStatus, RunError, Said, StopReason, Timestamp,
        TranscriptHead, Usage,
    },
    views::run::{BotView, RunView, TotalView},
};

/// The export.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Export)]
pub struct ExportView {
    #[serde(flatten)]
    run: RunView<VersionedBotView>,
    #[schema(required)]
    in_progress: Option<InProgressView>,
    messages: Vec<MessageView>,
}

/// A bot in its newest version, with all that it was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionedBot)]
struct VersionedBotView {
    #[serde(flatten)]
    newest: BotView,
    total: TotalView,
    versions: Vec<VersionView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InProgress)]
struct InProgressView {
    turn: u32,
    bot_index: u32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
struct VersionView {
    #[schema(required)]
    effective_from_turn: Option<u32>,
    #[serde(flatten)]
    bot: BotView,
}

/// What a truncation or a summary has beside the rest. It is no turn's message, so it has no `turn`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cut)]
struct CutView {
    /// The turn before which it was made.
    #[schema(required = false)]
    before_turn: Option<u32>,
    /// The oldest turn that its bot is still shown.
    #[schema(required = false)]
    kept_from_turn: u32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
struct MessageView {
    kind: MessageKind,
    #[schema(required)]
    turn: Option<u32>,
    #[schema(required)]
    bot_index: Option<u32>,
    #[schema(required)]
    bot_version: Option<u32>,
    author: String,
    text: String,
    status: MessageStatus,
    #[schema(required)]
    stop_reason: Option<StopReason>,
    usage: Usage,
    /// Of the attempt that gave the text, as the usage.
    #[schema(required)]
    cost_usd: Option<Cost>,
    /// All attempts of the turn together.
    #[schema(required)]
    total: Option<TotalView>,
    #[schema(required)]
    provider: Option<String>,
    #[schema(required)]
    model: Option<String>,
    at: Timestamp,
    #[serde(flatten)]
    #[schema(value_type = CutView)]
    cut: Option<CutView>,
}

impl ExportView {
    /// All but the messages.
    fn without_messages(head: &TranscriptHead) -> Self {
        let in_progress = head.run.in_progress.map(|open| InProgressView {
            turn: open.turn,
            bot_index: open.bot_index,
        });
        let with_versions = |bot: Bot, total: TotalView| {
            let own = head
                .versions
                .iter()
                .filter(|version| version.bot.index == bot.index);
            VersionedBotView {
                versions: own.cloned().map(VersionView::from).collect(),
                newest: bot.into(),
                total,
            }
        };
        Self {
            in_progress,
            run: RunView::with_bots(head.run.clone(), with_versions),
            messages: Vec::new(),
        }
    }
}

/// How an export without messages ends.
const END: &[u8] = b"]}";

pub(super) struct Json {
    head: Arc<TranscriptHead>,
    first: bool,
}

impl Json {
    pub(super) fn new(head: Arc<TranscriptHead>) -> Self {
        Self { head, first: true }
    }
}

impl Writer for Json {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), RunError> {
        write(&ExportView::without_messages(&self.head), out)?;
        out.truncate(out.len() - END.len());
        Ok(())
    }

    fn said(&mut self, said: Said, out: &mut Vec<u8>) -> Result<(), RunError> {
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        write(&MessageView::from(said), out)
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(END);
    }
}

fn write(view: &impl Serialize, out: &mut Vec<u8>) -> Result<(), RunError> {
    serde_json::to_writer(out, view).map_err(|error| RunError::Internal(Box::new(error)))
}

impl From<BotVersion> for VersionView {
    fn from(version: BotVersion) -> Self {
        Self {
            effective_from_turn: version.effective_from_turn,
            bot: version.bot.into(),
        }
    }
}

impl From<Said> for MessageView {
    fn from(Said { message, total }: Said) -> Self {
        Self {
            total: total.map(TotalView::from),
            kind: message.kind,
            turn: message.turn.filter(|_| message.cut.is_none()),
            bot_index: message.bot_index,
            bot_version: message.bot_version,
            author: message.author,
            text: message.text,
            status: message.status,
            stop_reason: message.stop_reason,
            usage: message.usage,
            cost_usd: message.cost,
            provider: message.provider,
            model: message.model,
            at: message.at,
            cut: message.cut.map(|cut| CutView {
                before_turn: message.turn,
                kept_from_turn: cut.kept_from_turn,
            }),
        }
    }
}
