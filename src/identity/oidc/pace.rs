//! How often an issuer is asked for its keys because a token names one that is not known: anybody can send such tokens.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two looks.
const SPACE: Duration = Duration::from_secs(1);

/// So many looks that bring nothing new may follow each other with the least time between,
const BURST: u32 = 3;

/// and one more each time this has passed.
const EACH: Duration = Duration::from_secs(5);

/// After a look that failed, the next one waits longer each time, up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// Says when the next look may be.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all looks of the burst are there again.
    full: Instant,
    failures: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            full: now,
            failures: 0,
        }
    }

    /// A look brought other keys than before: those who asked for it were right.
    pub(super) fn found(&mut self, now: Instant) -> Instant {
        *self = Self::new(now);
        now + SPACE
    }

    /// A look brought what was known.
    pub(super) fn found_nothing(&mut self, now: Instant) -> Instant {
        self.failures = 0;
        self.full = self.full.max(now) + EACH;
        let room = EACH * (BURST - 1);
        let again = self.full.checked_sub(room).unwrap_or(now);
        again.max(now + SPACE)
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

    #[test]
    fn a_flood_of_unknown_names_becomes_a_look_now_and_then() {
        let start = Instant::now();
        let (mut pace, mut now, mut looks) = (Pace::new(start), start, 0);
        while now < start + Duration::from_secs(60) {
            now = pace.found_nothing(now);
            looks += 1;
        }
        assert!((12..=15).contains(&looks), "{looks}");
    }

    #[test]
    fn the_first_looks_follow_soon_and_so_do_those_after_a_change() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut waits = || {
            [
                pace.found_nothing(now),
                pace.found_nothing(now),
                pace.found_nothing(now),
            ]
        };
        assert_eq!(waits().map(|next| next - now), [second, second, second * 5]);
        assert_eq!(pace.found(now) - now, second);
        assert_eq!(pace.found_nothing(now) - now, second);
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_less_and_less() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let waits: Vec<u64> = (0..8).map(|_| (pace.failed(now) - now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        pace.found_nothing(now);
        assert_eq!(pace.failed(now) - now, Duration::from_secs(1));
    }
}
