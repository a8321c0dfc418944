//! Which process drives a SQLite file: the one that holds an operating-system lock beside it, which dies with the process.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::PathBuf,
    str::FromStr as _,
    sync::{Mutex, PoisonError},
};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// The right to drive the runs of a database that is not shared. Always held where there is no file.
#[derive(Debug, Default)]
pub struct DrivingLock {
    path: Option<PathBuf>,
    held: Mutex<Option<File>>,
}

impl DrivingLock {
    /// The lock that belongs to the database at this address, whose file is there.
    #[must_use]
    pub fn of(uri: &str) -> Self {
        // An address that SQLite cannot read is none of SQLite's.
        let options = SqliteConnectOptions::from_str(uri)
            .ok()
            .filter(|_| uri.starts_with("sqlite:") && !super::is_memory(uri));
        let path = options.map(|options| {
            let file = options.get_filename();
            // One file has one lock, by whatever name it is opened.
            let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
            let mut path = OsString::from(file);
            path.push("-driver");
            PathBuf::from(path)
        });
        Self {
            path,
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
        assert!(DrivingLock::of("postgres://localhost/parley").is_held());
    }

    /// The address may spell the file's name in several ways.
    #[test]
    fn one_lock_for_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        File::create(path("a file.sqlite")).unwrap();
        std::os::unix::fs::symlink(path("a file.sqlite"), path("link")).unwrap();
        let of = |name: &str| DrivingLock::of(&format!("sqlite://{}", path(name).display()));
        let first = of("a%20file.sqlite");
        assert!(first.is_held());
        assert!(!of("link").is_held() && !of("./a%20file.sqlite?mode=rw").is_held());
    }
}
