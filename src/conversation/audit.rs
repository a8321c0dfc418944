//! What is kept of acts: who did what with which run, when, and from where. Never what was said, and never a credential.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{cursor, record::StopMode, run::RunId, time::Timestamp};

/// What was done with a run, with what tells one such act from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// It was accepted.
    Start,
    /// One of its bots was changed.
    UpdateBot {
        /// The bot's place in the run's list.
        bot_index: u32,
        /// The version that the change made.
        bot_version: u32,
    },
    /// It was told to stop, before it was over.
    Stop {
        /// When.
        mode: StopMode,
    },
    /// It was sent as a file.
    Export {
        /// The kind of file, as its name ends.
        format: String,
    },
    /// It was deleted.
    Delete,
}

/// An act, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the list.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What.
    pub act: Act,
    /// Who; empty for nobody.
    pub owner: String,
    /// By what login; `None` where none was asked for.
    pub login: Option<String>,
    /// From where; `None`: from the process itself.
    pub address: Option<String>,
    /// By which request; empty where there was none.
    pub request_id: String,
}

/// A page of what was done with a run, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The acts.
    pub entries: Vec<AuditEntry>,
    /// The last of them, if there are more.
    pub more_after: Option<Uuid>,
}

impl Act {
    /// Its name, as the row, the log and the API have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::UpdateBot { .. } => "update_bot",
            Self::Stop { .. } => "stop",
            Self::Export { .. } => "export",
            Self::Delete => "delete",
        }
    }
}

/// A place in the list of what was done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor(pub Uuid);

/// A text that is no cursor of this list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor of this list: take it as it stands in `next_cursor` or `Link`")]
pub struct InvalidAuditCursor;

impl AuditCursor {
    /// The cursor as clients see it.
    #[must_use]
    pub fn to_text(self, run: RunId) -> String {
        cursor::to_text(self.0, &list(run))
    }

    /// Reads what a client sent.
    ///
    /// # Errors
    /// When it was altered, or belongs to another run.
    pub fn read(text: &str, run: RunId) -> Result<Self, InvalidAuditCursor> {
        let read = cursor::read(text, &list(run));
        read.map(Self).ok_or(InvalidAuditCursor)
    }
}

fn list(run: RunId) -> String {
    format!("audit {run}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_an_act_is_the_one_that_its_json_has() {
        let all = [
            (Act::Start, json!({"act": "start"})),
            (
                Act::UpdateBot {
                    bot_index: 1,
                    bot_version: 2,
                },
                json!({"act": "update_bot", "bot_index": 1, "bot_version": 2}),
            ),
            (
                Act::Stop {
                    mode: StopMode::AfterTurn,
                },
                json!({"act": "stop", "mode": "after_turn"}),
            ),
            (
                Act::Export {
                    format: "md".to_owned(),
                },
                json!({"act": "export", "format": "md"}),
            ),
            (Act::Delete, json!({"act": "delete"})),
        ];
        for (act, json) in all {
            assert_eq!(serde_json::to_value(&act).unwrap(), json);
            assert_eq!(act.name(), json["act"]);
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_run_alone() {
        let run = |n| RunId::from_uuid(Uuid::from_u128(n));
        let cursor = AuditCursor(Uuid::from_u128(3));
        let text = cursor.to_text(run(1));
        assert_eq!(AuditCursor::read(&text, run(1)), Ok(cursor));
        for (text, of) in [(text.as_str(), run(2)), ("", run(1)), (&text[1..], run(1))] {
            assert_eq!(AuditCursor::read(text, of), Err(InvalidAuditCursor));
        }
    }
}
