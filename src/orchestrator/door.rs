//! `Runs`, the one door for controllers and tasks.
//!
//! **Invariant:** whatever concerns one run is done for somebody who sees it; a run that is not seen is not there.

mod audit;
mod checks;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    Config, Doorbell, Supervisor, clock, measure,
    orders::{stop_order, update_order},
    owners::Owners,
};
use crate::{
    conversation::{
        Act, Asker, BotChange, EventId, Happening, HistoryFilter, HistoryPage, IdempotencyKey,
        Offer, ProviderInfo, Run, RunError, RunId, RunPlan, Standing, StartRun, StopAnswer,
        StopMode, Timestamp, TraceContext, Whose,
    },
    event_log::{EventLog, Opened},
    models::{Inserted, Store},
    providers::Registry,
};
pub use crate::{event_log::Reader as Subscription, models::TranscriptReader};

/// Over how long the ends of streams are spread when a process ends: so much for each run that is watched, up to a bound.
const SPREAD_EACH: Duration = Duration::from_millis(4);
const SPREAD: Duration = Duration::from_secs(2);

/// How long the database may take to say that it is there.
const PROBE: Duration = Duration::from_secs(1);

/// How long a stop waits for the database before it closes the provider's stream without it.
const STOP_SOON: Duration = Duration::from_millis(500);

/// The door to all runs. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    log: EventLog,
    registry: Registry,
    config: Arc<Config>,
    supervisor: Supervisor,
    doorbell: Arc<dyn Doorbell>,
    owners: Owners,
}

/// A request that is carried out once, however often it comes.
#[derive(Debug, Clone)]
pub struct Once {
    /// Under this key.
    pub key: IdempotencyKey,
    /// What is answered, and kept to be answered again.
    pub answer: fn(&Run) -> String,
}

/// What a request to start a run came to.
#[derive(Debug)]
pub enum Started {
    /// A new run; where its asker stands with the quotas then.
    Now(Box<Run>, Vec<Standing>),
    /// The request came before, and this was the answer.
    Before(String),
}

/// What a request for a stream finds.
pub enum Streaming {
    /// The cursor is at the final event: there is nothing more, ever.
    Over,
    /// There is something to wait for.
    Open(Box<Subscription>),
}

