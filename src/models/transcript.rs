//! The transcript of a run, read in pages: as much as one page of it is in memory, however long the talk was.
//!
//! The run's row is read first and says how far this transcript goes. What is written after that look is not in it: a message belongs to
//! it by its place and its turn, and the turns that had ended by then do not change any more. A run that is deleted meanwhile is noticed at
//! the latest after the last page: its row goes first, so rows that were read before it was seen are all there.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, Func},
};

use super::{
    _entities::{attempts, messages, runs},
    Store, StoreError,
    rows::{db_u32, db_u64, read_cost, read_json, read_u64},
    runs::{newest, versions_of},
};
use crate::conversation::{Message, RunError, RunId, Said, Spent, TranscriptHead, in_order};

/// How many messages a page has at most.
const PAGE_MESSAGES: u64 = 200;

/// How many characters of text a page has at most, unless a single message has more.
const PAGE_CHARS: u64 = 256 * 1024;

/// A transcript that is being read.
#[derive(Debug)]
pub struct TranscriptReader {
    store: Store,
    head: Arc<TranscriptHead>,
    /// The place of the last message that was read.
    after: u64,
    /// Read, and perhaps to be put behind what the next page begins with.
    held: Option<Message>,
    /// Read, and not handed out yet: an error on the way to a page loses nothing, so it can be asked for again.
    page: Vec<Message>,
    over: bool,
}

impl Store {
    /// Opens the transcript of a run as it stands now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn transcript(&self, id: RunId) -> Result<Option<TranscriptReader>, StoreError> {
        let Some(row) = runs::Entity::find_by_id(id.as_uuid()).one(&self.db).await? else {
            return Ok(None);
        };
        let versions = versions_of(&self.db, id).await?;
        let run = row.into_run(newest(&versions));
        let run = self.unless_gone(id, run).await?;
        Ok(run.map(|run| TranscriptReader {
            store: self.clone(),
            head: Arc::new(TranscriptHead { run, versions }),
            after: 0,
            held: None,
            page: Vec::new(),
            over: false,
        }))
    }
}

impl TranscriptReader {
    /// The run, as it stood when the transcript was opened.
    #[must_use]
    pub fn head(&self) -> Arc<TranscriptHead> {
        Arc::clone(&self.head)
    }

    /// The next messages, in order; the topic comes first. `None` after the last. After `Unavailable` it can be asked again.
    ///
    /// # Errors
    /// `Unavailable`; `NotFound` if the run was deleted before all of it was read: what was read is not the whole then.
    pub async fn next(&mut self) -> Result<Option<Vec<Said>>, RunError> {
        while self.page.is_empty() {
            if self.over {
                return Ok(None);
            }
            let read = self.read().await?;
            if read.is_empty() {
                self.still_there().await?;
                self.over = true;
            }
            let mut page = in_order(self.held.take().into_iter().chain(read).collect());
            if !self.over {
                // A cut of its turn may follow, and stands before it then.
                self.held = page.pop();
            }
            self.page = page;
        }
        let totals = self.totals(&self.page).await?;
        if self.over {
            // Also these belong to a run that was there when they were read.
            self.still_there().await?;
        }
        let page = std::mem::take(&mut self.page).into_iter().zip(totals);
        let said = page.map(|(message, total)| Said { total, message });
        Ok(Some(said.collect()))
    }

    /// The rows of this transcript that were not read yet.
    fn rest(&self) -> Select<messages::Entity> {
        let run = &self.head.run;
        let turn = messages::Column::Turn;
        let ended = turn.is_null().or(turn.lt(db_u32(run.totals.turns)));
        messages::Entity::find()
            .filter(messages::Column::RunId.eq(run.id.as_uuid()))
            .filter(messages::Column::Pos.gt(db_u64(self.after)))
            .filter(messages::Column::Pos.lte(db_u64(run.last_event_id.seq)))
            .filter(ended)
            .order_by_asc(messages::Column::Pos)
    }

    /// The next rows: few enough, by their number and by their length.
    async fn read(&mut self) -> Result<Vec<Message>, StoreError> {
        let length = Func::char_length(Expr::col(messages::Column::Text));
        let sizes: Vec<(i64, i32)> = self
            .rest()
            .select_only()
            .column(messages::Column::Pos)
            .expr(Expr::expr(length))
            .limit(PAGE_MESSAGES)
            .into_tuple()
            .all(&self.store.db)
            .await?;
        let (mut last, mut chars) = (None, 0);
        for (pos, length) in sizes {
            chars += u64::try_from(length).unwrap_or_default();
            if last.is_some() && chars > PAGE_CHARS {
                break;
            }
            last = Some(pos);
        }
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        let rows = self
            .rest()
            .filter(messages::Column::Pos.lte(last))
            .all(&self.store.db)
            .await?;
        let messages: Result<Vec<Message>, StoreError> = rows
            .into_iter()
            .map(messages::Model::into_message)
            .collect();
        let messages = messages?;
        self.after = read_u64(last)?;
        Ok(messages)
    }

    async fn still_there(&self) -> Result<(), RunError> {
        let id = self.head.run.id;
        let found = self.store.log_end(id).await?;
        found.map(drop).ok_or(RunError::NotFound(id))
    }

    /// What all attempts of each message's turn took; `None` for what is no turn's message.
    async fn totals(&self, page: &[Message]) -> Result<Vec<Option<Spent>>, StoreError> {
        let turn_of = |message: &Message| message.turn.filter(|_| message.cut.is_none());
        let turns = || page.iter().filter_map(turn_of);
        let mut spent = Vec::new();
        let first = turns().min().unwrap_or_default();
        if let Some(last) = turns().max() {
            let count = usize::try_from(last - first).unwrap_or_default() + 1;
            spent.resize(count, Spent::NOTHING);
            self.add_attempts(first, last, &mut spent).await?;
        }
        let total = |message: &Message| {
            let at = usize::try_from(turn_of(message)? - first).ok()?;
            spent.get(at).copied()
        };
        Ok(page.iter().map(total).collect())
    }

    async fn add_attempts(
        &self,
        first: u32,
        last: u32,
        spent: &mut [Spent],
    ) -> Result<(), StoreError> {
        let rows = attempts::Entity::find()
            .filter(attempts::Column::RunId.eq(self.head.run.id.as_uuid()))
            .filter(attempts::Column::Turn.between(db_u32(first), db_u32(last)))
            .all(&self.store.db)
            .await?;
        for row in rows {
            let at = usize::try_from(row.turn - db_u32(first)).ok();
            if let Some(turn) = at.and_then(|at| spent.get_mut(at)) {
                let cost = row.cost.map(read_cost).transpose()?;
                turn.add(read_json(&row.usage)?, cost, row.settled);
            }
        }
        Ok(())
    }
}
