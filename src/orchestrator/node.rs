//! This process among all that drive runs: what it may drive, and until when.
//!
//! Where the database is shared, a process proves that it is alive by renewing one row; others take its runs over once that row
//! has expired by the database's clock. So that it never shows text after that, it fences itself by a clock of its own, which
//! is monotonic: the deadline counts from the moment at which the last renewal that succeeded was sent, and is a margin shorter.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::models::{DrivingLock, Store, StoreError, Takeover};

/// The most that the deadline is shorter than the row's life.
const MARGIN: Duration = Duration::from_secs(2);

/// This process.
pub(super) struct Node {
    /// Its name: new at each start.
    pub(super) id: String,
    store: Store,
    /// How long a renewal lasts.
    lifetime: Duration,
    /// Until when the process may act; `None` where it is the only one.
    deadline: Option<watch::Sender<Instant>>,
    /// Held by the one process that drives a SQLite file.
    lock: DrivingLock,
    /// After the database was away, owners get this long to renew before their runs are taken over.
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    failing: bool,
    quiet_until: Option<Instant>,
}

impl Node {
    pub(super) fn new(store: Store, lock: DrivingLock, lifetime: Duration) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            deadline: store
                .is_shared()
                .then(|| watch::Sender::new(Instant::now())),
            store,
            lifetime,
            lock,
            trouble: Mutex::default(),
        }
    }

    /// Whether the process may act for its runs now.
    pub(super) fn is_good(&self) -> bool {
        self.deadline
            .as_ref()
            .is_none_or(|deadline| Instant::now() < *deadline.borrow())
    }

    /// Waits for the moment from which the process may not act any more.
    pub(super) async fn lapsed(&self) {
        let Some(deadline) = &self.deadline else {
            return std::future::pending().await;
        };
        let mut renewals = deadline.subscribe();
        loop {
            let until = *renewals.borrow_and_update();
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = renewals.changed() => {}
            }
        }
    }

    /// Waits until the process may act again.
    pub(super) async fn regained(&self) {
        let Some(deadline) = &self.deadline else {
            return;
        };
        let mut renewals = deadline.subscribe();
        // The sender is ours: the wait ends by a renewal.
        let _ = renewals.wait_for(|until| Instant::now() < *until).await;
    }

    /// Whose runs may be taken now; `None` if the process may not drive any.
    pub(super) fn takeover(&self) -> Option<Takeover> {
        if self.deadline.is_none() {
            return self.lock.is_held().then_some(Takeover::Everybody);
        }
        if !self.is_good() {
            return None;
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = trouble.failing
            || trouble
                .quiet_until
                .is_some_and(|until| Instant::now() < until);
        Some(if quiet {
            Takeover::Nobody
        } else {
            Takeover::Expired
        })
    }

    /// Takes note of how the database answered.
    pub(super) fn heard<T>(&self, answer: &Result<T, StoreError>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Err(error) if error.passes() => trouble.failing = true,
            _ if trouble.failing => {
                trouble.failing = false;
                trouble.quiet_until = Some(Instant::now() + self.lifetime);
            }
            _ => {}
        }
    }

    /// Renews the row for ever. Where the process is alone there is nothing to renew.
    pub(super) async fn keep_alive(&self) {
        let Some(deadline) = &self.deadline else {
            return std::future::pending().await;
        };
        loop {
            let sent = Instant::now();
            let renewal =
                tokio::time::timeout(self.lifetime, self.store.renew(&self.id, self.lifetime));
            let wait = match renewal.await {
                Ok(answer) => {
                    self.heard(&answer);
                    match answer {
                        Ok(()) => {
                            let margin = MARGIN.min(self.lifetime / 5);
                            deadline.send_replace(sent + self.lifetime - margin);
                            self.lifetime * 3 / 10
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot renew this node's row");
                            self.lifetime / 20
                        }
                    }
                }
                Err(_late) => Duration::ZERO,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that the process drives nothing any more.
    pub(super) async fn retire(&self) {
        if self.deadline.is_none() {
            return;
        }
        let forgotten = self.lifetime * 1000;
        if let Err(error) = self.store.retire(&self.id, forgotten).await {
            tracing::warn!(%error, "cannot take this node's row away; it expires by itself");
        }
    }
}
