//! A run with everything that was said in it, as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::run::{BotView, RunView, TotalView};
use crate::conversation::{
    Bot, BotVersion, Cost, Message, MessageKind, MessageStatus, RunId, Spent, StopReason,
    Timestamp, Transcript, Usage,
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

impl From<Transcript> for ExportView {
    fn from(transcript: Transcript) -> Self {
        let Transcript {
            run,
            versions,
            messages,
            spent,
        } = transcript;
        let in_progress = run.in_progress.map(|open| InProgressView {
            turn: open.turn,
            bot_index: open.bot_index,
        });
        let with_versions = |bot: Bot, total: TotalView| {
            let own = versions
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
            run: RunView::with_bots(run, with_versions),
            messages: messages
                .into_iter()
                .map(|message| MessageView::new(message, &spent))
                .collect(),
        }
    }
}

impl From<BotVersion> for VersionView {
    fn from(version: BotVersion) -> Self {
        Self {
            effective_from_turn: version.effective_from_turn,
            bot: version.bot.into(),
        }
    }
}

impl MessageView {
    /// The message, and what its turn took: `spent` is by turn.
    fn new(message: Message, spent: &[Spent]) -> Self {
        let turn = message.turn.filter(|_| message.cut.is_none());
        let at = turn.and_then(|turn| usize::try_from(turn).ok());
        let total = at.and_then(|turn| spent.get(turn)).copied();
        Self {
            total: total.map(TotalView::from),
            kind: message.kind,
            turn,
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

/// `Content-Disposition` (RFC 6266) for a run's file. The name is ASCII, so that the plain form says all; the extended one
/// (RFC 8187) is for clients that look for it first.
#[must_use]
pub fn disposition(id: RunId, extension: &str, inline: bool) -> String {
    let kind = if inline { "inline" } else { "attachment" };
    let name = format!("parley-{id}.{extension}");
    format!("{kind}; filename=\"{name}\"; filename*=UTF-8''{name}")
}
