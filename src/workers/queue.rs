//! The job queue, where there is one: Loco keeps jobs that are done for ever, and a run that was deleted would still be named there.

use std::time::Duration;

use loco_rs::{bgworker::JobStatus, prelude::*};
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

/// How long the queue may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A job takes no time: one that has been in progress for so many minutes was left by a worker that is gone. It is done again,
/// which is harmless, and then taken away.
const LEFT_MINUTES: i64 = 5;

/// Takes jobs that are done out of the queue.
///
/// # Errors
/// When the queue fails, or does not answer.
pub async fn tidy(ctx: &AppContext) -> Result<()> {
    let Some(queue) = &ctx.queue_provider else {
        return Ok(());
    };
    let done = vec![JobStatus::Completed, JobStatus::Cancelled];
    let tidying = async {
        queue.requeue(&LEFT_MINUTES).await?;
        queue.clear_by_status(done).await
    };
    // Loco logs each call, and this is one a minute.
    let quietly = tidying.with_subscriber(NoSubscriber::default());
    tokio::time::timeout(PATIENCE, quietly)
        .await
        .map_err(|_| Error::string("the queue does not answer"))?
}

/// The same in a process that has not opened the queue to work with it.
///
/// # Errors
/// When the queue fails, or does not answer.
pub async fn open_and_tidy(ctx: &AppContext) -> Result<()> {
    if let Some(queue) = &ctx.queue_provider {
        queue.setup().await?;
    }
    tidy(ctx).await
}
