//! The worker that starts runs.

use std::time::Duration;

use loco_rs::prelude::*;
use serde::{Deserialize, Serialize};

use super::queue::tidy;
use crate::{
    conversation::RunId,
    orchestrator::{Doorbell, Supervisor},
};

/// How long a caller waits for the queue: the next look at the database comes about as soon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Offers a run to this process's supervisor.
pub struct RunWorker {
    /// The application as the worker sees it.
    pub ctx: AppContext,
}

/// What the job says: ids only, since it may lie in a queue for long.
#[derive(Debug, Deserialize, Serialize)]
pub struct RunWorkerArgs {
    /// The run to drive.
    pub run_id: RunId,
}

#[async_trait]
impl BackgroundWorker<RunWorkerArgs> for RunWorker {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    async fn perform(&self, args: RunWorkerArgs) -> Result<()> {
        let supervisor = self.ctx.shared_store.get::<Supervisor>();
        let supervisor = supervisor
            .ok_or_else(|| Error::string("this process drives no runs: it has no supervisor"))?;
        supervisor.offer(args.run_id);
        Ok(())
    }
}

/// Rings by the worker mode of the YAML.
pub struct RunDoorbell {
    ctx: AppContext,
}

impl RunDoorbell {
    /// A bell in this application. The context is copied with a store of its own that holds nothing but the supervisor: the
    /// door is kept in the application's store, and holding that store here would keep both alive for ever.
    #[must_use]
    pub fn new(ctx: &AppContext, supervisor: Supervisor) -> Self {
        let store = loco_rs::app::SharedStore::default();
        store.insert(supervisor);
        Self {
            ctx: ctx
                .clone()
                .into_builder()
                .shared_store(store.into())
                .build(),
        }
    }
}

#[async_trait]
impl Doorbell for RunDoorbell {
    async fn ring(&self, run_id: RunId) {
        let job = RunWorker::perform_later(&self.ctx, RunWorkerArgs { run_id });
        let lost = match tokio::time::timeout(PATIENCE, job).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the queue does not answer".to_owned(),
        };
        tracing::warn!(run_id = %run_id, error = lost, "the bell was not heard; the run waits for the next look");
    }

    async fn tidy(&self) {
        if let Err(error) = tidy(&self.ctx).await {
            tracing::warn!(%error, "cannot take jobs that are done out of the queue");
        }
    }
}
