//! The log of a run as one thing: append, read from a cursor, wait for more.
//!
//! The durable part is rows, written by the orchestrator's transactions through models. The live part is memory: what the
//! latest transaction appended, and the deltas since. A reader pulls by cursor and waits on the head; there is no queue per
//! reader, so nothing overflows and nothing is dropped for a slow one.
//!
//! **Invariant:** a durable event is published after its commit, never before. What is appended is encoded once, into the SSE block
//! that all readers are handed slices of; what is read from the database is encoded for its reader. A reader is handed every durable
//! event after its cursor in order, and every delta of the attempt in progress after its cursor; deltas of an ended attempt are gone, except for those who were reading them.
//!
//! **May import:** conversation, models.

mod channel;
mod frame;
mod pages;
mod reader;
mod segment;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub use channel::Channel;
pub use reader::Reader;

use crate::{
    conversation::{EventId, RunError, RunId},
    models::{LoggedEvent, Store, StoreError},
};

/// The logs of all runs. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    store: Store,
    /// The channel of each run that somebody writes or reads now. Held only for a look-up: no await happens under it. An entry
    /// goes when its channel does.
    channels: Arc<Mutex<HashMap<RunId, Weak<Channel>>>>,
    /// Each reader holds a weak one of it, so that they can be counted.
    readers: Arc<()>,
}

/// What a request for a log finds.
pub enum Opened {
    /// The cursor is at the final event: there is nothing more, ever.
    Over,
    /// There is something to read or to wait for.
    Reading(Box<Reader>),
}

impl EventLog {
    /// The logs in this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            channels: Arc::default(),
            readers: Arc::default(),
        }
    }

    /// The live part of a run's log. It lives as long as somebody holds it.
    #[must_use]
    pub fn channel(&self, run: RunId) -> Arc<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&run).and_then(Weak::upgrade) {
            return channel;
        }
        let channel = Arc::new(Channel::new(run, Arc::downgrade(&self.channels)));
        channels.insert(run, Arc::downgrade(&channel));
        channel
    }

    /// Shows events that were committed to whoever reads the run's log now. For writers that hold no channel.
    pub fn publish(&self, run: RunId, events: &[LoggedEvent]) {
        if let Some(channel) = self.existing(run) {
            channel.publish(events);
        }
    }

    /// Opens the log after a cursor.
    ///
    /// # Errors
    /// `NotFound`; `CursorAhead` for a cursor beyond the last durable event, by a fresh look into the database; `Unavailable`.
    pub async fn open(&self, run: RunId, cursor: EventId) -> Result<Opened, RunError> {
        // Taken before the look into the database: what is committed after that look is published into this channel.
        let channel = self.channel(run);
        let (last, over) = self
            .store
            .log_end(run)
            .await?
            .ok_or(RunError::NotFound(run))?;
        if cursor.seq > last {
            return Err(RunError::CursorAhead {
                cursor,
                last: EventId::durable(last),
            });
        }
        if over && cursor.seq == last {
            return Ok(Opened::Over);
        }
        Ok(Opened::Reading(Box::new(Reader::new(
            self.store.clone(),
            channel,
            cursor,
            Arc::downgrade(&self.readers),
        ))))
    }

    /// Ends the streams of a run that was removed.
    pub fn vanish(&self, run: RunId) {
        if let Some(channel) = self.existing(run) {
            channel.vanish();
        }
    }

    /// The live part, if somebody holds it. The lock is let go of before: where the others let go meanwhile, the end of what is returned
    /// takes it.
    fn existing(&self, run: RunId) -> Option<Arc<Channel>> {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.get(&run).and_then(Weak::upgrade)
    }

    /// Wakes the readers of runs that other processes drive, and ends those of runs that were removed: `here` tells which are driven in this one. One query for all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look_for_more(&self, here: impl Fn(RunId) -> bool) -> Result<(), StoreError> {
        let watched: Vec<(RunId, Weak<Channel>)> = {
            let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels
                .iter()
                .filter(|(run, _)| !here(**run))
                .map(|(run, channel)| (*run, Weak::clone(channel)))
                .collect()
        };
        let ids: Vec<RunId> = watched.iter().map(|(run, _)| *run).collect();
        let seqs: HashMap<RunId, u64> = self.store.last_seqs(&ids).await?.into_iter().collect();
        for (run, channel) in watched {
            let Some(channel) = channel.upgrade() else {
                continue;
            };
            match seqs.get(&run) {
                Some(seq) => channel.wake(*seq),
                None => channel.vanish(),
            }
        }
        Ok(())
    }

    /// How many logs are being read now.
    #[must_use]
    pub fn readers(&self) -> usize {
        Arc::weak_count(&self.readers)
    }

    /// How many runs have a live part now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