impl Runs {
    /// The door to the runs in this store.
    #[must_use]
    pub fn new(
        store: Store,
        log: EventLog,
        registry: Registry,
        config: Arc<Config>,
        supervisor: Supervisor,
        doorbell: Arc<dyn Doorbell>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                log,
                registry,
                config,
                supervisor,
                doorbell,
                owners: Owners::new(),
            }),
        }
    }

    /// Accepts a run. With `once`, a request that came before gets its answer again. `trace`:
    /// from where the run goes on in a trace.
    ///
    /// # Errors
    /// `Invalid` with every broken rule; `OverQuota`; `KeyReused`; `Unavailable`: whether the run was accepted is not known then, unless it is
    /// asked again with the same key.
    pub async fn start(
        &self,
        order: StartRun,
        asker: &Asker,
        once: Option<Once>,
        trace: Option<TraceContext>,
    ) -> Result<Started, RunError> {
        if let Some(once) = &once
            && let Some(answer) = self.inner.answered(&asker.owner, &once.key).await?
        {
            return Ok(Started::Before(answer));
        }
        let plan = RunPlan {
            trace,
            ..self.inner.plan(order)?
        };
        let (inner, asker) = (Arc::clone(&self.inner), asker.clone());
        let (id, at) = (RunId::from_uuid(uuid::Uuid::now_v7()), clock::now());
        tracing::Span::current().record("run_id", tracing::field::display(id));
        self.tracked(async move {
            let run = plan.accepted(id, at);
            let answer = once.as_ref().map(|once| (once.answer)(&run));
            let keyed = once.as_ref().map(|once| &once.key).zip(answer.as_deref());
            let quotas = &inner.config.quotas;
            let inserted = inner.store.insert_run(id, &asker, quotas, &plan, at, keyed);
            let standings = match inserted.await {
                Ok(Inserted::Now(logged, standings)) => {
                    inner.log.publish(id, &logged);
                    standings
                }
                Ok(Inserted::Before) => return inner.started_before(&asker.owner, once).await,
                Ok(Inserted::Over(over)) => {
                    let policy = over.0.quota.name();
                    inner.config.meter.tell(Happening::RateLimited { policy });
                    return Err(RunError::OverQuota(over));
                }
                // The commit may have gone through although nobody heard of it.
                Err(error) if error.passes() && inner.store.log_end(id).await?.is_some() => {
                    Vec::new()
                }
                Err(error) => return Err(error.into()),
            };
            inner.owners.learn(id, &asker.owner).await;
            inner.config.meter.tell(Happening::RunAccepted);
            audit::tell(id, &Act::Start, &asker);
            inner.doorbell.ring(id).await;
            tracing::info!(
                bots = plan.bots.len(),
                max_turns = plan.max_turns,
                "run accepted"
            );
            Ok(Started::Now(Box::new(run), standings))
        })
        .await
    }

    /// The answer that a request under that key had before, if there was one.
    ///
    /// # Errors
    /// `KeyReused`; `Unavailable`.
    pub async fn answered(
        &self,
        owner: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<String>, RunError> {
        self.inner.answered(owner, key).await
    }

    /// To whom a run belongs.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn owner(&self, whose: &Whose, id: RunId) -> Result<Arc<str>, RunError> {
        self.inner.check(whose, id).await?;
        self.inner.owners.of(&self.inner.store, id).await
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn get(&self, whose: &Whose, id: RunId) -> Result<Run, RunError> {
        self.inner.check(whose, id).await?;
        self.inner.run(id).await
    }

    /// Runs that pass the filter, newest first, from the one after `after`: at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn history(
        &self,
        whose: &Whose,
        filter: &HistoryFilter,
        after: Option<RunId>,
        limit: u64,
    ) -> Result<HistoryPage, RunError> {
        let owner = match whose {
            Whose::Everybodys => None,
            Whose::Of(owner) => Some(owner.as_str()),
            Whose::Run(_) => return Ok(HistoryPage::default()),
        };
        let store = &self.inner.store;
        Ok(store.history(owner, filter, after, limit).await?)
    }

    /// Removes a run that is over, with all that belongs to it.
    ///
    /// # Errors
    /// `NotFound`; `NotEnded`; `Unavailable`.
    pub async fn delete(&self, whose: &Whose, id: RunId, by: &Asker) -> Result<(), RunError> {
        self.inner.check(whose, id).await?;
        let (inner, by) = (Arc::clone(&self.inner), by.clone());
        self.tracked(async move {
            inner.store.delete_run(id, &by, clock::now()).await?;
            audit::tell(id, &Act::Delete, &by);
            inner.log.vanish(id);
            Ok(())
        })
        .await
    }

    /// Stops a run; stopping one that is over changes nothing. When the answer is not pending, no provider request of the run
    /// is open.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`: then the stop is not recorded.
    pub async fn stop(
        &self,
        whose: &Whose,
        id: RunId,
        mode: StopMode,
        by: &Asker,
    ) -> Result<StopAnswer, RunError> {
        self.inner.check(whose, id).await?;
        let (inner, by) = (Arc::clone(&self.inner), by.clone());
        self.tracked(async move {
            let mut ended = None;
            let written = inner.store.order(id, &by, clock::now(), |locked| {
                let order = stop_order(locked, mode);
                ended = order.change.as_ref().map(|change| change.head.clone());
                Ok(Some(order))
            });
            let written = match mode {
                StopMode::Now => inner.or_hang_up(id, &by, Box::pin(written)).await,
                StopMode::AfterTurn => written.await,
            };
            match written {
                Ok(ordered) => {
                    inner.log.publish(id, &ordered.logged);
                    audit::tell_of(id, &ordered, &by);
                }
                Err(RunError::AlreadyEnded { .. }) => ended = None,
                Err(error) => {
                    if let RunError::StopNotRecorded(_) = &error {
                        audit::tell_unrecorded_stop(id, mode, &by);
                    }
                    return Err(error);
                }
            }
            if let Some(head) = &ended {
                measure::tell_end(&inner.config.meter, head);
            }
            if mode == StopMode::Now {
                inner.supervisor.stop(id, inner.config.stop_patience).await;
            }
            let run = inner.run(id).await?;
            Ok(StopAnswer {
                pending: !run.status.is_final(),
                run,
            })
        })
        .await
    }

    /// Changes a bot by a merge patch. `if_match`: the versions that the caller accepts as the one to change; `None` = any.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyEnded`, `NoSuchBot`, `VersionMismatch`, `Invalid`; `Unavailable`.
    pub async fn update_bot(
        &self,
        whose: &Whose,
        id: RunId,
        index: u32,
        patch: &Map<String, Value>,
        if_match: Option<&[u32]>,
        by: &Asker,
    ) -> Result<BotChange, RunError> {
        self.inner.check(whose, id).await?;
        let (inner, by, patch, if_match) = (
            Arc::clone(&self.inner),
            by.clone(),
            patch.clone(),
            if_match.map(<[u32]>::to_vec),
        );
        self.tracked(async move {
            let mut change = None;
            let ordered = inner
                .store
                .order(id, &by, clock::now(), |locked| {
                    let next = inner.patched(locked, index, &patch, if_match.as_deref())?;
                    let order = update_order(locked, &next);
                    change = Some(next);
                    Ok(order)
                })
                .await?;
            inner.log.publish(id, &ordered.logged);
            audit::tell_of(id, &ordered, &by);
            change.ok_or(RunError::NotFound(id))
        })
        .await
    }

    /// The transcript of a run, as it stands now, to be read in pages.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn transcript(&self, whose: &Whose, id: RunId) -> Result<TranscriptReader, RunError> {
        self.inner.check(whose, id).await?;
        self.store()
            .transcript(id)
            .await?
            .ok_or(RunError::NotFound(id))
    }

    /// Opens a stream after a cursor.
    ///
    /// # Errors
    /// `NotFound`; `CursorAhead`; `Leaving`; `Unavailable`.
    pub async fn stream(
        &self,
        whose: &Whose,
        id: RunId,
        cursor: EventId,
    ) -> Result<Streaming, RunError> {
        self.inner.check(whose, id).await?;
        if self.inner.supervisor.is_leaving() && !self.inner.supervisor.drives(id) {
            return Err(RunError::Leaving);
        }
        Ok(match self.inner.log.open(id, cursor).await? {
            Opened::Over => Streaming::Over,
            Opened::Reading(reader) => Streaming::Open(reader),
        })
    }

    /// Waits until a stream of the run has to end because the process does: once the run is left, and then at a moment of its own,
    /// so that not all clients come back at once.
    pub fn left(&self, id: RunId) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            inner.supervisor.left(id).await;
            let watched = u32::try_from(inner.log.live()).unwrap_or(u32::MAX);
            let spread = SPREAD_EACH.saturating_mul(watched).min(SPREAD);
            tokio::time::sleep(spread.mul_f64(rand::random())).await;
        }
    }

    /// What keeps this process from doing its work: `database`, `draining`.
    pub async fn failing(&self) -> Vec<&'static str> {
        let mut failing = Vec::new();
        let answers = tokio::time::timeout(PROBE, self.inner.store.ping()).await;
        if !matches!(answers, Ok(Ok(()))) || self.inner.supervisor.is_failing() {
            tracing::warn!("the database does not answer, or takes nothing");
            failing.push("database");
        }
        if self.inner.supervisor.is_leaving() {
            failing.push("draining");
        }
        failing
    }

    /// All providers that the settings name.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderInfo> {
        self.inner.registry.infos()
    }

    /// All providers, with what is known of their models, and the moment for which that is asked: prices change.
    #[must_use]
    pub fn offers(&self) -> (Vec<Offer>, Timestamp) {
        (self.inner.offers().all(), clock::now())
    }

    /// Where everything is kept: the doors that are generated ask here, too.
    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Runs a writing request to its end even if its caller leaves.
    pub(super) async fn tracked<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RunError>> + Send + 'static,
    ) -> Result<T, RunError> {
        match self.inner.supervisor.track(work).await {
            Ok(result) => {
                if let Err(RunError::Unavailable(_) | RunError::StopNotRecorded(_)) = &result {
                    self.inner.supervisor.refused();
                }
                result
            }
            Err(panicked) => Err(RunError::Internal(Box::new(panicked))),
        }
    }
}

