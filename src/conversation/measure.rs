//! What happens that an operator counts: the words for it, and the handle by which the other rooms tell of it.
//!
//! Who counts, and how, is no business of theirs: they hold a [`Meter`], which tells somebody or nobody. Nothing is told of a single
//! delta: what is many is added up where it happens, and told when the attempt ends; bytes go into a [`Tally`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    cost::Cost,
    failure::FailureCode,
    run::{EndReason, RunStatus},
    target::Target,
    transcript::MessageStatus,
    usage::Usage,
};

/// Something that has happened. What a transaction writes is told of after its commit, once: also where nobody heard of the commit at
/// first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happening<'a> {
    /// A run was accepted here.
    RunAccepted,
    /// A run was ended here.
    RunEnded(RunEnd),
    /// A run was taken up here whose owner had broken down.
    RunRecovered(Breakdown),
    /// A run turned out to be another process's now.
    LeaseLost,
    /// A turn was closed.
    TurnEnded {
        /// How its message stands in the transcript.
        status: MessageStatus,
        /// From its start to its end.
        took: Duration,
    },
    /// A provider request ended, or was found to be lost.
    AttemptEnded(&'a AttemptEnd<'a>),
    /// A request that was due has to wait, or goes elsewhere.
    AttemptDelayed {
        /// The provider that was to be asked.
        provider: &'a str,
        /// Why.
        code: FailureCode,
    },
    /// A model is left alone from now on, because it fails too often.
    BreakerOpened {
        /// The provider.
        provider: &'a str,
        /// The model.
        model: &'a str,
    },
    /// The database was asked for something.
    DatabaseAsked {
        /// What for.
        what: DatabaseCall,
        /// How long the answer took.
        took: Duration,
        /// What went wrong, if anything did.
        trouble: Option<DatabaseTrouble>,
    },
    /// A request was not let in.
    LoginRefused(LoginRefusal),
    /// A client was told that it creates too much.
    RateLimited {
        /// The limit's name in `RateLimit-Policy`.
        policy: &'static str,
    },
    /// A connection was refused: there are as many as there may be.
    ConnectionRefused {
        /// The setting that says how many.
        limit: &'static str,
    },
    /// A request was answered: the head of the answer is known.
    RequestAnswered {
        /// How it was asked.
        method: &'a str,
        /// The route's template; `None` where there is no such route.
        route: Option<&'a str>,
        /// The status of the answer.
        status: u16,
        /// How long the head of the answer took.
        took: Duration,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    /// The final status.
    pub status: RunStatus,
    /// Why, if it did not fail.
    pub reason: Option<EndReason>,
    /// Why it failed, if it did.
    pub failure: Option<FailureCode>,
}

/// How a run's owner broke down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakdown {
    /// Its process is gone, or counts as dead.
    Process,
    /// Its task here panicked.
    Panic,
    /// The database was away while it had to write.
    Database,
}

/// A provider request at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptEnd<'a> {
    /// Who was asked.
    pub target: &'a Target,
    /// `completed`, `summarised`, `interrupted`, `crash`, `drain`, or the code of its failure.
    pub outcome: &'static str,
    /// What went wrong, where the provider failed it.
    pub failure: Option<FailureCode>,
    /// Whether another request follows that failure.
    pub repeated: bool,
    /// How many deltas were shown.
    pub deltas: u64,
    /// What the provider had counted.
    pub usage: Usage,
    /// What it cost; `None` where no price or no usage is known.
    pub cost: Option<Cost>,
    /// From the request to the end; `None` where nobody knows.
    pub took: Option<Duration>,
    /// From the request to the first delta; `None` where none was shown.
    pub first_delta: Option<Duration>,
}

/// What the database is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseCall {
    /// A connection, and a transaction on it.
    Begin,
    /// One statement.
    Statement,
    /// The end of a transaction.
    Commit,
    /// The undoing of a transaction.
    Rollback,
}

/// How the database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseTrouble {
    /// In a way that passes: it is away, busy, full.
    Passing,
    /// By refusing what it was given.
    Refused,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// It had no credentials that can be read.
    NoCredentials,
    /// Its credentials were wrong.
    WrongCredentials,
    /// Its token was not taken.
    WrongToken,
    /// A ticket that is none of ours, or whose time is over.
    WrongTicket,
    /// Its token had expired.
    ExpiredToken,
    /// Nobody could know whether its token is right: the issuer is down.
    IssuerUnavailable,
    /// Too many were being looked at.
    Busy,
    /// Too many wrong ones came from there.
    TooMany,
}

/// Somebody who counts.
pub trait Counts: fmt::Debug + Send + Sync {
    /// Takes note.
    fn count(&self, happening: Happening<'_>);

    /// Where the bytes are counted that a route sends; `None`: what belongs to no route.
    fn bytes_sent(&self, route: Option<&str>) -> Tally;
}

/// Whom the rooms tell what happens; by default nobody. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter(Option<Arc<dyn Counts>>);

impl Meter {
    /// The meter that tells that one.
    #[must_use]
    pub fn new(counts: Arc<dyn Counts>) -> Self {
        Self(Some(counts))
    }

    /// Tells what has happened.
    pub fn tell(&self, happening: Happening<'_>) {
        if let Some(counts) = &self.0 {
            counts.count(happening);
        }
    }

    /// Where the bytes are counted that a route sends.
    #[must_use]
    pub fn bytes_sent(&self, route: Option<&str>) -> Tally {
        let counts = self.0.as_ref();
        counts.map_or_else(Tally::default, |counts| counts.bytes_sent(route))
    }
}

/// A sum that only grows, without a lock. The clones are the same sum.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Adds so much.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
