//! What takes a core for a while is done beside the async threads, few at a time, and only while somebody waits for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::views::problem::Problem;

/// A number of places, and how long they are waited for and kept.
pub(super) struct Press {
    places: Arc<Semaphore>,
    /// How long a request waits for its place.
    patience: Duration,
    /// How long one piece of work may take.
    time: Duration,
}

impl Press {
    pub(super) fn new(places: usize, patience: Duration, time: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            patience,
            time,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// A 503 when none gets free in time.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Problem::busy("too many PDFs are being made")),
        }
    }

    /// Does the work. It is given what to ask, now and then, whether to go on: not once its caller has left, or its time is over.
    ///
    /// # Errors
    /// A 500 when it panics.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (gone, time) = (CancellationToken::new(), self.time);
        // Who leaves, leaves the place to others soon.
        let waiting = gone.clone().drop_guard();
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            let begun = Instant::now();
            work(&|| !gone.is_cancelled() && begun.elapsed() < time)
        });
        let done = done.await.map_err(|panicked| {
            Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).caused_by(Box::new(panicked))
        });
        drop(waiting);
        done
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_to_come_back() {
        let press = Press::new(1, Duration::ZERO, LONG);
        let place = press.place().await.unwrap();
        let refused = press.place().await.map(drop).unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(press.work(place, |_| 7).await.unwrap(), 7);
        assert!(press.place().await.is_ok(), "what is done leaves its place");
    }

    #[tokio::test]
    async fn work_is_told_when_its_time_is_over() {
        let press = Press::new(1, LONG, Duration::ZERO);
        let place = press.place().await.unwrap();
        assert!(!press.work(place, |go_on| go_on()).await.unwrap());
        let press = Press::new(1, LONG, LONG);
        let place = press.place().await.unwrap();
        assert!(press.work(place, |go_on| go_on()).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_leaves_leaves_the_place_to_others() {
        let press = Press::new(1, LONG, LONG);
        let place = press.place().await.unwrap();
        let (begun, begins) = oneshot::channel();
        let work = press.work(place, move |go_on| {
            begun.send(()).unwrap();
            while go_on() {
                std::thread::yield_now();
            }
        });
        tokio::select! {
            _ = work => panic!("somebody waits for it"),
            begins = begins => begins.unwrap(),
        }
        assert!(press.place().await.is_ok());
    }

    #[tokio::test]
    async fn work_that_panics_is_a_fault_of_ours() {
        let press = Press::new(1, LONG, LONG);
        let place = press.place().await.unwrap();
        let fault = press.work(place, |_| -> () { panic!("a canary") }).await;
        let fault = fault.unwrap_err().into_response();
        assert_eq!(fault.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(press.place().await.is_ok());
    }
}
