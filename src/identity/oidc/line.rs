//! What an issuer is asked for one request of a client: what a token is, or to redeem a code. Whoever sends such requests must not make us
//! ask an issuer that is down, or fill the log, as often as they like.
//!
//! **Invariant:** after a failure nobody asks before `pace` lets one try; the others are told when to come back. Of failures that follow each
//! other the first alone is told.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{PATIENCE, TokenError, fetch::FetchError, pace::Pace};

/// The least that somebody is told to wait.
const SHORT: Duration = Duration::from_secs(1);

/// The way to an issuer.
#[derive(Debug)]
pub(super) struct Line {
    /// Held for a moment only.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// When the next one may try; `None`: all is well, and everybody may.
    next: Option<Instant>,
}

/// Somebody who may ask, and says then how it went.
#[derive(Debug)]
#[must_use]
pub(super) struct Asking<'a> {
    line: &'a Line,
    /// Whether it asks because something went wrong before.
    tries: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                pace: Pace::default(),
                next: None,
            }),
        }
    }

    /// Whether the issuer may be asked.
    ///
    /// # Errors
    /// `Unavailable` where it is in trouble, and it is not time to try again.
    pub(super) fn ask(&self) -> Result<Asking<'_>, TokenError> {
        let now = Instant::now();
        let mut state = self.state();
        let tries = match state.next {
            None => false,
            Some(next) if next > now => return Err(unavailable(next - now)),
            Some(_) => {
                // It is given up by then; if its client has left before, another one tries.
                state.next = Some(now + PATIENCE);
                true
            }
        };
        Ok(Asking { line: self, tries })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking<'_> {
    /// The issuer has answered.
    pub(super) fn went_well(self) {
        let mut state = self.line.state();
        state.next = None;
        // The next trouble begins anew.
        state.pace.found(Instant::now());
    }

    /// It has not, or not as it must.
    pub(super) fn failed(self, issuer: &str, error: &FetchError, what: &'static str) -> TokenError {
        let now = Instant::now();
        let mut state = self.line.state();
        let first = state.next.is_none();
        if first || self.tries {
            state.next = Some(state.pace.failed(now));
        }
        let wait = state
            .next
            .map_or(SHORT, |next| next.saturating_duration_since(now));
        drop(state);
        let cause = error.source().map(ToString::to_string);
        if first {
            tracing::warn!(issuer, %error, cause, "{what}: it is asked again now and then");
        } else {
            tracing::debug!(issuer, %error, cause, "{what}");
        }
        unavailable(wait)
    }
}

fn unavailable(wait: Duration) -> TokenError {
    TokenError::Unavailable {
        retry_after: wait.max(SHORT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: &str = "an issuer cannot be asked";

    #[tokio::test(start_paused = true)]
    async fn who_is_in_trouble_is_asked_by_one_now_and_then() {
        let line = Line::new();
        let (one, two) = (line.ask().unwrap(), line.ask().unwrap());
        one.failed("i", &FetchError::TooSlow, WHAT);
        // Those that were on their way already make it no worse.
        two.failed("i", &FetchError::TooSlow, WHAT);
        let mut asked = 0;
        for _ in 0..60 {
            for _ in 0..10 {
                if let Ok(asking) = line.ask() {
                    asking.failed("i", &FetchError::TooSlow, WHAT);
                    asked += 1;
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // After 1, 2, 4, 8, 16 and 30 seconds.
        assert_eq!(asked, 5);
        let wait = line.ask().unwrap_err();
        assert!(matches!(wait, TokenError::Unavailable { .. }), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_and_when_it_goes_well_all_may() {
        let line = Line::new();
        line.ask().unwrap().failed("i", &FetchError::TooSlow, WHAT);
        tokio::time::advance(Duration::from_secs(1)).await;
        let left = line.ask().unwrap();
        assert!(line.ask().is_err());
        // Its client has gone, and nobody knows how it went.
        drop(left);
        assert!(line.ask().is_err());
        tokio::time::advance(PATIENCE).await;
        line.ask().unwrap().went_well();
        for _ in 0..3 {
            line.ask().unwrap().went_well();
        }
        // The next trouble begins anew.
        line.ask().unwrap().failed("i", &FetchError::TooSlow, WHAT);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(line.ask().is_ok());
    }
}
