//! What was done with a run, as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::conversation::{Act, AuditEntry, AuditPage, Timestamp};

/// An act.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryView {
    at: Timestamp,
    #[serde(flatten)]
    act: Act,
    /// Who: a user's name, or an issuer and a subject; empty where no login was asked for.
    who: String,
    /// By what login: `basic` or `bearer`; null where none was asked for.
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
        Self {
            at: entry.at,
            act: entry.act,
            who: entry.owner,
            login: entry.login,
            address: entry.address,
            request_id: entry.request_id,
        }
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
