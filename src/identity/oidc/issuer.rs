//! One issuer: its keys, and who keeps them fresh.
//!
//! **Invariant:** one task asks the issuer, and nobody else does: however many tokens name keys that are not known, no two looks overlap, and
//! how often there is one says `pace`. Those who check tokens read what the task has left, and wait for its next look if they must. Keys that
//! are known go on while the issuer is down.

use std::{error::Error, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use jsonwebtoken::DecodingKey;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{
    TokenError,
    fetch::{Endpoints, FetchError, Source},
    keys::{Found, Keys},
    line::Line,
    pace::Pace,
    token::Header,
};

/// After so long the keys are looked at again, whether anybody asks or not: one that the issuer has taken back is not taken any longer.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// The least that a client is told to wait.
const SHORT: Duration = Duration::from_secs(1);

/// So long it waits for one to end: the look itself is bounded, this is for a machine that has no time.
const LONG: Duration = Duration::from_secs(10);

/// What is known of an issuer.
#[derive(Debug, Clone)]
struct Known {
    keys: Option<Arc<Keys>>,
    endpoints: Option<Arc<Endpoints>>,
    /// How many looks have ended.
    looks: u64,
    /// Whether there is one now.
    looking: bool,
    /// Whether the last one failed.
    trouble: bool,
    /// Before that there is none.
    next: Instant,
}

/// The keys of an issuer, for those who check tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    known: watch::Receiver<Known>,
    wish: Arc<Notify>,
    /// Where it says what a token is.
    pub(super) introspection: Line,
    /// Where it redeems codes.
    pub(super) redemption: Line,
}

/// Who keeps them.
#[derive(Debug)]
pub(super) struct Keeper {
    issuer: String,
    source: Source,
    known: watch::Sender<Known>,
    wish: Arc<Notify>,
    pace: Pace,
}

impl Issuer {
    /// The keys of that issuer, none yet, and who is to get them.
    ///
    /// # Errors
    /// When there can be no client.
    pub(super) fn new(issuer: &str) -> Result<(Self, Keeper), reqwest::Error> {
        let now = Instant::now();
        let (sender, known) = watch::channel(Known {
            keys: None,
            endpoints: None,
            looks: 0,
            looking: true,
            trouble: false,
            next: now,
        });
        let wish = Arc::new(Notify::new());
        let keeper = Keeper {
            issuer: issuer.to_owned(),
            source: Source::new(issuer)?,
            known: sender,
            wish: Arc::clone(&wish),
            pace: Pace::default(),
        };
        let issuer = Self {
            known,
            wish,
            introspection: Line::new(),
            redemption: Line::new(),
        };
        Ok((issuer, keeper))
    }

    /// The key for a token. One that is not known is looked for at the issuer, at the next look that there may be.
    ///
    /// # Errors
    /// When there is no such key, or the issuer is down and nobody can know.
    pub(super) async fn key(&self, header: &Header) -> Result<DecodingKey, TokenError> {
        let mut known = self.known.clone();
        // A look that is going on may have begun before the key was there.
        for _ in 0..2 {
            let seen = known.borrow_and_update().clone();
            match seen.find(header) {
                Found::Key(key) => return Ok(key),
                Found::Unfit => return Err(TokenError::Algorithm),
                Found::Unknown => {}
            }
            if !seen.looking {
                seen.is_worth_a_wait()?;
                self.wish.notify_one();
            }
            let ended = known.wait_for(|known| known.looks > seen.looks);
            if !matches!(tokio::time::timeout(LONG, ended).await, Ok(Ok(_))) {
                return Err(TokenError::Unavailable { retry_after: SHORT });
            }
            if !seen.looking {
                break;
            }
        }
        let seen = known.borrow().clone();
        match seen.find(header) {
            Found::Key(key) => Ok(key),
            Found::Unfit => Err(TokenError::Algorithm),
            Found::Unknown if seen.trouble => Err(seen.unavailable()),
            Found::Unknown => Err(TokenError::UnknownKey),
        }
    }

    /// Where the issuer is asked for what, as it has said with its keys. If nothing is known yet, a look that is going on is waited for.
    ///
    /// # Errors
    /// When the issuer was never there.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, TokenError> {
        let mut known = self.known.clone();
        let ended = known.wait_for(|known| known.endpoints.is_some() || !known.looking);
        // Whether it has ended in time or not, what is known then counts.
        let _ = tokio::time::timeout(LONG, ended).await;
        let seen = self.known.borrow().clone();
        seen.endpoints.clone().ok_or_else(|| seen.unavailable())
    }

    /// A key that is known does not fit what its issuer has signed: another may have come in its place, under the same name. The token is
    /// wrong all the same; those after it are held against what the next look finds.
    pub(super) fn doubt(&self) {
        self.wish.notify_one();
    }
}

impl Known {
    fn find(&self, header: &Header) -> Found {
        let keys = self.keys.as_ref();
        keys.map_or(Found::Unknown, |keys| keys.find(header))
    }

    /// Whether it makes sense to wait for the next look: it is never far, unless the issuer is down.
    fn is_worth_a_wait(&self) -> Result<(), TokenError> {
        if self.trouble && self.next > Instant::now() {
            return Err(self.unavailable());
        }
        Ok(())
    }

    fn unavailable(&self) -> TokenError {
        let wait = self.next.saturating_duration_since(Instant::now());
        TokenError::Unavailable {
            retry_after: wait.max(SHORT),
        }
    }
}

impl Keeper {
    /// Looks at once, then whenever somebody wishes it and it may be, and now and then by itself. Ends by being dropped.
    pub(super) async fn keep(mut self) {
        loop {
            self.known.send_modify(|known| known.looking = true);
            // Whoever has wished so far, wishes this one.
            let _ = self.wish.notified().now_or_never();
            let read = self.source.keys().await;
            let now = Instant::now();
            let next = self.note(read, now);
            let again = if self.known.borrow().trouble {
                next
            } else {
                now + FRESH
            };
            tokio::select! {
                () = self.wish.notified() => sleep_until(next).await,
                () = sleep_until(again) => self.source.forget(),
            }
        }
    }

    /// What a look has brought; when the next one may be.
    fn note(&mut self, read: Result<Keys, FetchError>, now: Instant) -> Instant {
        let before = self.known.borrow().clone();
        let mut known = Known {
            looks: before.looks + 1,
            looking: false,
            trouble: read.is_err(),
            ..before.clone()
        };
        match read {
            Ok(keys) => {
                known.next = self.pace.found(now);
                known.keys = Some(Arc::new(keys));
                known.endpoints = self.source.endpoints();
                if before.trouble {
                    tracing::info!(issuer = self.issuer, "the issuer of tokens is there again");
                }
            }
            Err(error) => {
                known.next = self.pace.failed(now);
                self.tell(&error, before.trouble);
            }
        }
        let next = known.next;
        self.known.send_replace(known);
        next
    }

    /// Once, and not each time that it goes on.
    fn tell(&self, error: &FetchError, again: bool) {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            reason = format!("{reason}: {deeper}");
            source = deeper.source();
        }
        let issuer = &self.issuer;
        if again {
            tracing::debug!(
                issuer,
                reason,
                "the issuer of tokens still has no keys for us"
            );
        } else {
            tracing::warn!(
                issuer,
                reason,
                "the keys of an issuer of tokens cannot be had: those that are known go on, other tokens are put off"
            );
        }
    }
}
