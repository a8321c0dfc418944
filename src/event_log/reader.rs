//! Reads a run's log from a cursor to its end: one path for replay and live.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    channel::Channel,
    frame,
    segment::{Rest, Segment},
};
use crate::{
    conversation::{EventId, RunError, RunEvent},
    models::{LoggedEvent, Store, StoreError},
};

/// How many events are taken from the database at once, and how many bytes of them; the last one may go beyond. So what waits for a reader
/// that lags is bounded by these and the largest event, which has a whole turn's text.
const PAGE: u64 = 64;
const PAGE_BYTES: u64 = 256 * 1024;

/// How long after a reader began to wait the next deltas leave, at the soonest: nobody sees it, and a write costs more than all else that
/// a delta takes.
const QUICK: Duration = Duration::from_millis(1);

/// An open log. Holds one segment at most, and a connection only while it reads from the database.
pub struct Reader {
    store: Store,
    channel: Arc<Channel>,
    head: watch::Receiver<EventId>,
    /// Everything up to here was handed out or is in `stored`.
    cursor: EventId,
    /// Where the reader is in the live part; `None` while it reads from the database.
    segment: Option<Arc<Segment>>,
    /// The page that the database is asked for. Kept where a wait for it is given up: whoever asks anew with each heartbeat gets no answer
    /// from a database that takes longer, and no error either.
    page: Option<BoxFuture<'static, Result<Vec<LoggedEvent>, StoreError>>>,
    /// Blocks that were read from the database and not handed out yet.
    stored: VecDeque<Bytes>,
    /// Whether the final event was read.
    over: bool,
    /// By which it is counted.
    _counted: Weak<()>,
}

impl Reader {
    pub(super) fn new(
        store: Store,
        channel: Arc<Channel>,
        cursor: EventId,
        counted: Weak<()>,
    ) -> Self {
        let head = channel.watch();
        Self {
            store,
            channel,
            head,
            cursor,
            segment: None,
            page: None,
            stored: VecDeque::new(),
            over: false,
            _counted: counted,
        }
    }

    /// Whether the database has been asked, and has not answered: until then a connection may be held, so the wait has to go on.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.page.is_some()
    }

    /// Waits for what comes after all that was handed out: one or several whole SSE blocks. `None` after the final event, and where
    /// the run was removed. Deltas that come quickly one after the other are handed out together, up to two milliseconds after the first.
    ///
    /// Cancel-safe: what was read and not handed out is handed out by the next call, at its first poll.
    ///
    /// # Errors
    /// When the database cannot be read; the same call may be made again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RunError> {
        loop {
            if let Some(block) = self.stored.pop_front() {
                return Ok(Some(block));
            }
            if self.over {
                return Ok(None);
            }
            // A page that was asked for has to be answered first: it follows the cursor as it stands, and what came since is not in it.
            if self.page.is_none() {
                // Marked as seen before the look: an append after it wakes the wait below at once, so none is slept through.
                self.head.mark_unchanged();
                if let Some(blocks) = self.read_live() {
                    return Ok(Some(blocks));
                }
            }
            if self.segment.is_none() {
                self.read_stored().await?;
                if !self.stored.is_empty() {
                    continue;
                }
            }
            if self.channel.is_gone() {
                return Ok(None);
            }
            let since = Instant::now();
            // The channel is held, so its sender lives: the wait ends by an append.
            if self.head.changed().await.is_err() {
                return Ok(None);
            }
            self.gather(since).await;
        }
    }

    /// Lets deltas gather that come quickly one after the other: several leave in one write then. `since` is when the wait for the first
    /// of them began. A turn's first one waits for none, and nothing else waits at all.
    async fn gather(&mut self, since: Instant) {
        let is_first = self.cursor.n == 0;
        // Not left to the timer: that takes a lock which all share, also where its time is over.
        if is_first || since.elapsed() >= QUICK {
            return;
        }
        // Asked for before the look: what presses after it ends the wait below.
        let pressing = self.channel.pressing();
        let head = *self.head.borrow();
        if head.seq == self.cursor.seq && head.n > self.cursor.n {
            // Either is an end of it.
            let _ = timeout_at(since + QUICK, pressing).await;
        }
    }

    /// What the live part has next: all deltas that stand together, or a durable event. Leaves `segment` empty if the database has to be
    /// asked.
    fn read_live(&mut self) -> Option<Bytes> {
        if self.segment.is_none() {
            self.segment = self.channel.find(self.cursor.seq);
        }
        match self.segment.as_ref()?.after(self.cursor.n) {
            Rest::Deltas(blocks, last) => {
                self.cursor.n = last;
                Some(blocks)
            }
            Rest::Waiting => None,
            Rest::Ended(next) => {
                // Two writers may publish out of order: a segment that is not the very next is left to the database.
                self.segment = next.filter(|next| next.seq == self.cursor.seq + 1);
                let next = self.segment.as_ref()?;
                self.cursor = EventId::durable(next.seq);
                self.over = next.is_final;
                Some(next.event.clone())
            }
        }
    }

    /// Takes the next page of durable events from the database.
    async fn read_stored(&mut self) -> Result<(), RunError> {
        let page = self.page.get_or_insert_with(|| {
            let (store, run, seq) = (self.store.clone(), self.channel.run(), self.cursor.seq);
            Box::pin(async move { store.page_after(run, seq, PAGE, PAGE_BYTES).await })
        });
        let page = page.await;
        self.page = None;
        let page = page?;
        if let Some(last) = page.last() {
            self.cursor = EventId::durable(last.seq);
            self.over = RunEvent::name_is_final(&last.name);
        }
        self.stored.extend(page.iter().map(frame::durable));
        Ok(())
    }
}
