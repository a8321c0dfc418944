//! One durable event and the deltas that follow it: all that shares one seq.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use super::{frame, pages::Pages};
use crate::{
    conversation::{Delta, EventId, RunEvent},
    models::LoggedEvent,
};

/// A piece of the live log. Readers hold the one they are in; that alone keeps an ended attempt's deltas alive.
pub(super) struct Segment {
    pub(super) seq: u64,
    /// The durable event's block.
    pub(super) event: Bytes,
    /// Whether the event ends the run.
    pub(super) is_final: bool,
    /// Held only to push or to take a slice; no await happens under it.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The blocks of the deltas.
    deltas: Pages,
    /// The segment of the next durable event, once there is one: no delta comes after that. Weak, so that a reader that has
    /// stopped reading holds one segment and not the whole log behind it.
    next: Option<Weak<Segment>>,
}

/// What a segment has for a reader.
pub(super) enum Rest {
    /// Deltas after the reader's cursor, as many as stand together: their blocks, and the number of the last.
    Deltas(Bytes, u64),
    /// Nothing yet.
    Waiting,
    /// The segment is complete and read; the next one, if it is still in memory.
    Ended(Option<Arc<Segment>>),
}

impl Segment {
    pub(super) fn new(event: &LoggedEvent) -> Self {
        Self {
            seq: event.seq,
            event: frame::durable(event),
            is_final: RunEvent::name_is_final(&event.name),
            inner: Mutex::default(),
        }
    }

    /// Appends a delta and returns its id.
    pub(super) fn push(&self, delta: &Delta<'_>) -> EventId {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = EventId {
            seq: self.seq,
            n: inner.deltas.count() + 1,
        };
        inner.deltas.push(|page| frame::delta(page, id, delta));
        id
    }

    /// Ends the segment: the next durable event is there.
    pub(super) fn end(&self, next: &Arc<Self>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next = Some(Arc::downgrade(next));
    }

    /// Ends the segment without a next one: what follows is in the database.
    pub(super) fn cut(&self) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next = Some(Weak::new());
    }

    /// What there is after delta number `n`.
    pub(super) fn after(&self, n: u64) -> Rest {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.deltas.after(n) {
            Some((blocks, last)) => Rest::Deltas(blocks, last),
            None => inner
                .next
                .as_ref()
                .map_or(Rest::Waiting, |next| Rest::Ended(next.upgrade())),
        }
    }
}
