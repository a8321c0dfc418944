//! A run's task around its driver: claims the run, and goes on, gives it up or ends it, whatever the driver comes to.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{Inner, SWEEP};
use crate::{
    conversation::{
        Asker, Breakdown, Failure, FailureCode, Happening, RunEnd, RunId, RunStatus, Timestamp,
    },
    models::{Claimed, LoggedEvent, StoreError},
    orchestrator::{
        clock,
        driver::{Driver, Signals, Tools},
    },
};

impl Inner {
    /// Claims the run and drives it.
    pub(super) async fn drive(
        &self,
        run: RunId,
        signals: Signals,
        suspicion: Option<OwnedSemaphorePermit>,
    ) {
        if !Box::pin(self.keep_at(run, signals, suspicion)).await {
            self.log.channel(run).abandon();
        }
    }

    /// False if readers here have to look into the database from now on: this process does not know how the run goes on.
    async fn keep_at(
        &self,
        run: RunId,
        signals: Signals,
        mut suspicion: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let Tools { store, config, .. } = &self.tools;
        let mut claim = self.claim(run).await;
        // How this task broke down the last time, if it has driven the run.
        let mut broke_down = None;
        loop {
            let claimed = match claim {
                Ok(Some(claimed)) => claimed,
                Ok(None) => {
                    if broke_down.is_some() {
                        self.lost();
                    }
                    return false;
                }
                Err(error) if error.passes() => {
                    claim = self.look_again(run, &error).await;
                    continue;
                }
                Err(error) => {
                    self.give_up(run, &error).await;
                    return false;
                }
            };
            // A run whose claim was carried out and not heard of has lost nobody.
            let taken_over = claimed.crashed && claimed.takeovers > 0;
            let cause = broke_down.or_else(|| taken_over.then_some(Breakdown::Process));
            if let Some(cause) = cause {
                config.meter.tell(Happening::RunRecovered(cause));
            }
            let driver = self.driver(run, claimed, signals.clone(), suspicion.take());
            // A panic is caught here: it costs this run and no other.
            match AssertUnwindSafe(driver.drive()).catch_unwind().await {
                Ok(Ok(())) => return true,
                Ok(Err(StoreError::LeaseLost)) => {
                    self.lost();
                    return false;
                }
                Ok(Err(error)) if error.passes() => {
                    claim = self.look_again(run, &error).await;
                    broke_down = Some(Breakdown::Database);
                }
                Ok(Err(error)) => {
                    self.give_up(run, &error).await;
                    return false;
                }
                Err(_panic) => {
                    tracing::error!("the task of the run panicked");
                    signals.speaks.send_replace(false);
                    claim = store.reclaim(run, &self.node.id).await;
                    broke_down = Some(Breakdown::Panic);
                }
            }
        }
    }

    /// Tells that a run which was driven here is another process's.
    fn lost(&self) {
        tracing::info!("another process drives the run now");
        self.tools.config.meter.tell(Happening::LeaseLost);
    }

    /// Takes the run, if it may be taken or is ours already.
    async fn claim(&self, run: RunId) -> Result<Option<Claimed>, StoreError> {
        // Never closed: the wait ends with a place.
        let _place = self.claims.acquire().await;
        let (store, node) = (&self.tools.store, &self.node);
        let Some(takeover) = node.takeover() else {
            return Ok(None);
        };
        match store.claim(run, &node.id, takeover).await? {
            // Ours already, by a claim whose answer was lost: it has no task but this one.
            None => store.owned(run, &node.id).await,
            claimed => Ok(claimed),
        }
    }

    /// The run, if it is ours, once the database can be asked again: a claim may have gone through although nobody heard of it.
    async fn look_again(
        &self,
        run: RunId,
        error: &StoreError,
    ) -> Result<Option<Claimed>, StoreError> {
        tracing::warn!(%error, cause = error.cause(), "cannot go on with the run; looking again");
        self.node.failed();
        tokio::time::sleep(SWEEP).await;
        self.node.regained().await;
        self.tools.store.owned(run, &self.node.id).await
    }

    pub(super) fn signals(
        &self,
        stop: CancellationToken,
        hung_up_by: Arc<OnceLock<Asker>>,
        speaks: watch::Sender<bool>,
    ) -> Signals {
        Signals {
            stop,
            hung_up_by,
            leave: self.leave.clone(),
            cut: self.cut.clone(),
            node: Arc::clone(&self.node),
            speaks: Arc::new(speaks),
        }
    }

    fn driver(
        &self,
        run: RunId,
        claimed: Claimed,
        signals: Signals,
        suspicion: Option<OwnedSemaphorePermit>,
    ) -> Driver {
        let channel = self.log.channel(run);
        Driver::new(claimed, &self.tools, channel, signals, suspicion)
    }

    /// Ends a run that is ours and cannot go on, so that nobody waits for it for ever.
    async fn give_up(&self, run: RunId, error: &StoreError) {
        tracing::error!(%error, cause = error.cause(), "cannot drive the run any further");
        let unreadable = matches!(error, StoreError::Unreadable { .. });
        let message = if unreadable {
            "the run's state cannot be read"
        } else {
            "the run's state could not be saved"
        };
        let failure = Failure::new(FailureCode::Internal, message);
        let at = clock::now();
        loop {
            match self.end(run, unreadable, &failure, at).await {
                Ok(()) | Err(StoreError::LeaseLost) => return,
                Err(error) if error.passes() => {
                    self.node.failed();
                    tokio::time::sleep(SWEEP).await;
                }
                Err(error) => {
                    return tracing::error!(%error, cause = error.cause(), "cannot even end the run");
                }
            }
        }
    }

    async fn end(
        &self,
        run: RunId,
        unreadable: bool,
        failure: &Failure,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (store, node) = (&self.tools.store, &self.node.id);
        let claimed = match store.owned(run, node).await {
            // Another's, or ended by a commit that nobody heard of.
            Ok(None) => {
                if let Some(logged) = store.was_failed(run, failure, at).await? {
                    self.ended(run, failure, &logged);
                }
                return Ok(());
            }
            Ok(Some(claimed)) => Some(claimed).filter(|_| !unreadable),
            Err(error) if error.passes() => return Err(error),
            Err(_) => None,
        };
        if let Some(claimed) = claimed {
            let signals = self.signals(
                CancellationToken::new(),
                Arc::default(),
                watch::Sender::new(false),
            );
            let driver = self.driver(run, claimed, signals, None);
            return driver.fail(failure.clone()).await;
        }
        let logged = store.fail_unread(run, node, failure, at).await?;
        self.ended(run, failure, &logged);
        Ok(())
    }

    /// Tells of a run that was ended without its driver.
    fn ended(&self, run: RunId, failure: &Failure, logged: &[LoggedEvent]) {
        self.tools.config.meter.tell(Happening::RunEnded(RunEnd {
            status: RunStatus::Failed,
            reason: None,
            failure: Some(failure.code),
        }));
        self.log.publish(run, logged);
    }
}
