//! How many streams an owner may have at all processes on the database together.
//!
//! A process writes down how many of its owners' streams are open at it, and then looks at how many are elsewhere: of two that look at the
//! same time the later one sees both, so there are never more than the limit. It may happen that both see each other, and neither gets the
//! last place. A process that is not alive by its row in `nodes` has none: what it had is free once its lifetime is over.

use std::{fmt, hash::BuildHasher as _, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Mutex};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::places::{NoPlace, Place, Places};
use crate::{
    conversation::RunError,
    models::{Store, StoreError},
};

/// How many owners' counts are written at the same time, at most: those of one are written one after the other, so that the last word is
/// the last to come.
const LANES: usize = 16;

/// When a count that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(5);

/// The places of owners. Cheap to clone.
#[derive(Clone)]
pub struct SharedPlaces(Arc<Inner>);

struct Inner {
    store: Store,
    /// This process, as `nodes` knows it.
    node: String,
    most: usize,
    places: Places,
    lanes: [Mutex<()>; LANES],
    hasher: std::hash::RandomState,
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// A place that others know of, until it is dropped.
pub struct SharedPlace {
    place: Option<Place>,
    of: Option<(SharedPlaces, String)>,
}

impl fmt::Debug for SharedPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPlaces").finish_non_exhaustive()
    }
}

impl SharedPlaces {
    /// So many for each owner, of which those here are counted by `places`. `ended`: nothing is written any more.
    #[must_use]
    pub fn new(
        store: Store,
        node: String,
        most: usize,
        places: Places,
        ended: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            node,
            most,
            places,
            lanes: std::array::from_fn(|_| Mutex::default()),
            hasher: std::hash::RandomState::new(),
            tasks: TaskTracker::new(),
            ended,
        }))
    }

    /// Tells the others of a place that somebody has here, and makes sure that there are not too many with theirs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn share(
        &self,
        place: Place,
        owner: &str,
    ) -> Result<Result<SharedPlace, NoPlace>, RunError> {
        // Nobody is no owner.
        if owner.is_empty() {
            return Ok(Ok(SharedPlace::alone(place)));
        }
        let shared = SharedPlace {
            place: Some(place),
            of: Some((self.clone(), owner.to_owned())),
        };
        let here = self.write(owner).await?;
        let elsewhere = self.0.store.streams_elsewhere(&self.0.node, owner).await?;
        let elsewhere = usize::try_from(elsewhere).unwrap_or(usize::MAX);
        if here.saturating_add(elsewhere) > self.0.most {
            return Ok(Err(NoPlace::OfOwner(self.0.most)));
        }
        Ok(Ok(shared))
    }

    /// Writes down how many the owner has here.
    async fn write(&self, owner: &str) -> Result<usize, StoreError> {
        let inner = &self.0;
        let lane = inner.hasher.hash_one(owner) % LANES as u64;
        let lane = inner.lanes.get(usize::try_from(lane).unwrap_or(0));
        let _turn = match lane {
            Some(lane) => Some(lane.lock().await),
            None => None,
        };
        let here = inner.places.of_owner(owner);
        inner.store.note_streams(&inner.node, owner, here).await?;
        Ok(here)
    }

    /// Writes it down in the background, as soon as the database lets it.
    fn write_later(self, owner: String) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (tasks, ended) = (self.0.tasks.clone(), self.0.ended.clone());
        let written = async move {
            while let Err(error) = self.write(&owner).await {
                tracing::debug!(%error, "an open stream that has ended is not written down yet");
                tokio::time::sleep(AGAIN).await;
            }
        };
        tasks.spawn_on(ended.run_until_cancelled_owned(written), &runtime);
    }
}

impl SharedPlace {
    /// One that nobody else is told of.
    #[must_use]
    pub fn alone(place: Place) -> Self {
        Self {
            place: Some(place),
            of: None,
        }
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        drop(self.place.take());
        if let Some((shared, owner)) = self.of.take() {
            shared.write_later(owner);
        }
    }
}
