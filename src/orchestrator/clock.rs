//! The process's wall clock: for the `at` of events and for measuring. It decides nothing between processes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::conversation::Timestamp;

/// The moment now.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
