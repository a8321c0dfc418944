//! The port that only the operators reach: what this process is like, in whatever mode it was started.

use std::net::SocketAddr;

use loco_rs::{Error, Result, app::AppContext};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::serve::{ServeOptions, serve};
use crate::{controllers, middleware};

/// What answers there, if anything does. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Operators {
    tracker: TaskTracker,
    /// Cancelled by the end of the process.
    ended: CancellationToken,
}

impl Operators {
    /// Answers those who come, from now until the end.
    ///
    /// # Errors
    /// When there is no router.
    pub(super) fn serve(
        &self,
        listener: TcpListener,
        ctx: &AppContext,
        options: ServeOptions,
    ) -> Result<()> {
        let router = middleware::not_found(controllers::metrics::for_operators())?;
        let (router, ended) = (router.with_state(ctx.clone()), self.ended.clone());
        self.tracker.spawn(async move {
            serve(listener, router, options, ended.cancelled_owned()).await;
        });
        Ok(())
    }

    /// Lets those who are there have their answers.
    pub(super) async fn end(&self) {
        self.ended.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Takes the port.
///
/// # Errors
/// When somebody else has it.
pub(super) async fn listen(binding: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(binding).await;
    listener.map_err(|error| {
        Error::string(&format!(
            "cannot listen on {binding} (settings.metrics.binding): {error}"
        ))
    })
}
