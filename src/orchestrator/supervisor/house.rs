//! What is old is taken away.

use std::sync::Weak;

use super::Supervisor;
use crate::{
    models::StoreError,
    orchestrator::{clock, driver::Tools},
};

/// How many runs, and how many acts, go at once: a transaction that is short for those who wait.
const RUNS: u64 = 50;
const ACTS: u64 = 1_000;

impl Supervisor {
    /// Takes away what nobody needs any more: rings that were answered, answers that are not given again, what counts for no quota any
    /// longer, sessions that are over, acts that were kept long enough, and with a limit the oldest runs that have ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_house(&self) -> Result<(), StoreError> {
        if let Some(doorbell) = self.inner.doorbell.get().and_then(Weak::upgrade) {
            doorbell.tidy().await;
        }
        let Tools { store, config, .. } = &self.inner.tools;
        store.forget_expired_answers().await?;
        let now = clock::now();
        store.forget_old_quotas(now).await?;
        store.forget_ended_sessions().await?;
        let before = now.before(config.audit_retention);
        while store.forget_old_acts(before, ACTS).await?.is_some() {}
        if let Some(keep) = config.max_ended_runs {
            while store.prune_but_newest(keep, RUNS).await? > 0 {}
        }
        Ok(())
    }
}
