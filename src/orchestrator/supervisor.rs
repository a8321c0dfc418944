//! Who drives which run in this process: every task is tracked, can be told to stop, and leaves nothing behind.

mod house;
mod task;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{Config, Doorbell, driver::Tools, node::Node};
use crate::{
    conversation::{Asker, RunId},
    event_log::EventLog,
    models::{DrivingLock, Store, StoreError},
    providers::Registry,
};

/// How often runs that want an owner are looked for. A bell that was lost costs a run no more than this.
const SWEEP: Duration = Duration::from_secs(1);

/// Every how manieth look also asks for the runs that this process owns: one without a task, left by a claim that was carried out
/// long after it was given up, would have nobody.
const SECOND_LOOK: u32 = 10;

/// How often what is old is taken away.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// How often somebody who waits for another process looks whether it is done.
const LOOK: Duration = Duration::from_millis(100);

/// How many runs are claimed at once.
const CLAIMS: usize = 4;

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
    /// What is tidied with the house. The bell knows the supervisor, so the supervisor must not keep it alive.
    doorbell: OnceLock<Weak<dyn Doorbell>>,
    /// One place for runs that are suspected of breaking their process down.
    suspects: Arc<Semaphore>,
    /// Places for claims: thousands at once, after another process is gone, would take all connections from those who renew and speak.
    claims: Semaphore,
}

/// How to reach a run's task.
#[derive(Clone)]
struct Handle {
    /// Cancelled to stop the run in the middle of a turn.
    stop: CancellationToken,
    /// Who has stopped the run while the database was away.
    hung_up_by: Arc<OnceLock<Asker>>,
    /// Whether a provider is being asked.
    speaking: watch::Receiver<bool>,
    /// Cancelled by the task's end: then its provider's stream is closed and its last event is published.
    ended: CancellationToken,
}

impl Supervisor {
    /// A supervisor that drives nothing until [`Supervisor::drive`]. `heart` is the store by which the process says that it is alive.
    #[must_use]
    pub fn new(
        store: Store,
        heart: Store,
        log: EventLog,
        registry: Registry,
        config: Arc<Config>,
        lock: DrivingLock,
    ) -> Self {
        let node = Arc::new(Node::new(heart, lock, config.node_lifetime));
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
            doorbell: OnceLock::new(),
            suspects: Arc::new(Semaphore::new(1)),
            claims: Semaphore::new(CLAIMS),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// This process, as its row in `nodes` calls it.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.inner.node.id
    }

    /// Starts to say that this process is alive, and, once it drives, to look for runs that want an owner: those that found no
    /// place when they were offered, and those whose owner is gone.
    pub fn start(&self, doorbell: &Arc<dyn Doorbell>) {
        // Set by whoever starts first.
        let _ = self.inner.doorbell.set(Arc::downgrade(doorbell));
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
        let this = self.clone();
        self.inner.tracker.spawn(async move {
            let keeping = async {
                loop {
                    tokio::time::sleep(HOUSEKEEPING).await;
                    if let Err(error) = this.keep_house().await {
                        tracing::warn!(%error, cause = error.cause(), "cannot take away what is old");
                    }
                }
            };
            tokio::select! {
                () = this.inner.shutdown.cancelled() => {}
                () = keeping => {}
            }
        });
    }

    /// From now on this process takes runs to drive them. One that only serves is never told so; others drive what it accepts.
    pub fn drive(&self) {
        self.inner.node.drive();
        self.inner.freed.notify_one();
    }

    /// Whether this process takes runs to drive them.
    #[must_use]
    pub fn is_driving(&self) -> bool {
        self.inner.node.is_driving()
    }

    async fn keep_looking(&self) {
        self.inner.node.regained().await;
        for count in 0_u32.. {
            let looked = self.look(count % SECOND_LOOK == 0).await;
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

    /// One look at what the database has for this process; `own`: also at the runs that it owns.
    async fn look(&self, own: bool) -> Result<(), StoreError> {
        let Inner { tools, node, .. } = &*self.inner;
        if own {
            for run in tools.store.runs_of(&node.id).await? {
                self.offer(run);
            }
        }
        let driven = self.driven();
        if !driven.is_empty() {
            for run in tools.store.runs_to_stop(&node.id).await? {
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
        if free == 0 || !node.is_driving() || self.inner.leave.is_cancelled() {
            return Ok(());
        }
        let wanting = tools
            .store
            .runs_wanting_an_owner(&node.id, takeover, 0..SUSPECT, free)
            .await?;
        for run in wanting {
            self.offer(run);
        }
        if let Ok(place) = Arc::clone(&self.inner.suspects).try_acquire_owned() {
            let suspect = tools
                .store
                .runs_wanting_an_owner(&node.id, takeover, SUSPECT..u32::MAX, 1)
                .await?;
            if let Some(run) = suspect.first() {
                self.take(*run, Some(place));
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
        let (speaks, speaking) = watch::channel(false);
        let handle = Handle {
            stop: CancellationToken::new(),
            hung_up_by: Arc::default(),
            speaking,
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
        let driving = async move {
            let inner = &place.supervisor.inner;
            tokio::select! {
                () = inner.shutdown.cancelled() => {}
                () = inner.drive(run, inner.signals(handle.stop, handle.hung_up_by, speaks), suspicion) => {}
            }
            drop(place);
        };
        // Of the level that no filter takes away: whatever is said in it has the run's id. It belongs to nobody's request.
        let span = tracing::error_span!(
            parent: None,
            "run",
            run_id = %run,
            trace_id = tracing::field::Empty
        );
        self.inner.tracker.spawn(driving.instrument(span));
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
                        tracing::warn!(run_id = %run, %error, "cannot see whether the run has ended");
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // A stop that takes longer is answered as one that is still to come.
        let _ = tokio::time::timeout(patience, ending).await;
    }

    /// Tells the run's task here to close its provider's stream and to end the run, and waits until the stream is closed. False
    /// if the run has no task here. If no command tells of the stop by then, it is written down with the run's end who has hung up.
    pub(super) async fn hang_up(&self, run: RunId, by: &Asker) -> bool {
        let Some(handle) = self.handle(run) else {
            return false;
        };
        handle.hung_up_by.get_or_init(|| by.clone());
        handle.stop.cancel();
        // A task that is gone has closed it.
        let _ = handle.speaking.clone().wait_for(|speaking| !speaking).await;
        true
    }

    /// Runs work that a leaving client must not cut in half.
    pub(super) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        // What is said of it belongs to the request.
        self.inner.tracker.spawn(work.in_current_span())
    }

    /// Whether the database takes nothing from this process now.
    pub(super) fn is_failing(&self) -> bool {
        self.inner.node.is_failing()
    }

    /// Takes note of a write that the database did not take.
    pub(super) fn refused(&self) {
        self.inner.node.refused();
    }

    /// Whether the process can do its work, as far as it knows without asking, and will go on doing it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_leaving() && !self.is_failing()
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
