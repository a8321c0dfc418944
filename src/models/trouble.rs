//! What is wrong with the database: whether it passes by itself.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

use super::StoreError;

impl StoreError {
    /// Whether the same call can succeed later without anybody changing it: the database is away, busy, full or read-only for
    /// now. False for what it will refuse for ever, such as a value or a statement.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Database(error) => passes(error),
            Self::Unreadable { .. } | Self::LeaseLost => false,
        }
    }

    /// The kind of it in a word, for whoever counts or traces.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::LeaseLost => "lease_lost",
            Self::Unreadable { .. } => "unreadable",
            Self::Database(_) => "database",
        }
    }

    /// What the database said, for the log.
    #[must_use]
    pub fn cause(&self) -> String {
        std::error::Error::source(self)
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

/// Why the database cannot be used, and what to do about it, for whoever has started the program. Never repeats its address, which
/// may hold a password.
#[must_use]
pub fn explain(error: &DbErr) -> String {
    let hint = match database_code(error).as_deref() {
        Some("3D000") => "create it first, or name another in DATABASE_URL",
        Some("28P01" | "28000") => "look at the user and the password in DATABASE_URL",
        Some("42501") => "the user in DATABASE_URL lacks the right",
        Some("14") => {
            "DATABASE_URL must name a file, not a directory, that this user may read and write; ?mode=rwc at its end makes a new one"
        }
        Some("26") => "DATABASE_URL names a file that is something else",
        Some("8" | "25006") => "it cannot be written to",
        _ if passes(error) => "is it running, and is the address in DATABASE_URL right?",
        _ => "",
    };
    match said(error) {
        said if hint.is_empty() => format!("the database: {said}"),
        said => format!("the database: {said}: {hint}"),
    }
}

fn said(error: &DbErr) -> String {
    match sqlx(error) {
        Some(SqlxError::Database(error)) => error.message().to_owned(),
        Some(SqlxError::PoolTimedOut) => "it does not answer".to_owned(),
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

fn sqlx(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn database_code(error: &DbErr) -> Option<String> {
    match sqlx(error)? {
        SqlxError::Database(error) => error.code().map(String::from),
        _ => None,
    }
}

/// Whether the same call can succeed later.
pub(super) fn passes(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            match error.as_ref() {
                SqlxError::Database(error) => error.code().is_none_or(|code| code_passes(&code)),
                SqlxError::Io(_)
                | SqlxError::Tls(_)
                | SqlxError::Protocol(_)
                | SqlxError::PoolTimedOut
                | SqlxError::PoolClosed
                | SqlxError::WorkerCrashed => true,
                _ => false,
            }
        }
        _ => false,
    }
}

/// PostgreSQL has five characters (<https://www.postgresql.org/docs/current/errcodes-appendix.html>), of which the first two are
/// the class; SQLite has numbers (<https://www.sqlite.org/rescode.html>), of which the low byte is.
fn code_passes(code: &str) -> bool {
    if code.len() == 5 {
        // Data, constraints, syntax and rights, features, limits, the transaction's use. Of the last, a server that is read-only for now
        // passes, and a session that it ended because the process stood still in the middle of a transaction.
        let refused = [
            "0A", "21", "22", "23", "25", "26", "28", "34", "3D", "3F", "42", "44", "54",
        ];
        return matches!(code, "25006" | "25P03" | "25P04")
            || !refused.iter().any(|class| code.starts_with(class));
    }
    let Ok(code) = code.parse::<u32>() else {
        return true;
    };
    // ERROR, INTERNAL, TOOBIG, CONSTRAINT, MISMATCH, MISUSE, RANGE, NOTADB
    !matches!(code & 0xff, 1 | 2 | 18 | 19 | 20 | 21 | 25 | 26)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for passing in [
            "57P01",
            "40001",
            "40P01",
            "53100",
            "53300",
            "25006",
            "25P03",
            "55P03",
            "57014",
            "08006",
            "5",
            "13",
            "8",
            "10",
            "1555_not_a_number",
        ] {
            assert!(code_passes(passing), "{passing}");
        }
        for staying in [
            "22021", "23505", "25P02", "42P01", "54000", "1", "19", "1555", "2067",
        ] {
            assert!(!code_passes(staying), "{staying}");
        }
    }
}
