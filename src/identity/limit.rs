//! How often a client may do a thing in a minute.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter as Governor,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use super::ClientKey;

/// How many clients are remembered before those whose minute is over are forgotten.
const CLIENTS: usize = 10_000;

type Keyed =
    Governor<ClientKey, DashMapStateStore<ClientKey>, DefaultClock, StateInformationMiddleware>;

/// A number of times a minute, for each client. Its memory is bounded by the clients of the last minute.
pub struct RateLimiter {
    per_minute: NonZeroU32,
    keyed: Keyed,
    /// At how many clients the next look for those to forget is due.
    sweep_at: AtomicUsize,
    clock: DefaultClock,
}

/// Whether the client may, and what is left to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and that many times more at once.
    Allowed {
        /// How many times more.
        remaining: u32,
    },
    /// It may not yet.
    Refused {
        /// When it may again.
        retry_after: Duration,
    },
}

impl RateLimiter {
    /// That many times a minute, at least once.
    #[must_use]
    pub fn per_minute(times: u32) -> Self {
        let per_minute = NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN);
        let keyed = Governor::dashmap(Quota::per_minute(per_minute)).with_middleware();
        Self {
            per_minute,
            keyed,
            sweep_at: AtomicUsize::new(CLIENTS),
            clock: DefaultClock::default(),
        }
    }

    /// How many times a minute.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.per_minute.get()
    }

    /// Counts one time for the client, if it may.
    pub fn check(&self, client: ClientKey) -> Verdict {
        if self.keyed.len() > self.sweep_at.load(Ordering::Relaxed) {
            self.keyed.retain_recent();
            // Where all are of the last minute, not each request is worth another look.
            let next = CLIENTS.max(2 * self.keyed.len());
            self.sweep_at.store(next, Ordering::Relaxed);
        }
        match self.keyed.check_key(&client) {
            Ok(state) => Verdict::Allowed {
                remaining: state.remaining_burst_capacity(),
            },
            Err(refused) => Verdict::Refused {
                retry_after: refused.wait_time_from(self.clock.now()),
            },
        }
    }
}

/// One request before the limit. It is counted once, when somebody knows that it makes something or nobody has said that it does
/// not. Cheap to clone: the clones are the same request.
#[derive(Clone)]
pub struct Claim {
    limiter: Arc<RateLimiter>,
    client: ClientKey,
    /// `None` in it: the request makes nothing.
    verdict: Arc<OnceLock<Option<Verdict>>>,
}

impl Claim {
    /// A request of that client.
    #[must_use]
    pub fn new(limiter: Arc<RateLimiter>, client: ClientKey) -> Self {
        Self {
            limiter,
            client,
            verdict: Arc::default(),
        }
    }

    /// The request makes nothing: it is not counted.
    pub fn spare(&self) {
        // What was counted stays so.
        let _ = self.verdict.set(None);
    }

    /// Counts the request, unless it was counted or spared before; `None`: it was spared.
    pub fn count(&self) -> Option<Verdict> {
        *self
            .verdict
            .get_or_init(|| Some(self.limiter.check(self.client)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn each_client_has_its_own_count() {
        let limiter = RateLimiter::per_minute(2);
        assert_eq!(limiter.check(client(1)), Verdict::Allowed { remaining: 1 });
        assert_eq!(limiter.check(client(1)), Verdict::Allowed { remaining: 0 });
        let Verdict::Refused { retry_after } = limiter.check(client(1)) else {
            panic!("a third time")
        };
        assert!(
            retry_after > Duration::from_secs(25) && retry_after <= Duration::from_secs(30),
            "{retry_after:?}"
        );
        assert_eq!(limiter.check(client(2)), Verdict::Allowed { remaining: 1 });
    }

    #[test]
    fn a_flood_of_clients_is_not_looked_through_at_each_request() {
        let limiter = RateLimiter::per_minute(60);
        let sweep_at = || limiter.sweep_at.load(Ordering::Relaxed);
        let come = |from: usize, to: usize| {
            for number in from..to {
                let address = u32::try_from(number).unwrap().to_be_bytes();
                limiter.check(IpAddr::from(address).into());
            }
        };
        come(0, CLIENTS + 1);
        assert_eq!(sweep_at(), CLIENTS);
        come(CLIENTS + 1, CLIENTS + 3);
        // All are of the last minute: the next look is far away.
        assert!(sweep_at() > CLIENTS * 3 / 2, "{}", sweep_at());
    }

    #[test]
    fn a_request_is_counted_once_or_not_at_all() {
        let limiter = Arc::new(RateLimiter::per_minute(2));
        let claim = || Claim::new(Arc::clone(&limiter), client(1));
        let spared = claim();
        let same = spared.clone();
        same.spare();
        assert_eq!((spared.count(), same.count()), (None, None));
        let counted = claim();
        for _ in 0..3 {
            assert_eq!(counted.count(), Some(Verdict::Allowed { remaining: 1 }));
        }
        counted.spare();
        assert!(counted.count().is_some());
        assert_eq!(claim().count(), Some(Verdict::Allowed { remaining: 0 }));
        assert!(matches!(claim().count(), Some(Verdict::Refused { .. })));
    }
}
