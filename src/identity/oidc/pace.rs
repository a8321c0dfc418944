//! How often an issuer is asked for its keys because a token names one that is not known: anybody can send such tokens.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two looks: so often an issuer is asked while tokens come that name keys which are not known, and so long a new key
/// waits at most until it is looked for, whatever else comes.
const SPACE: Duration = Duration::from_secs(1);

/// After a look that failed, the next one waits longer each time, up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// Says when the next look may be.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// A look brought keys. Whether they are new makes no difference: made-up names must not keep a new key waiting.
    pub(super) fn found(&mut self, now: Instant) -> Instant {
        self.failures = 0;
        now + SPACE
    }

    /// A look failed.
    pub(super) fn failed(&mut self, now: Instant) -> Instant {
        let wait = SPACE * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        now + wait.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look a second, and no more than a second to the next one, whenever in a minute a new key comes.
    #[test]
    fn a_flood_of_unknown_names_is_a_look_a_second() {
        let start = Instant::now();
        let (mut pace, mut now, mut looks) = (Pace::default(), start, 0);
        while now < start + Duration::from_secs(60) {
            let next = pace.found(now);
            assert_eq!(next - now, Duration::from_secs(1));
            (now, looks) = (next, looks + 1);
        }
        assert_eq!(looks, 60);
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_less_and_less() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let waits: Vec<u64> = (0..8).map(|_| (pace.failed(now) - now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        pace.found(now);
        assert_eq!(pace.failed(now) - now, Duration::from_secs(1));
    }
}
