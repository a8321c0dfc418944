//! The fields `RateLimit-Policy` and `RateLimit` of the IETF's draft-ietf-httpapi-ratelimit-headers-10.
//!
//! Units other than requests are named in `qu`; of money there are whole millionths of a dollar, since the fields hold integers.

use std::{fmt, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::conversation::{Quota, Standing};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Where a client stands with one limit, as the fields say it.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The limit's name.
    pub name: &'static str,
    /// How much it is.
    pub limit: u64,
    /// The time that it is for, if it is for one.
    pub window: Option<Duration>,
    /// What it is of, if not requests.
    pub unit: Option<&'static str>,
    /// What is left.
    pub remaining: u64,
    /// After how many seconds there is at least one more than `remaining`, if that is known.
    pub reset: Option<u64>,
}

impl Item {
    /// Adds it to the fields of an answer, unless they speak of that limit already.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let quoted = format!("\"{}\"", self.name);
        let speaks = |value: &HeaderValue| value.as_bytes().starts_with(quoted.as_bytes());
        if headers.get_all(LIMIT).iter().any(speaks) {
            return;
        }
        let mut policy = format!("{quoted};q={}", self.limit);
        add(&mut policy, "w", self.window.map(|window| window.as_secs()));
        add(
            &mut policy,
            "qu",
            self.unit.map(|unit| format!("\"{unit}\"")),
        );
        let mut left = format!("{quoted};r={}", self.remaining);
        add(&mut left, "t", self.reset);
        for (name, value) in [(POLICY, policy), (LIMIT, left)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
    }
}

fn add(item: &mut String, name: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        item.push_str(&format!(";{name}={value}"));
    }
}

impl From<&Standing> for Item {
    fn from(standing: &Standing) -> Self {
        let (window, unit) = match standing.quota {
            Quota::RunsPerAddress | Quota::RunsPerOwner => (Some(Duration::from_mins(1)), None),
            Quota::LiveRuns => (None, Some("live-runs")),
            Quota::TokensPerDay => (Some(Duration::from_hours(24)), Some("tokens")),
            Quota::CostPerDay => (Some(Duration::from_hours(24)), Some("microdollars")),
        };
        Self {
            name: standing.quota.name(),
            limit: standing.limit,
            window,
            unit,
            remaining: standing.remaining,
            reset: standing.reset.map(whole_seconds),
        }
    }
}

/// Whole seconds, rounded up: a client that waits them out is let in.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
        let all = headers.get_all(name).iter();
        all.map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_limit_is_told_once_and_with_its_unit() {
        let mut headers = HeaderMap::new();
        let standing = |quota, reset| Standing {
            quota,
            limit: 5,
            remaining: 2,
            reset,
        };
        for standing in [
            standing(Quota::RunsPerOwner, Some(Duration::from_millis(1_001))),
            standing(Quota::LiveRuns, None),
            standing(Quota::CostPerDay, Some(Duration::from_secs(9))),
            standing(Quota::LiveRuns, None),
        ] {
            Item::from(&standing).tell(&mut headers);
        }
        assert_eq!(
            said(&headers, &POLICY),
            [
                "\"run-creations-of-owner\";q=5;w=60",
                "\"live-runs\";q=5;qu=\"live-runs\"",
                "\"cost-a-day\";q=5;w=86400;qu=\"microdollars\"",
            ]
        );
        assert_eq!(
            said(&headers, &LIMIT),
            [
                "\"run-creations-of-owner\";r=2;t=2",
                "\"live-runs\";r=2",
                "\"cost-a-day\";r=2;t=9",
            ]
        );
    }
}
