//! Who drives which run in this process: every task is tracked, can be told to stop, and leaves nothing behind.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Config, driver::Driver};
use crate::{
    conversation::{Failure, FailureCode, RunId},
    event_log::EventLog,
    models::Store,
    providers::Registry,
};

/// How often runs that want an owner are looked for. A bell that was lost costs a run no more than this.
const SWEEP: Duration = Duration::from_secs(1);

/// The runs that this process drives. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    log: EventLog,
    registry: Registry,
    config: Arc<Config>,
    /// This process among all that drive runs: new at each start.
    node: String,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// The runs that have a task. Held for a look-up only; no await happens under it.
    live: Mutex<HashMap<RunId, Handle>>,
    /// Whether a run was turned away since the last look: only then a free place is worth one.
    turned_away: AtomicBool,
    /// Rung when a place becomes free that somebody may want.
    freed: Notify,
}

/// How to reach a run's task.
#[derive(Clone)]
struct Handle {
    /// Cancelled to stop the run in the middle of a turn.
    stop: CancellationToken,
    /// Cancelled by the task's end: then its provider's stream is closed and its last event is published.
    ended: CancellationToken,
}

impl Supervisor {
    /// A supervisor that drives nothing yet.
    #[must_use]
    pub fn new(store: Store, log: EventLog, registry: Registry, config: Arc<Config>) -> Self {
        let inner = Inner {
            store,
            log,
            registry,
            config,
            node: uuid::Uuid::now_v7().to_string(),
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            live: Mutex::default(),
            turned_away: AtomicBool::new(false),
            freed: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Starts looking for runs that want an owner: those that found no place when they were offered.
    pub fn start(&self) {
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            loop {
                // Jitter, so that processes do not look all at the same moment.
                let wait = SWEEP.mul_f64(0.75 + rand::random::<f64>() / 2.0);
                tokio::select! {
                    () = this.inner.shutdown.cancelled() => return,
                    () = this.inner.freed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                this.sweep().await;
            }
        });
    }

    async fn sweep(&self) {
        let free = self.inner.config.max_live_runs.saturating_sub(self.live());
        if free == 0 {
            return;
        }
        match self.inner.store.runs_wanting_an_owner(free as u64).await {
            Ok(runs) => runs.into_iter().for_each(|run| self.offer(run)),
            Err(error) => tracing::warn!(%error, "cannot look for runs that want an owner"),
        }
    }

    /// Takes a run to drive it, if there is a place; else forgets it: the table is the queue. Harmless if the run is driven
    /// already, here or elsewhere: the claim decides.
    pub fn offer(&self, run: RunId) {
        if self.inner.shutdown.is_cancelled() {
            return;
        }
        let handle = Handle {
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        {
            let mut live = self
                .inner
                .live
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if live.contains_key(&run) {
                return;
            }
            if live.len() >= self.inner.config.max_live_runs {
                self.inner.turned_away.store(true, Ordering::Release);
                return;
            }
            // In the map before the claim: a stop that finds the run owned finds its task too.
            live.insert(run, handle.clone());
        }
        let place = Place {
            supervisor: self.clone(),
            run,
            ended: handle.ended,
        };
        self.inner.tracker.spawn(async move {
            let inner = &place.supervisor.inner;
            tokio::select! {
                () = inner.shutdown.cancelled() => {}
                () = inner.drive(run, handle.stop) => {}
            }
            drop(place);
        });
    }

    /// How many runs this process drives now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Tells a run's task to stop and waits for its end. False if this process does not drive the run, or not to its end
    /// within `patience`.
    pub(super) async fn stop(&self, run: RunId, patience: Duration) -> bool {
        let handle = {
            let live = self
                .inner
                .live
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            live.get(&run).cloned()
        };
        let Some(handle) = handle else { return false };
        handle.stop.cancel();
        tokio::time::timeout(patience, handle.ended.cancelled())
            .await
            .is_ok()
    }

    /// Runs work that a leaving client must not cut in half.
    pub(super) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.inner.tracker.spawn(work)
    }

    /// Ends all tasks, closing their providers' streams, and waits for them up to `patience`.
    pub async fn shut_down(&self, patience: Duration) {
        self.inner.shutdown.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(patience, self.inner.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.inner.tracker.len(),
                "some tasks did not end in time"
            );
        }
    }
}

/// A task's place among the live runs: given back when the task ends, however it ends.
struct Place {
    supervisor: Supervisor,
    run: RunId,
    ended: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.supervisor
            .inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.run);
        self.ended.cancel();
        if self
            .supervisor
            .inner
            .turned_away
            .swap(false, Ordering::AcqRel)
        {
            self.supervisor.inner.freed.notify_one();
        }
    }
}

impl Inner {
    /// Claims the run and drives it. A panic is caught here: it costs this run and no other.
    async fn drive(&self, run: RunId, stop: CancellationToken) {
        let outcome = AssertUnwindSafe(self.claim_and_drive(run, stop))
            .catch_unwind()
            .await;
        let failure = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::error!(run.id = %run, %error, cause, "cannot drive the run any further");
                Failure::new(FailureCode::Internal, "the run's state could not be saved")
            }
            Err(_panic) => {
                tracing::error!(run.id = %run, "the task of the run panicked");
                Failure::new(FailureCode::Internal, "an internal error ended the run")
            }
        };
        self.give_up(run, failure).await;
    }

    async fn claim_and_drive(
        &self,
        run: RunId,
        stop: CancellationToken,
    ) -> Result<(), crate::models::StoreError> {
        let Some(claimed) = self.store.claim(run, &self.node).await? else {
            return Ok(());
        };
        self.driver(run, claimed, stop).drive().await
    }

    fn driver(
        &self,
        run: RunId,
        claimed: crate::models::Claimed,
        stop: CancellationToken,
    ) -> Driver {
        let (store, registry, config) = (
            self.store.clone(),
            self.registry.clone(),
            Arc::clone(&self.config),
        );
        Driver::new(
            claimed,
            store,
            registry,
            config,
            self.log.channel(run),
            stop,
        )
    }

    /// Ends a run that is ours and cannot go on, so that nobody waits for it for ever.
    async fn give_up(&self, run: RunId, failure: Failure) {
        let ours = match self.store.owned(run, &self.node).await {
            Ok(Some(claimed)) => {
                self.driver(run, claimed, CancellationToken::new())
                    .fail(failure)
                    .await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ours {
            tracing::error!(run.id = %run, %error, "cannot even end the run");
        }
    }
}
