//! Who did what: told to the log once it is done, and read from the rows that were written with it.

use super::Runs;
use crate::{
    conversation::{Act, Asker, AuditCursor, AuditPage, RunError, RunId, StopMode},
    models::Ordered,
    orchestrator::clock,
};

impl Runs {
    /// Writes down that somebody takes a run away as a file. To be called before the file's first byte goes out. Each time there is a line
    /// of the log; in the database there may be a row that stands for it already.
    ///
    /// # Errors
    /// `Unavailable`: then the file must stay here.
    pub async fn exported(&self, id: RunId, format: &str, by: &Asker) -> Result<(), RunError> {
        let (store, by) = (self.store().clone(), by.clone());
        let act = Act::Export {
            format: format.to_owned(),
        };
        self.tracked(async move {
            store.note(id, &act, &by, clock::now()).await?;
            tell(id, &act, &by);
            Ok(())
        })
        .await
    }

    /// What was done with a run, whoever did it, oldest first, from the one after `after`: at most `limit`. Also of one that was deleted.
    ///
    /// # Errors
    /// `NotFound` if there is neither the run nor anything that was done with it; `Unavailable`.
    pub async fn audit(
        &self,
        id: RunId,
        after: Option<AuditCursor>,
        limit: u64,
    ) -> Result<AuditPage, RunError> {
        let after_id = after.map(|AuditCursor(id)| id);
        let page = self.store().audit(id, after_id, limit).await?;
        // A cursor says that there was something.
        if page.entries.is_empty() && after.is_none() && self.store().log_end(id).await?.is_none() {
            return Err(RunError::NotFound(id));
        }
        Ok(page)
    }
}

/// Tells of an order that did something.
pub(super) fn tell_of(run: RunId, ordered: &Ordered, by: &Asker) {
    if let Some(act) = &ordered.act {
        tell(run, act, by);
    }
}

/// Tells of a stop that closed the provider's stream while the database was away: its row comes with the run's end.
pub(super) fn tell_unrecorded_stop(run: RunId, mode: StopMode, by: &Asker) {
    say(
        run,
        &Act::Stop { mode },
        by,
        "run stopped, not yet recorded",
    );
}

/// Tells of an act that was done, and written down.
pub(super) fn tell(run: RunId, act: &Act, by: &Asker) {
    let done = match act {
        Act::Start => "run started",
        Act::UpdateBot { .. } => "bot changed",
        Act::Stop { .. } => "run stopped",
        Act::Export { .. } => "run exported",
        Act::Delete => "run deleted",
    };
    say(run, act, by, done);
}

/// One line, to the target `audit`.
fn say(run: RunId, act: &Act, by: &Asker, done: &str) {
    let (mut bot, mut stop, mut kind) = (None, None, None);
    match act {
        Act::UpdateBot {
            bot_index,
            bot_version,
        } => bot = Some((*bot_index, *bot_version)),
        Act::Stop { mode } => stop = Some(mode.as_str()),
        Act::Export { format } => kind = Some(format.as_str()),
        Act::Start | Act::Delete => {}
    }
    tracing::info!(
        target: "audit",
        act = act.name(),
        run_id = %run,
        who = by.owner.as_str(),
        login = by.login,
        address = by.address.map(tracing::field::display),
        request_id = by.request_id.as_str(),
        bot_index = bot.map(|(index, _)| index),
        bot_version = bot.map(|(_, version)| version),
        mode = stop,
        format = kind,
        "{done}"
    );
}
