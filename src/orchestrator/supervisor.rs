//! Who drives which run in this process: every task is tracked, can be told to stop, and leaves nothing behind.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config, clock,
    driver::{Driver, Signals, Tools},
    node::Node,
};
use crate::{
    conversation::{Failure, FailureCode, RunId},
    event_log::EventLog,
    models::{Claimed, DrivingLock, Store, StoreError},
    providers::Registry,
};

/// How often runs that want an owner are looked for. A bell that was lost costs a run no more than this.
const SWEEP: Duration = Duration::from_secs(1);

/// How often somebody who waits for another process looks whether it is done.
const LOOK: Duration = Duration::from_millis(100);

/// From how many lost owners on a run is suspected of breaking its process down.
const SUSPECT: u32 = 3;

/// The runs that this process drives. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    tools: Tools,
    log: EventLog,
    /// This process among all that drive runs.
    node: Arc<Node>,
    tracker: TaskTracker,
    /// Cancelled when no more runs are taken and turns in progress are the last ones.
    leave: CancellationToken,
    /// Cancelled when turns in progress are cut.
    cut: CancellationToken,
    /// Cancelled when every task is dropped where it stands.
    shutdown: CancellationToken,
    /// The runs that have a task. Held for a look-up only; no await happens under it.
    live: Mutex<HashMap<RunId, Handle>>,
    /// Whether a run was turned away since the last look: only then a free place is worth one.
    turned_away: AtomicBool,
    /// Rung when a place becomes free that somebody may want.
    freed: Notify,
    /// One place for runs that are suspected of breaking their process down.
    suspects: Arc<Semaphore>,
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
    pub fn new(
        store: Store,
        log: EventLog,
        registry: Registry,
        config: Arc<Config>,
        lock: DrivingLock,
    ) -> Self {
        let node = Arc::new(Node::new(store.clone(), lock, config.node_lifetime));
        let inner = Inner {
            tools: Tools {
                store,
                registry,
                config,
            },
            log,
            node,
            tracker: TaskTracker::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            live: Mutex::default(),
            turned_away: AtomicBool::new(false),
            freed: Notify::new(),
            suspects: Arc::new(Semaphore::new(1)),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Starts to say that this process is alive, and to look for runs that want an owner: those that found no place when they
    /// were offered, and those whose owner is gone.
    pub fn start(&self) {
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            tokio::select! {
                () = this.inner.shutdown.cancelled() => {}
                () = this.inner.node.keep_alive() => {}
            }
        });
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            tokio::select! {
                () = this.inner.shutdown.cancelled() => {}
                () = this.keep_looking() => {}
            }
        });
    }

    async fn keep_looking(&self) {
        self.inner.node.regained().await;
        loop {
            let looked = self.look().await;
            self.inner.node.heard(&looked);
            if let Err(error) = looked {
                tracing::warn!(%error, cause = error.cause(), "cannot look for runs that want an owner");
            }
            // Jitter, so that processes do not look all at the same moment.
            let wait = SWEEP.mul_f64(0.75 + rand::random::<f64>() / 2.0);
            tokio::select! {
                () = self.inner.freed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One look at what the database has for this process.
    async fn look(&self) -> Result<(), StoreError> {
        let Inner { tools, node, .. } = &*self.inner;
        let driven = self.driven();
        if !driven.is_empty() {
            for run in tools.store.runs_with_commands(&node.id).await? {
                if let Some(handle) = self.handle(run) {
                    handle.stop.cancel();
                }
            }
        }
        self.inner
            .log
            .look_for_more(|run| driven.contains(&run))
            .await?;
        let free = tools.config.max_live_runs.saturating_sub(self.live()) as u64;
        let Some(takeover) = node.takeover() else {
            return Ok(());
        };
        if free == 0 || self.inner.leave.is_cancelled() {
            return Ok(());
        }
        let wanting = tools
            .store
            .runs_wanting_an_owner(&node.id, takeover, free)
            .await?;
        for wanting in wanting {
            if wanting.takeovers < SUSPECT {
                self.offer(wanting.run);
            } else if let Ok(place) = Arc::clone(&self.inner.suspects).try_acquire_owned() {
                self.take(wanting.run, Some(place));
            }
        }
        Ok(())
    }

    /// Takes a run to drive it, if there is a place; else forgets it: the table is the queue. Harmless if the run is driven
    /// already, here or elsewhere: the claim decides.
    pub fn offer(&self, run: RunId) {
        self.take(run, None);
    }

    fn take(&self, run: RunId, suspicion: Option<OwnedSemaphorePermit>) {
        if self.inner.leave.is_cancelled() {
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
            if live.len() >= self.inner.tools.config.max_live_runs {
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
                () = inner.drive(run, handle.stop, suspicion) => {}
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

    fn driven(&self) -> HashSet<RunId> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    fn handle(&self, run: RunId) -> Option<Handle> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&run)
            .cloned()
    }

    /// Sees to it that a run ends whose stop is written down: tells its task, takes it over if its owner is gone, and waits for
    /// whoever drives it, up to `patience`.
    pub(super) async fn stop(&self, run: RunId, patience: Duration) {
        let ending = async {
            loop {
                if let Some(handle) = self.handle(run) {
                    handle.stop.cancel();
                    handle.ended.cancelled().await;
                }
                match self.inner.tools.store.log_end(run).await {
                    Ok(Some((_, false))) => self.offer(run),
                    Ok(_) => return,
                    Err(error) => {
                        tracing::warn!(run.id = %run, %error, "cannot see whether the run has ended");
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // A stop that takes longer is answered as one that is still to come.
        let _ = tokio::time::timeout(patience, ending).await;
    }

    /// Runs work that a leaving client must not cut in half.
    pub(super) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.inner.tracker.spawn(work)
    }

    /// Whether the process is to end and takes no more runs.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.inner.leave.is_cancelled()
    }

    /// Whether the run has a task here.
    pub(super) fn drives(&self, run: RunId) -> bool {
        self.handle(run).is_some()
    }

    /// Waits until the process is to end and drives this run no more.
    pub(super) async fn left(&self, run: RunId) {
        self.inner.leave.cancelled().await;
        if let Some(handle) = self.handle(run) {
            handle.ended.cancelled().await;
        }
    }

    /// Leaves the runs to other processes: takes no more, gives turns in progress their time, cuts the rest. Ends when no run is
    /// driven here any more, or `patience` after the cut.
    pub async fn drain(&self, drain: Duration, patience: Duration) {
        self.inner.leave.cancel();
        if tokio::time::timeout(drain, self.idle()).await.is_ok() {
            return;
        }
        tracing::info!(runs = self.live(), "cutting the turns that are left");
        self.inner.cut.cancel();
        if tokio::time::timeout(patience, self.idle()).await.is_err() {
            tracing::warn!(
                runs = self.live(),
                "some runs could not be left in time; others take them over once this process counts as dead"
            );
        }
    }

    /// Waits until no run is driven here.
    async fn idle(&self) {
        loop {
            let next = {
                let live = self
                    .inner
                    .live
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                live.values().next().cloned()
            };
            let Some(handle) = next else { return };
            handle.ended.cancelled().await;
        }
    }

    /// Ends all tasks, closing their providers' streams, and waits for them up to `patience`.
    pub async fn shut_down(&self, patience: Duration) {
        self.inner.leave.cancel();
        self.inner.shutdown.cancel();
        self.inner.tracker.close();
        let ended = tokio::time::timeout(patience, self.inner.tracker.wait()).await;
        if ended.is_err() {
            tracing::warn!(
                tasks = self.inner.tracker.len(),
                "some tasks did not end in time"
            );
        }
        // Not longer than for the tasks: the row expires by itself.
        let _ = tokio::time::timeout(patience, self.inner.node.retire()).await;
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
    /// Claims the run and drives it.
    async fn drive(
        &self,
        run: RunId,
        stop: CancellationToken,
        mut suspicion: Option<OwnedSemaphorePermit>,
    ) {
        let Some(takeover) = self.node.takeover() else {
            return;
        };
        let Tools { store, .. } = &self.tools;
        let mut claim = store.claim(run, &self.node.id, takeover).await;
        loop {
            let claimed = match claim {
                Ok(Some(claimed)) => claimed,
                Ok(None) => return,
                Err(error) if error.passes() => {
                    // The claim may have gone through.
                    tracing::warn!(run.id = %run, %error, cause = error.cause(), "cannot claim the run; looking again");
                    tokio::time::sleep(SWEEP).await;
                    claim = store.owned(run, &self.node.id).await;
                    continue;
                }
                Err(error) => return self.give_up(run, &error).await,
            };
            let driver = self.driver(run, claimed, stop.clone(), suspicion.take());
            // A panic is caught here: it costs this run and no other.
            match AssertUnwindSafe(driver.drive()).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(StoreError::LeaseLost)) => {
                    tracing::info!(run.id = %run, "another process drives the run now");
                    return self.log.channel(run).abandon();
                }
                Ok(Err(error)) => return self.give_up(run, &error).await,
                Err(_panic) => {
                    tracing::error!(run.id = %run, "the task of the run panicked");
                    claim = store.reclaim(run, &self.node.id).await;
                }
            }
        }
    }

    fn driver(
        &self,
        run: RunId,
        claimed: Claimed,
        stop: CancellationToken,
        suspicion: Option<OwnedSemaphorePermit>,
    ) -> Driver {
        let signals = Signals {
            stop,
            leave: self.leave.clone(),
            cut: self.cut.clone(),
            node: Arc::clone(&self.node),
        };
        let channel = self.log.channel(run);
        Driver::new(claimed, &self.tools, channel, signals, suspicion)
    }

    /// Ends a run that is ours and cannot go on, so that nobody waits for it for ever.
    async fn give_up(&self, run: RunId, error: &StoreError) {
        tracing::error!(run.id = %run, %error, cause = error.cause(), "cannot drive the run any further");
        let (store, node) = (&self.tools.store, &self.node.id);
        let unreadable = matches!(error, StoreError::Unreadable { .. });
        let message = if unreadable {
            "the run's state cannot be read"
        } else {
            "the run's state could not be saved"
        };
        let failure = Failure::new(FailureCode::Internal, message);
        let claimed = match store.owned(run, node).await {
            Ok(None) => return,
            Ok(Some(claimed)) if !unreadable => Some(claimed),
            Ok(Some(_)) | Err(_) => None,
        };
        let ended = match claimed {
            Some(claimed) => {
                let driver = self.driver(run, claimed, CancellationToken::new(), None);
                driver.fail(failure).await
            }
            None => store
                .fail_unread(run, node, &failure, clock::now())
                .await
                .map(|logged| self.log.publish(run, &logged)),
        };
        if let Err(error) = ended {
            tracing::error!(run.id = %run, %error, cause = error.cause(), "cannot even end the run");
        }
    }
}
