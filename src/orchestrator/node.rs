//! This process among all that drive runs: what it may drive, and until when.
//!
//! Where the database is shared, a process proves that it is alive by renewing one row; others take its runs over once that row
//! has expired by the database's clock. So that it never shows text after that, it fences itself by a clock of its own, which
//! is monotonic: the deadline counts from the moment at which the last renewal that succeeded was sent, and is a margin shorter.
//!
//! Where the process is the only one, nobody takes its runs. There the deadline is only about money: it is set when the database
//! refuses a write, so that no provider goes on speaking for long what cannot be written down, and taken back once a write succeeds.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::models::{DrivingLock, Store, StoreError, Takeover};

/// The most that the deadline is shorter than the row's life.
const MARGIN: Duration = Duration::from_secs(2);

/// After how many lifetimes the row of a dead process is taken away.
const FORGOTTEN: u32 = 1000;

/// The right to act for runs.
#[derive(Debug, Clone, Copy)]
struct Tenure {
    /// When it ends; `None`: never.
    until: Option<Instant>,
    /// Goes up when the right was lost and got back: others may have taken runs in between.
    term: u64,
}

impl Tenure {
    fn is_good(self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// This process.
pub(super) struct Node {
    /// Its name: new at each start.
    pub(super) id: String,
    store: Store,
    /// How long a renewal lasts.
    lifetime: Duration,
    /// Whether other processes drive runs of the same database.
    shared: bool,
    /// Until when the process may act.
    tenure: watch::Sender<Tenure>,
    /// Held by the one process that drives a SQLite file.
    lock: DrivingLock,
    /// Whether the process takes runs to drive them; one that only serves takes one where the database is shared, to stop it.
    driving: AtomicBool,
    /// After the database was away, owners get this long to renew before their runs are taken over.
    trouble: Mutex<Trouble>,
    /// Whether the last renewal failed.
    unheard: AtomicBool,
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
            shared: store.is_shared(),
            tenure: watch::Sender::new(Tenure {
                until: store.is_shared().then(Instant::now),
                term: 0,
            }),
            store,
            lifetime,
            lock,
            driving: AtomicBool::new(false),
            trouble: Mutex::default(),
            unheard: AtomicBool::new(false),
        }
    }

    /// From now on the process takes runs to drive them.
    pub(super) fn drive(&self) {
        self.driving.store(true, Ordering::Release);
    }

    /// Whether the process takes runs to drive them.
    pub(super) fn is_driving(&self) -> bool {
        self.driving.load(Ordering::Acquire)
    }

    /// Whether the process may act for its runs now.
    fn is_good(&self) -> bool {
        self.tenure.borrow().is_good()
    }

    /// Whether the database takes nothing from this process now.
    pub(super) fn is_failing(&self) -> bool {
        if self.shared {
            let tenure = *self.tenure.borrow();
            self.unheard.load(Ordering::Acquire) || (tenure.term > 0 && !tenure.is_good())
        } else {
            self.tenure.borrow().until.is_some()
        }
    }

    /// The term that runs now. A run that was ours at some moment of it is ours as long as [`Node::holds`].
    pub(super) fn term(&self) -> u64 {
        self.tenure.borrow().term
    }

    /// Whether that term has not ended.
    pub(super) fn holds(&self, term: u64) -> bool {
        let tenure = *self.tenure.borrow();
        tenure.term == term && tenure.is_good()
    }

    /// Waits for the end of that term.
    pub(super) async fn lapsed(&self, term: u64) {
        let mut changes = self.tenure.subscribe();
        loop {
            let tenure = *changes.borrow_and_update();
            if tenure.term != term || !tenure.is_good() {
                return;
            }
            let over = async {
                match tenure.until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Waits until the process may act again.
    pub(super) async fn regained(&self) {
        let mut changes = self.tenure.subscribe();
        // The sender is ours: the wait ends by a renewal.
        let _ = changes.wait_for(|tenure| tenure.is_good()).await;
    }

    /// Whose runs may be taken now; `None` if the process may not drive any.
    pub(super) fn takeover(&self) -> Option<Takeover> {
        if !self.is_good() {
            return None;
        }
        if !self.shared {
            // A process that only serves leaves the lock to one that drives.
            let may = self.is_driving() && self.lock.is_held();
            return may.then_some(Takeover::Everybody);
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
        match answer {
            Err(error) if error.passes() => self.failed(),
            _ => {
                let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                if trouble.failing {
                    trouble.failing = false;
                    trouble.quiet_until = Some(Instant::now() + self.lifetime);
                }
            }
        }
    }

    /// Takes note of a database that fails.
    pub(super) fn failed(&self) {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failing = true;
        self.refused();
    }

    /// Takes note of a write that the database did not take: where nobody takes the runs over, they get only so long from now on.
    pub(super) fn refused(&self) {
        if !self.shared {
            let until = Instant::now() + self.lifetime;
            self.tenure.send_if_modified(|tenure| {
                let first = tenure.until.is_none();
                tenure.until.get_or_insert(until);
                first
            });
        }
    }

    /// Keeps the process's right to act, for ever.
    pub(super) async fn keep_alive(&self) {
        if self.shared {
            self.keep_renewing().await;
        } else {
            self.keep_probing().await;
        }
    }

    /// The process may act until then; in a new term if it was too late to go on with the old one, by our clock or by the
    /// database's (`lapsed`).
    fn extend(&self, until: Option<Instant>, lapsed: bool) {
        self.tenure.send_modify(|tenure| {
            tenure.term += u64::from(lapsed || !tenure.is_good());
            tenure.until = until;
        });
    }

    async fn keep_renewing(&self) {
        loop {
            let sent = Instant::now();
            let renewal =
                tokio::time::timeout(self.lifetime, self.store.renew(&self.id, self.lifetime));
            let wait = match renewal.await {
                Ok(answer) => {
                    self.heard(&answer);
                    self.unheard.store(answer.is_err(), Ordering::Release);
                    match answer {
                        Ok(alive) => {
                            let margin = MARGIN.min(self.lifetime / 5);
                            self.extend(Some(sent + self.lifetime - margin), !alive);
                            self.lifetime * 3 / 10
                        }
                        Err(error) => {
                            tracing::warn!(%error, cause = error.cause(), "cannot renew this node's row");
                            self.lifetime / 20
                        }
                    }
                }
                Err(_late) => {
                    self.unheard.store(true, Ordering::Release);
                    Duration::ZERO
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Once the database has refused something, writes until it takes it: reading may go well on a disk that is full.
    async fn keep_probing(&self) {
        let mut changes = self.tenure.subscribe();
        loop {
            // The sender is ours: the wait ends by trouble.
            let _ = changes.wait_for(|tenure| tenure.until.is_some()).await;
            let answer = async {
                self.store.renew(&self.id, self.lifetime).await?;
                self.store.retire(&self.id, FORGOTTEN * self.lifetime).await
            };
            match answer.await {
                Ok(()) => self.extend(None, false),
                Err(error) => {
                    tracing::warn!(%error, cause = error.cause(), "the database takes nothing now");
                    tokio::time::sleep(self.lifetime / 20).await;
                }
            }
        }
    }

    /// Says that the process drives nothing any more.
    pub(super) async fn retire(&self) {
        if !self.shared {
            return;
        }
        if let Err(error) = self.store.retire(&self.id, FORGOTTEN * self.lifetime).await {
            tracing::warn!(%error, "cannot take this node's row away; it expires by itself");
        }
    }
}
