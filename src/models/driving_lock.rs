//! Which process drives a SQLite file: the one that holds an operating-system lock beside it, which dies with the process.

use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The right to drive the runs of a database that is not shared. Always held where there is no file.
#[derive(Debug, Default)]
pub struct DrivingLock {
    path: Option<PathBuf>,
    held: Mutex<Option<File>>,
}

impl DrivingLock {
    /// The lock that belongs to the database at this address.
    #[must_use]
    pub fn of(uri: &str) -> Self {
        let file = uri
            .strip_prefix("sqlite:")
            .filter(|_| !super::is_memory(uri))
            .map(|rest| rest.strip_prefix("//").unwrap_or(rest))
            .and_then(|rest| rest.split('?').next());
        Self {
            path: file.map(|file| PathBuf::from(format!("{file}-driver"))),
            held: Mutex::default(),
        }
    }

    /// Whether this process holds it, after trying to take it if it does not.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let Some(path) = &self.path else { return true };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return true;
        }
        match take(path) {
            Ok(file) => *held = file,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot lock the file that says who drives runs");
            }
        }
        held.is_some()
    }
}

fn take(path: &PathBuf) -> std::io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("sqlite://{}/a.sqlite?mode=rwc", folder.path().display());
        let (first, second) = (DrivingLock::of(&uri), DrivingLock::of(&uri));
        assert!(first.is_held() && first.is_held() && !second.is_held());
        drop(first);
        assert!(second.is_held());
        assert!(DrivingLock::of("sqlite::memory:").is_held());
    }
}
