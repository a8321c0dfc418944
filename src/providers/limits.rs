//! What providers say of their limits in the headers of any answer: once nothing is left, there is no use in asking before the reset.
//!
//! `OpenAI` and those like it: `x-ratelimit-remaining-requests: 0` and `x-ratelimit-reset-requests: 1m30.5s`. Anthropic:
//! `anthropic-ratelimit-requests-remaining: 0` and `anthropic-ratelimit-requests-reset:` with an RFC 3339 time. Both have the same for
//! tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;

use crate::conversation::Timestamp;

const OPENAI: [&str; 2] = ["requests", "tokens"];
const ANTHROPIC: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// How long the provider has nothing left for us; `None` if it says nothing of the kind.
pub(super) fn announced(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let of_openai = OPENAI.iter().filter_map(|what| {
        let spent = text(&format!("x-ratelimit-remaining-{what}"))? == "0";
        let reset = text(&format!("x-ratelimit-reset-{what}"))?;
        duration(reset).filter(|_| spent)
    });
    let of_anthropic = ANTHROPIC.iter().filter_map(|what| {
        let spent = text(&format!("anthropic-ratelimit-{what}-remaining"))? == "0";
        let reset: Timestamp = text(&format!("anthropic-ratelimit-{what}-reset"))?
            .parse()
            .ok()?;
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let reset = Duration::from_millis(u64::try_from(reset.as_millis()).ok()?);
        reset.checked_sub(now).filter(|_| spent)
    });
    of_openai.chain(of_anthropic).max()
}

/// `250ms`, `1.5s`, `6m0s`, `1h2m3s`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn what_is_spent_is_waited_for() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let announced = |pairs: &[(&'static str, &'static str)]| announced(&headers(pairs), now);
        let left = [
            ("x-ratelimit-remaining-requests", "3"),
            ("x-ratelimit-reset-requests", "1s"),
        ];
        assert_eq!(announced(&left), None);
        let spent = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m30.5s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "250ms"),
        ];
        assert_eq!(announced(&spent), Some(Duration::from_millis(90_500)));
        let anthropic = [
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2001-09-09T01:47:00Z",
            ),
        ];
        assert_eq!(announced(&anthropic), Some(Duration::from_secs(20)));
        let nonsense = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "soon"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "1999-01-01T00:00:00Z"),
        ];
        assert_eq!(announced(&nonsense), None);
    }
}