impl Inner {
    /// The answer that the key had before.
    async fn answered(
        &self,
        owner: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<String>, RunError> {
        match self.store.kept_answer(owner, key).await? {
            Some(kept) if kept.body_hash != key.body_hash => Err(RunError::KeyReused),
            kept => Ok(kept.map(|kept| kept.answer)),
        }
    }

    /// The answer of a request under the same key that was quicker.
    async fn started_before(&self, owner: &str, once: Option<Once>) -> Result<Started, RunError> {
        let answer = match &once {
            Some(once) => self.answered(owner, &once.key).await?,
            None => None,
        };
        // Gone again within this moment: its day was over.
        let gone = || RunError::Unavailable("the key's answer has just expired".into());
        Ok(Started::Before(answer.ok_or_else(gone)?))
    }

    /// Writes a stop down. If the database is away, or does not answer soon, the run's stream is closed here all the same: its
    /// task then ends the run as soon as it can.
    async fn or_hang_up<T>(
        &self,
        id: RunId,
        by: &Asker,
        mut written: impl Future<Output = Result<T, RunError>> + Unpin,
    ) -> Result<T, RunError> {
        let soon = tokio::time::timeout(STOP_SOON, &mut written).await;
        let written = match soon {
            Ok(written) => written,
            Err(_) => {
                self.supervisor.hang_up(id, by).await;
                written.await
            }
        };
        match written {
            Err(RunError::Unavailable(cause)) if self.supervisor.hang_up(id, by).await => {
                Err(RunError::StopNotRecorded(cause))
            }
            written => written,
        }
    }

    async fn check(&self, whose: &Whose, id: RunId) -> Result<(), RunError> {
        self.owners.check(&self.store, whose, id).await
    }

    async fn run(&self, id: RunId) -> Result<Run, RunError> {
        self.store.run(id).await?.ok_or(RunError::NotFound(id))
    }
}
