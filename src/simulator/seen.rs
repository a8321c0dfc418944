//! What a simulator has seen: for tests that ask what was sent, and whether it was closed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The path.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it was no JSON.
    pub body: Value,
}

/// Counts of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// How many came in.
    pub seen: usize,
    /// How many are open: neither answered to the end nor left by their client.
    pub open: usize,
}

/// The simulator's memory. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Held for a moment only.
    requests: Arc<Mutex<Vec<SeenRequest>>>,
    activity: Arc<watch::Sender<Activity>>,
}

impl Seen {
    /// Notes a request, which is open until the guard is dropped.
    pub(super) fn note(&self, request: SeenRequest) -> Open {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        self.activity.send_modify(|activity| {
            activity.seen += 1;
            activity.open += 1;
        });
        Open(Arc::clone(&self.activity))
    }

    pub(super) fn requests(&self) -> Vec<SeenRequest> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }
}

/// A request that is open.
pub(super) struct Open(Arc<watch::Sender<Activity>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.open -= 1);
    }
}
