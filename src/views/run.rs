//! A run as JSON.

use axum::http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::conversation::{
    Bot, BotChange, ContextPolicy, Cost, EndReason, Failure, HistoryPage, Params, Run, RunId,
    RunStatus, Spent, StopAnswer, Target, Timestamp, Usage,
};

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView<B = RunBotView> {
    run_id: RunId,
    status: RunStatus,
    #[schema(required)]
    reason: Option<EndReason>,
    #[schema(required)]
    error: Option<Failure>,
    topic: String,
    turns: u32,
    max_turns: u32,
    show_reasoning: bool,
    context_policy: ContextPolicy,
    bots: Vec<B>,
    usage: Usage,
    #[schema(required)]
    cost_usd: Option<Cost>,
    cost_complete: bool,
    last_event_id: String,
    created_at: Timestamp,
    #[schema(required)]
    started_at: Option<Timestamp>,
    #[schema(required)]
    finished_at: Option<Timestamp>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self::with_bots(run, |bot, total| RunBotView {
            bot: bot.into(),
            total,
        })
    }
}

impl<B> RunView<B> {
    /// The run, its bots with what each took shown in that way.
    pub(super) fn with_bots(run: Run, mut show: impl FnMut(Bot, TotalView) -> B) -> Self {
        let totals = run.spent.into_iter().map(TotalView::from);
        let bots = run.bots.into_iter().zip(totals);
        Self {
            run_id: run.id,
            status: run.status,
            reason: run.reason,
            error: run.failure,
            topic: run.topic,
            turns: run.totals.turns,
            max_turns: run.max_turns,
            show_reasoning: run.show_reasoning,
            context_policy: run.context_policy,
            bots: bots.map(|(bot, total)| show(bot, total)).collect(),
            usage: run.totals.usage,
            cost_usd: run.totals.cost_usd,
            cost_complete: run.totals.cost_complete,
            last_event_id: run.last_event_id.to_string(),
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub struct HistoryView {
    runs: Vec<RunView>,
    #[schema(required)]
    next_cursor: Option<String>,
}

impl HistoryView {
    /// The page, and where the next one begins.
    #[must_use]
    pub fn new(page: HistoryPage, next_cursor: Option<String>) -> Self {
        Self {
            runs: page.runs.into_iter().map(RunView::from).collect(),
            next_cursor,
        }
    }
}

/// The `Link` (RFC 8288) to the page that begins at that cursor, with the query of this one.
#[must_use]
pub fn next_page(this: &Uri, cursor: &str) -> Option<HeaderValue> {
    let query = this.query().unwrap_or_default().split('&');
    let mut query: Vec<&str> = query
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("cursor"))
        .collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    let link = format!("<{}?{}>; rel=\"next\"", this.path(), query.join("&"));
    HeaderValue::from_str(&ascii(&link)).ok()
}

/// What was sent as it is read, without percent-encoding, has no place in a header.
fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..0x80 => ascii.push(char::from(byte)),
            0x80.. => ascii.push_str(&format!("%{byte:02X}")),
        }
    }
    ascii
}

/// A run that was just accepted: where to watch it and where to get it whole.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Started)]
pub struct StartedView {
    #[serde(flatten)]
    run: RunView,
    stream_url: String,
    export_url: String,
    /// For `?ticket=`: watches this run, and does nothing else. Absent in `DEV_MODE`, and for those who may not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ticket: Option<String>,
    /// When the ticket ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ticket_expires_at: Option<Timestamp>,
}

/// What such an answer says of its run.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct StartedRun {
    /// The run.
    pub run_id: RunId,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl StartedView {
    /// The answer as it goes out, and as it is kept for a request that comes twice.
    #[must_use]
    pub fn body(run: &Run) -> String {
        // Text and numbers cannot fail.
        serde_json::to_string(&Self::from(run.clone())).unwrap_or_default()
    }

    /// The run of such an answer.
    #[must_use]
    pub fn read(body: &str) -> Option<StartedRun> {
        serde_json::from_str(body).ok()
    }

    /// Such an answer with a ticket. It is not kept with it: nobody who reads the database has a ticket.
    pub fn add_ticket(body: &mut String, ticket: &str, expires: Timestamp) {
        if body.ends_with('}') {
            body.pop();
            // Neither has anything that JSON would escape.
            body.push_str(&format!(
                ",\"ticket\":\"{ticket}\",\"ticket_expires_at\":\"{expires}\"}}"
            ));
        }
    }
}

impl From<Run> for StartedView {
    fn from(run: Run) -> Self {
        Self {
            stream_url: format!("/api/stream/{}", run.id),
            export_url: format!("/api/export/{}.json", run.id),
            run: run.into(),
            ticket: None,
            ticket_expires_at: None,
        }
    }
}

/// By what a run is watched without a login.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketView {
    /// The address, with the ticket where there is one.
    stream_url: String,
    /// For `?ticket=`: watches this run, and does nothing else. Absent in `DEV_MODE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ticket: Option<String>,
    /// When the ticket ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ticket_expires_at: Option<Timestamp>,
}

impl TicketView {
    /// With the ticket and its end, where there is one.
    #[must_use]
    pub fn new(run: RunId, ticket: Option<(String, Timestamp)>) -> Self {
        let (ticket, ticket_expires_at) = ticket.unzip();
        let query = ticket.as_ref().map(|ticket| format!("?ticket={ticket}"));
        let stream_url = format!("/api/stream/{run}{}", query.unwrap_or_default());
        Self {
            stream_url,
            ticket,
            ticket_expires_at,
        }
    }
}

/// A run that was told to stop.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stopped)]
pub struct StoppedView {
    #[serde(flatten)]
    run: RunView,
    pending: bool,
}

impl From<StopAnswer> for StoppedView {
    fn from(answer: StopAnswer) -> Self {
        Self {
            run: answer.run.into(),
            pending: answer.pending,
        }
    }
}

/// A bot of a run in its newest version, with what all its turns took.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunBot)]
pub struct RunBotView {
    #[serde(flatten)]
    bot: BotView,
    total: TotalView,
}

/// What several attempts took, also those that were given up, cut or failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Total)]
pub(super) struct TotalView {
    attempts: u32,
    usage: Usage,
    /// The sum of what is known; null where nothing is.
    #[schema(required)]
    cost_usd: Option<Cost>,
    /// Whether that is all of it.
    cost_complete: bool,
}

impl From<Spent> for TotalView {
    fn from(spent: Spent) -> Self {
        Self {
            attempts: spent.attempts,
            usage: spent.usage,
            cost_usd: spent.cost_usd(),
            cost_complete: spent.complete,
        }
    }
}

/// A bot in one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bot)]
pub struct BotView {
    index: u32,
    name: String,
    provider: String,
    model: String,
    #[schema(required)]
    system_prompt: Option<String>,
    params: Params,
    fallback: Vec<Target>,
    version: u32,
}

impl From<Bot> for BotView {
    fn from(bot: Bot) -> Self {
        let Bot {
            index,
            version,
            name,
            provider,
            model,
            system_prompt,
            params,
            fallback,
        } = bot;
        Self {
            index,
            name,
            provider,
            model,
            system_prompt,
            params,
            fallback,
            version,
        }
    }
}

/// A bot that was changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangedBot)]
pub struct ChangedBotView {
    #[serde(flatten)]
    bot: BotView,
    #[schema(required)]
    effective_from_turn: Option<u32>,
}

impl From<BotChange> for ChangedBotView {
    fn from(change: BotChange) -> Self {
        Self {
            bot: change.bot.into(),
            effective_from_turn: change.effective_from_turn,
        }
    }
}
