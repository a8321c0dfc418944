//! To whom runs belong.

use std::sync::Arc;

use moka::future::Cache;

use crate::{
    conversation::{RunError, RunId, Whose},
    models::Store,
};

/// Of how many runs it is remembered.
const REMEMBERED: u64 = 10_000;

/// The owners of runs, remembered: they never change. So a stop of a run that is being watched needs no database to be allowed.
pub(super) struct Owners {
    known: Cache<RunId, Arc<str>>,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::new(REMEMBERED),
        }
    }

    /// Takes note of a new run's.
    pub(super) async fn learn(&self, id: RunId, owner: &str) {
        self.known.insert(id, owner.into()).await;
    }

    /// That the run is one of theirs: others are not there for them.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub(super) async fn check(
        &self,
        store: &Store,
        whose: &Whose,
        id: RunId,
    ) -> Result<(), RunError> {
        let expected = match whose {
            Whose::Everybodys => return Ok(()),
            Whose::Run(only) if *only == id => return Ok(()),
            Whose::Run(_) => return Err(RunError::NotFound(id)),
            Whose::Of(owner) => owner,
        };
        if *self.of(store, id).await? == **expected {
            Ok(())
        } else {
            Err(RunError::NotFound(id))
        }
    }

    /// To whom the run belongs.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub(super) async fn of(&self, store: &Store, id: RunId) -> Result<Arc<str>, RunError> {
        if let Some(owner) = self.known.get(&id).await {
            return Ok(owner);
        }
        let owner = store.owner(id).await?.ok_or(RunError::NotFound(id))?;
        self.learn(id, &owner).await;
        Ok(owner.into())
    }
}
