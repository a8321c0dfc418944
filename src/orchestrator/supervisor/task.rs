//! A run's task around its driver: claims the run, and goes on, gives it up or ends it, whatever the driver comes to.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{Inner, SWEEP};
use crate::{
    conversation::{Breakdown, Failure, FailureCode, Happening, RunEnd, RunId, RunStatus},
    models::{Claimed, StoreError},
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
        if !self.keep_at(run, signals, suspicion).await {
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
        let (mut claim, mut breakdown) = (self.claim(run).await, Breakdown::Process);
        loop {
            let claimed = match claim {
                Ok(Some(claimed)) => claimed,
                Ok(None) => return false,
                Err(error) if error.passes() => {
                    claim = self.look_again(run, &error).await;
                    breakdown = Breakdown::Database;
                    continue;
                }
                Err(error) => {
                    self.give_up(run, &error).await;
                    return false;
                }
            };
            if claimed.crashed {
                config.meter.tell(Happening::RunRecovered(breakdown));
            }
            let driver = self.driver(run, claimed, signals.clone(), suspicion.take());
            // A panic is caught here: it costs this run and no other.
            match AssertUnwindSafe(driver.drive()).catch_unwind().await {
                Ok(Ok(())) => return true,
                Ok(Err(StoreError::LeaseLost)) => {
                    tracing::info!("another process drives the run now");
                    config.meter.tell(Happening::LeaseLost);
                    return false;
                }
                Ok(Err(error)) if error.passes() => {
                    claim = self.look_again(run, &error).await;
                    breakdown = Breakdown::Database;
                }
                Ok(Err(error)) => {
                    self.give_up(run, &error).await;
                    return false;
                }
                Err(_panic) => {
                    tracing::error!("the task of the run panicked");
                    signals.speaks.send_replace(false);
                    claim = store.reclaim(run, &self.node.id).await;
                    breakdown = Breakdown::Panic;
                }
            }
        }
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

    pub(super) fn signals(&self, stop: CancellationToken, speaks: watch::Sender<bool>) -> Signals {
        Signals {
            stop,
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
        loop {
            match self.end(run, unreadable, failure.clone()).await {
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

    async fn end(&self, run: RunId, unreadable: bool, failure: Failure) -> Result<(), StoreError> {
        let (store, node) = (&self.tools.store, &self.node.id);
        let claimed = match store.owned(run, node).await {
            Ok(None) => return Ok(()),
            Ok(Some(claimed)) => Some(claimed).filter(|_| !unreadable),
            Err(error) if error.passes() => return Err(error),
            Err(_) => None,
        };
        if let Some(claimed) = claimed {
            let signals = self.signals(CancellationToken::new(), watch::Sender::new(false));
            let driver = self.driver(run, claimed, signals, None);
            return driver.fail(failure).await;
        }
        let logged = store.fail_unread(run, node, &failure, clock::now()).await?;
        self.tools.config.meter.tell(Happening::RunEnded(RunEnd {
            status: RunStatus::Failed,
            reason: None,
            failure: Some(failure.code),
        }));
        self.log.publish(run, &logged);
        Ok(())
    }
}
