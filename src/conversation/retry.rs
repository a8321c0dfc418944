//! When a failed attempt is made again.

use std::time::Duration;

use super::failure::AttemptFailure;

/// How often and how soon a turn's provider request is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all that may fail before the turn does; at least 1.
    pub max_attempts: u32,
    /// Upper bound of the first wait; it doubles with each failure.
    pub base: Duration,
    /// Upper bound of any wait that we choose ourselves.
    pub cap: Duration,
    /// Upper bound of a wait that the provider asks for.
    pub retry_after_cap: Duration,
}

impl RetryPolicy {
    /// How long to wait before the same target is asked again.
    ///
    /// `failures` counts the provider errors of that target in this turn, this one included. `jitter` is a random number from 0 to 1: full
    /// jitter (the whole wait is random) keeps many runs that failed together from coming back together. A provider's own
    /// `Retry-After` is the floor of the wait: asking sooner would only be refused again.
    #[must_use]
    pub fn wait_after(&self, failure: &AttemptFailure, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let own = bound.mul_f64(jitter.clamp(0.0, 1.0));
        failure
            .retry_after
            .map_or(own, |asked| asked.min(self.retry_after_cap).max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::FailureCode;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 8,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            retry_after_cap: Duration::from_secs(60),
        }
    }

    fn overloaded() -> AttemptFailure {
        AttemptFailure::new(FailureCode::Overloaded, "busy")
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_wholly_random() {
        let waits: Vec<_> = (1..8)
            .map(|n| policy().wait_after(&overloaded(), n, 1.0).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(policy().wait_after(&overloaded(), 3, 0.0), Duration::ZERO);
        assert_eq!(
            policy().wait_after(&overloaded(), 3, 0.5),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn a_provider_that_names_a_time_is_not_asked_sooner_and_not_waited_for_longer_than_the_cap() {
        let asked = |secs| AttemptFailure {
            retry_after: Some(Duration::from_secs(secs)),
            ..overloaded()
        };
        assert_eq!(
            policy().wait_after(&asked(7), 1, 1.0),
            Duration::from_secs(7)
        );
        assert_eq!(
            policy().wait_after(&asked(3600), 1, 1.0),
            Duration::from_secs(60)
        );
        assert_eq!(
            policy().wait_after(&asked(0), 1, 1.0),
            Duration::from_millis(500)
        );
    }
}
