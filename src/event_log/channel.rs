//! The live part of one run's log.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified, watch};

use super::segment::Segment;
use crate::{
    conversation::{Delta, EventId, RunId},
    models::LoggedEvent,
};

type Channels = Mutex<HashMap<RunId, Weak<Channel>>>;

/// Where a run's writer appends and its readers wait. Gone when the last of them lets go of it.
pub struct Channel {
    run: RunId,
    registry: Weak<Channels>,
    /// What the latest transaction appended; deltas go to the last one. Held for a moment only; no await happens under it.
    tail: Mutex<Vec<Arc<Segment>>>,
    /// The newest id. Only wakes, and says whether a delta is there that may gather: what there is, the segments and the database
    /// answer. It is set outside the lock, so an older id may stand here until the next; a reader then gathers, or does not, for nothing.
    head: watch::Sender<EventId>,
    /// Wakes whoever lets deltas gather: something has come that waits for none.
    pressing: Notify,
    /// Whether the run was removed.
    gone: AtomicBool,
}

impl Channel {
    pub(super) fn new(run: RunId, registry: Weak<Channels>) -> Self {
        Self {
            run,
            registry,
            tail: Mutex::default(),
            head: watch::Sender::new(EventId::START),
            pressing: Notify::new(),
            gone: AtomicBool::new(false),
        }
    }

    /// Shows events that were committed. Those that are known already are passed over, so that two who publish the same
    /// transaction, or an old one late, do no harm.
    pub fn publish(&self, events: &[LoggedEvent]) {
        // Encoded before the lock is taken: a turn may have megabytes.
        let mut fresh: Vec<_> = events.iter().map(|it| Arc::new(Segment::new(it))).collect();
        let head = {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let known = tail.last().map_or(0, |segment| segment.seq);
            fresh.retain(|segment| segment.seq > known);
            let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else {
                return;
            };
            if let Some(previous) = tail.last() {
                previous.end(first);
            }
            for (earlier, later) in fresh.iter().zip(fresh.iter().skip(1)) {
                earlier.end(later);
            }
            let head = EventId::durable(last.seq);
            *tail = fresh;
            head
        };
        // Told after the lock is gone: whoever wakes can read at once.
        self.press(|newest| *newest = head);
    }

    /// Appends a delta after the last durable event, for the run's owner.
    pub fn push(&self, delta: &Delta<'_>) {
        let segment = {
            let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.last().map(Arc::clone)
        };
        // The owner publishes `turn.started` before the first delta: there always is a segment.
        debug_assert!(segment.is_some());
        if let Some(segment) = segment {
            let id = segment.push(delta);
            self.head.send_replace(id);
        }
    }

    /// Lets go of what this process knew of the run: another one drives it now, and only the database tells how it goes on.
    pub fn abandon(&self) {
        let tail = {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tail)
        };
        if let Some(last) = tail.last() {
            last.cut();
        }
        self.press(|_| {});
    }

    /// The run was removed: whoever waits for more waits in vain.
    pub(super) fn vanish(&self) {
        self.gone.store(true, Ordering::Release);
        self.press(|_| {});
    }

    /// Wakes all readers, also those that let deltas gather.
    fn press(&self, change: impl FnOnce(&mut EventId)) {
        self.head.send_modify(change);
        self.pressing.notify_waiters();
    }

    /// Whether the run was removed.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Wakes whoever waits, if there is more in the database than was ever shown here. What stands here is let go of then: a reader
    /// would wait in it for ever. (An owner in this process writes no delta between its commit and its publishing: none is lost.)
    pub(super) fn wake(&self, last_seq: u64) {
        let behind = {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            match tail.last() {
                Some(last) if last.seq < last_seq => std::mem::take(&mut *tail),
                _ => Vec::new(),
            }
        };
        if let Some(last) = behind.last() {
            last.cut();
        }
        let more = self.head.send_if_modified(|head| {
            let more = head.seq < last_seq;
            if more {
                *head = EventId::durable(last_seq);
            }
            more || !behind.is_empty()
        });
        if more {
            self.pressing.notify_waiters();
        }
    }

    /// Ready when something else than a delta has come since it was asked for.
    pub(super) fn pressing(&self) -> Notified<'_> {
        self.pressing.notified()
    }

    /// The segment of that durable event, if it is among the latest.
    pub(super) fn find(&self, seq: u64) -> Option<Arc<Segment>> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter()
            .find(|segment| segment.seq == seq)
            .map(Arc::clone)
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    pub(super) fn watch(&self) -> watch::Receiver<EventId> {
        self.head.subscribe()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let Some(registry) = self.registry.upgrade() else {
            return;
        };
        let mut channels = registry.lock().unwrap_or_else(PoisonError::into_inner);
        // A new channel may have taken the place since the last holder of this one let go.
        if channels
            .get(&self.run)
            .is_some_and(|channel| channel.strong_count() == 0)
        {
            channels.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;
    use crate::conversation::DeltaKind;

    #[test]
    fn whatever_is_no_delta_is_pressing() {
        let channel = Channel::new(RunId::from_uuid(Uuid::nil()), Weak::new());
        let presses = |act: &dyn Fn(&Channel)| {
            let pressing = channel.pressing();
            act(&channel);
            pressing.now_or_never().is_some()
        };
        let publish = |channel: &Channel| {
            channel.publish(&[LoggedEvent {
                seq: 1,
                name: "turn.started".into(),
                data: "{}".into(),
            }]);
        };
        assert!(presses(&publish), "an event");
        assert!(!presses(&publish), "an event that was known");
        let delta = Delta {
            turn: 0,
            bot_index: 0,
            kind: DeltaKind::Text,
            text: "x",
        };
        assert!(!presses(&|channel| channel.push(&delta)), "a delta");
        assert!(!presses(&|channel| channel.wake(1)), "nothing new");
        assert!(presses(&|channel| channel.wake(2)), "more elsewhere");
        assert!(presses(&Channel::abandon), "another owner");
        assert!(presses(&Channel::vanish), "a removal");
    }
}
