//! What was done with a run, as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::conversation::{Act, AuditEntry, AuditPage, StopMode, Timestamp};

/// An act.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryView {
    at: Timestamp,
    /// What: `start`, `update_bot`, `stop`, `export` or `delete`.
    act: &'static str,
    /// Of `update_bot`: the bot's place in the run's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_index: Option<u32>,
    /// Of `update_bot`: the version that the change made.
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_version: Option<u32>,
    /// Of `stop`: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<StopMode>,
    /// Of `export`: the kind of file, as its name ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    /// Who: a user's name, or an issuer and a subject; empty where no login was asked for.
    who: String,
    /// By what login: `basic`, `bearer` or `session`; null where none was asked for.
    #[schema(required)]
    login: Option<String>,
    /// The client's address; null where no request asked for it.
    #[schema(required)]
    address: Option<String>,
    /// The request's id, as its answer and the log have it; empty where no request asked for it.
    request_id: String,
}

/// A page of what was done with a run, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub struct AuditView {
    acts: Vec<AuditEntryView>,
    #[schema(required)]
    next_cursor: Option<String>,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        let mut view = Self {
            at: entry.at,
            act: entry.act.name(),
            bot_index: None,
            bot_version: None,
            mode: None,
            format: None,
            who: entry.owner,
            login: entry.login,
            address: entry.address,
            request_id: entry.request_id,
        };
        match entry.act {
            Act::Start | Act::Delete => {}
            Act::UpdateBot {
                bot_index,
                bot_version,
            } => {
                (view.bot_index, view.bot_version) = (Some(bot_index), Some(bot_version));
            }
            Act::Stop { mode } => view.mode = Some(mode),
            Act::Export { format } => view.format = Some(format),
        }
        view
    }
}

impl AuditView {
    /// The page, and where the next one begins.
    #[must_use]
    pub fn new(page: AuditPage, next_cursor: Option<String>) -> Self {
        Self {
            acts: page.entries.into_iter().map(AuditEntryView::from).collect(),
            next_cursor,
        }
    }
}
