//! The block `limits:`.

use serde::Deserialize;

use super::Limit;

/// What a provider may send, how many may be connected, and what owners and clients may have at once or within a day.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Limits {
    /// The most text of one turn. More than that, and the attempt fails: an endless answer is cut.
    pub(in crate::settings) turn_text_bytes: Limit<{ 8 * 1024 * 1024 }>,
    /// The largest event of a provider's stream.
    pub(in crate::settings) provider_event_bytes: Limit<{ 1024 * 1024 }>,
    /// The most streams that are open at this process at the same time; one over it is answered 503. If it is not set: no bound.
    pub(in crate::settings) streams: Option<Limit<1>>,
    /// The most of them from one client's address; one over it is answered 429. If it is not set: no bound.
    pub(in crate::settings) streams_per_client: Option<Limit<1>>,
    /// The most connections of clients to one process. One more is answered 503 with `Retry-After` and closed; if very many come at once,
    /// closed without an answer. `/_ping` and `/_health` are answered all the same. If it is not set: no bound.
    pub(in crate::settings) connections: Option<Limit<1>>,
    /// The same for the connections of one client's address, of IPv6 its /64. Proxies of `http.trusted_proxies` are many clients: theirs
    /// count in all alone. No bound in `DEV_MODE`, nor if it is not set.
    pub(in crate::settings) connections_per_client: Option<Limit<1>>,
    pub(in crate::settings) per_owner: PerOwner,
}

/// What one owner of runs may have: a user, or a subject of an issuer. What is over it is answered 429. All processes on the same database count together,
/// of streams on PostgreSQL alone: on a SQLite file each counts its own. If one is not set: no bound.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct PerOwner {
    /// Runs that are started within a minute.
    pub(in crate::settings) run_creations_per_minute: Option<Limit<1>>,
    /// Runs that are not over, at the same time.
    pub(in crate::settings) live_runs: Option<Limit<1>>,
    /// Open streams, those by a ticket for a run of the owner's among them.
    pub(in crate::settings) streams: Option<Limit<1>>,
    /// Tokens, in and out, that providers have counted within a day (UTC); where one has not, say because the turn was stopped or broke
    /// off, a quarter of the bytes that were sent and had come. A run that is going on when they are used up fails before its next turn, with the
    /// code `quota_exceeded`.
    pub(in crate::settings) tokens_per_day: Option<Limit<1>>,
    /// What they cost within a day (UTC), in dollars, where a price is known. For a run that is going on: the same.
    pub(in crate::settings) cost_usd_per_day: Option<Dollars>,
}

/// An amount of dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(try_from = "f64")]
pub(in crate::settings) struct Dollars {
    /// In 10⁻⁶ dollars.
    pub(in crate::settings) micros: u64,
}

/// So many dollars are more than anybody has set in earnest, and every amount up to them is a float that is exact enough.
const MOST: f64 = 1_000_000.0;

impl TryFrom<f64> for Dollars {
    type Error = String;

    fn try_from(dollars: f64) -> Result<Self, String> {
        let micros = (dollars * 1e6).round();
        if !(1.0..=MOST * 1e6).contains(&micros) {
            return Err(format!("must be dollars, 0.000001 to {MOST}"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a whole number within these bounds"
        )]
        let micros = micros as u64;
        Ok(Self { micros })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Dollars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Dollars".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "number", "exclusiveMinimum": 0, "maximum": MOST})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_millionth() {
        let read = |dollars| Dollars::try_from(dollars).map(|dollars| dollars.micros);
        assert_eq!(read(12.5), Ok(12_500_000));
        assert_eq!(read(0.1 + 0.2), Ok(300_000));
        assert_eq!(read(1_000_000.0), Ok(1_000_000_000_000));
        for wrong in [0.0, -1.0, 0.000_000_1, 1_000_001.0, f64::NAN, f64::INFINITY] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
