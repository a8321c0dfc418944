//! How much one owner may have, and how many runs may come from one address. The counting is `models`' part.

use std::{fmt, num::NonZeroU32, time::Duration};

use super::{cost::Cost, time::Timestamp, usage::Usage};

/// A day of the quotas: UTC, as Unix time counts them.
const DAY: Duration = Duration::from_hours(24);

/// What may be had. `None`: as much as is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Runs that are created within a minute by requests from one address.
    pub runs_per_address: Option<NonZeroU32>,
    /// Runs that are created within a minute by one owner.
    pub runs_per_owner: Option<NonZeroU32>,
    /// Runs of one owner that are not over.
    pub live_runs: Option<u32>,
    /// What the runs of one owner may take within a day.
    pub daily: Daily,
}

/// What may be taken within a day. `None`: as much as is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Daily {
    /// Tokens, in and out: those that providers have counted, and about as many as there were where one has not ([`Usage::presumed`]).
    pub tokens: Option<u64>,
    /// What these cost, where a price is known.
    pub cost: Option<Cost>,
}

/// What was taken, of that which the day's quotas count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tokens, in and out.
    pub tokens: u64,
    /// What is known of their cost.
    pub cost: Cost,
}

/// One of the quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// [`Quotas::runs_per_address`].
    RunsPerAddress,
    /// [`Quotas::runs_per_owner`].
    RunsPerOwner,
    /// [`Quotas::live_runs`].
    LiveRuns,
    /// [`Daily::tokens`].
    TokensPerDay,
    /// [`Daily::cost`].
    CostPerDay,
}

/// Where an asker stands with a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The quota.
    pub quota: Quota,
    /// How much it is: runs, tokens, or 10⁻⁶ dollars.
    pub limit: u64,
    /// What is left of it, in the same unit.
    pub remaining: u64,
    /// When there is at least one more than `remaining`; `None` where nobody can know: a live run ends when it ends.
    pub reset: Option<Duration>,
}

/// What is asked for would be over a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct OverQuota(pub Standing);

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.0.limit;
        match self.0.quota {
            Quota::RunsPerAddress => write!(f, "this client may create {limit} runs a minute"),
            Quota::RunsPerOwner => write!(f, "you may create {limit} runs a minute"),
            Quota::LiveRuns => write!(
                f,
                "you may have {limit} runs at the same time: wait for one to end, or stop one"
            ),
            Quota::TokensPerDay => write!(
                f,
                "your runs may take {limit} tokens a day, which they have; the next day begins at midnight UTC"
            ),
            Quota::CostPerDay => write!(
                f,
                "your runs may cost {} dollars a day, which they have; the next day begins at midnight UTC",
                Cost::from_micros(limit)
            ),
        }
    }
}

impl Quota {
    /// Its name, as `RateLimit-Policy` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunsPerAddress => "run-creations",
            Self::RunsPerOwner => "run-creations-of-owner",
            Self::LiveRuns => "live-runs",
            Self::TokensPerDay => "tokens-a-day",
            Self::CostPerDay => "cost-a-day",
        }
    }
}

impl Daily {
    /// Whether there is any.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.tokens.is_some() || self.cost.is_some()
    }

    /// Where somebody stands at that moment who has taken so much on its day.
    ///
    /// # Errors
    /// With a quota of which nothing is left.
    pub fn standings(&self, taken: Taken, at: Timestamp) -> Result<Vec<Standing>, OverQuota> {
        let reset = Some(rest_of_day(at));
        let micros = |cost: Cost| cost.picos() / 1_000_000;
        let rows = [
            (
                Quota::TokensPerDay,
                self.tokens.map(|limit| (limit, taken.tokens)),
            ),
            (
                Quota::CostPerDay,
                self.cost.map(|limit| (micros(limit), micros(taken.cost))),
            ),
        ];
        let rows = rows
            .into_iter()
            .filter_map(|(quota, row)| Some((quota, row?)));
        rows.map(|(quota, (limit, taken))| {
            let remaining = limit.saturating_sub(taken);
            let standing = Standing {
                quota,
                limit,
                remaining,
                reset,
            };
            if remaining == 0 {
                Err(OverQuota(standing))
            } else {
                Ok(standing)
            }
        })
        .collect()
    }
}

impl Taken {
    /// What so much use is, at that cost.
    #[must_use]
    pub fn of(usage: Usage, cost: Option<Cost>) -> Self {
        let input = usage.input_tokens.unwrap_or(0);
        Self {
            tokens: input.saturating_add(usage.output_tokens.unwrap_or(0)),
            cost: cost.unwrap_or_default(),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost.plus(other.cost).unwrap_or(Cost::MOST),
        }
    }
}

/// The day of a moment, counted from 1970.
#[must_use]
pub fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(day_millis())
}

/// How long a moment's day still is.
fn rest_of_day(at: Timestamp) -> Duration {
    let gone = at.as_millis().rem_euclid(day_millis());
    Duration::from_millis((day_millis() - gone).unsigned_abs())
}

const fn day_millis() -> i64 {
    DAY.as_secs().cast_signed() * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    fn dollars(cents: u64) -> Cost {
        Cost::from_micros(cents * 10_000)
    }

    #[test]
    fn a_day_is_used_up_when_nothing_is_left_of_it() {
        let daily = Daily {
            tokens: Some(100),
            cost: Some(dollars(50)),
        };
        let at = |tokens, cents| {
            let taken = Taken {
                tokens,
                cost: dollars(cents),
            };
            daily.standings(taken, NOON)
        };
        let left = at(99, 49).unwrap();
        assert_eq!(
            left.iter()
                .map(|one| (one.quota, one.remaining))
                .collect::<Vec<_>>(),
            [(Quota::TokensPerDay, 1), (Quota::CostPerDay, 10_000)]
        );
        assert!(left.iter().all(|one| one.reset == Some(DAY / 2)));
        assert_eq!(at(100, 0).unwrap_err().0.quota, Quota::TokensPerDay);
        assert_eq!(at(u64::MAX, 0).unwrap_err().0.remaining, 0);
        let over = at(0, 51).unwrap_err();
        assert_eq!(over.0.quota, Quota::CostPerDay);
        assert!(over.to_string().contains("0.5 dollars"), "{over}");
    }

    #[test]
    fn what_is_not_limited_is_never_used_up() {
        let all = Taken {
            tokens: u64::MAX,
            cost: Cost::MOST,
        };
        assert_eq!(Daily::default().standings(all, NOON), Ok(Vec::new()));
        assert!(!Daily::default().is_set());
    }

    #[test]
    fn days_begin_at_midnight_and_before_1970_too() {
        let day = |millis| day_of(Timestamp::from_millis(millis));
        assert_eq!((day(0), day(86_399_999), day(86_400_000)), (0, 0, 1));
        assert_eq!(day(-1), -1);
        assert_eq!(rest_of_day(Timestamp::from_millis(0)), DAY);
        assert_eq!(
            rest_of_day(Timestamp::from_millis(86_399_999)),
            Duration::from_millis(1)
        );
    }

    #[test]
    fn sums_go_up_to_what_can_be_held() {
        let usage = Usage {
            input_tokens: Some(u64::MAX),
            output_tokens: Some(5),
            ..Usage::default()
        };
        let taken = Taken::of(usage, Some(Cost::MOST));
        assert_eq!(taken.plus(taken), taken);
        assert_eq!(Taken::of(Usage::default(), None), Taken::default());
    }
}
