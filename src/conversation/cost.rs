//! Money, exact to the last digit.
//!
//! Inside it is an integer of 10⁻¹² dollars, in JSON a decimal number of dollars. A binary float between the two holds only about
//! 15 digits, so none is used on the way out: the digits are written as they are (`serde_json`'s raw value, which `flatten` and
//! `tag` pass on untouched when they write). On the way in those two hand numbers over as floats; one that may have lost digits by
//! then is refused, never rounded.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::Error as _};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::usage::Usage;

/// An amount of US dollars: whole 10⁻¹² dollars, at most as many as a signed 64-bit column holds (some nine million dollars).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = f64, minimum = 0)]
pub struct Cost(u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The most that can be held.
    pub const MOST: Self = Self(i64::MAX.unsigned_abs());

    /// That many 10⁻¹² dollars; `None` if there are more than can be held.
    #[must_use]
    pub fn from_picos(picos: u128) -> Option<Self> {
        let held = i64::try_from(picos).ok()?;
        Some(Self(held.unsigned_abs()))
    }

    /// That many 10⁻⁶ dollars, or the most that can be held.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self::from_picos(u128::from(micros) * 1_000_000).unwrap_or(Self::MOST)
    }

    /// How many 10⁻¹² dollars it is.
    #[must_use]
    pub fn picos(self) -> u64 {
        self.0
    }

    /// The sum; `None` if it is more than can be held.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Self::from_picos(u128::from(self.0) + u128::from(other.0))
    }
}

/// Digits after the point.
const PLACES: usize = 12;

/// From here on a float may stand for several amounts: it has more than 15 digits with all its places.
const SURE_BELOW: f64 = 1000.0;

impl fmt::Display for Cost {
    /// Dollars, without zeros at the end and without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.0, PLACES))
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dollars;

        impl de::Visitor<'_> for Dollars {
            type Value = Cost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of dollars, of at most 12 digits after the point")
            }

            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Cost, E> {
                let read = Cost::from_picos(u128::from(dollars) * 1_000_000_000_000);
                read.ok_or_else(|| E::custom("it is more than can be held"))
            }

            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Cost, E> {
                let sure = dollars < SURE_BELOW;
                let read = whole(&dollars.to_string(), PLACES).filter(|_| sure);
                read.and_then(Cost::from_picos)
                    .ok_or_else(|| E::custom("it cannot be read exactly"))
            }
        }

        deserializer.deserialize_any(Dollars)
    }
}

/// Writes a decimal number as it stands.
pub(super) fn number<S: Serializer>(
    decimal: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let raw = RawValue::from_string(decimal.to_string()).map_err(S::Error::custom)?;
    raw.serialize(serializer)
}

/// A whole number of 10^-places as a decimal.
pub(super) fn decimal(whole: u64, places: usize) -> String {
    let digits = format!("{whole:0>width$}", width = places + 1);
    let (before, after) = digits.split_at(digits.len() - places);
    match after.trim_end_matches('0') {
        "" => before.to_owned(),
        after => format!("{before}.{after}"),
    }
}

/// A decimal as a whole number of 10^-places; `None` for what is none, is negative, or has more places.
pub(super) fn whole(decimal: &str, places: usize) -> Option<u128> {
    let (before, after) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let after = after.trim_end_matches('0');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if before.is_empty() || !digits(before) || !digits(after) || after.len() > places {
        return None;
    }
    format!("{before}{after:0<places$}").parse().ok()
}

/// What several attempts took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// How many attempts there were.
    pub attempts: u32,
    /// What providers had counted for them.
    pub usage: Usage,
    /// The sum of what is known.
    pub cost: Cost,
    /// Whether all of it is known.
    pub complete: bool,
}

impl Spent {
    /// No attempt: nothing was spent, which is known.
    pub const NOTHING: Self = Self {
        attempts: 0,
        usage: Usage::NOTHING,
        cost: Cost::ZERO,
        complete: true,
    };

    /// With one more attempt. `ended`: whether its provider had said its last word; before that, what it counted may grow.
    pub fn add(&mut self, usage: Usage, cost: Option<Cost>, ended: bool) {
        self.attempts = self.attempts.saturating_add(1);
        self.usage = self.usage.plus(usage);
        match cost.and_then(|cost| self.cost.plus(cost)) {
            Some(sum) => self.cost = sum,
            None => self.complete = false,
        }
        self.complete &= ended;
    }

    /// The amount to show: `None` where nothing is known.
    #[must_use]
    pub fn cost_usd(&self) -> Option<Cost> {
        (self.complete || self.cost > Cost::ZERO).then_some(self.cost)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_is_written_with_all_its_digits_and_no_more() {
        for (picos, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (1_500_000_000_000, "1.5"),
            (123_456_789_012_345_678, "123456.789012345678"),
            (9_223_372_036_854_775_807, "9223372.036854775807"),
            (20_000_000_000_000, "20"),
        ] {
            let cost = Cost::from_picos(picos).unwrap();
            assert_eq!(cost.to_string(), text);
            assert_eq!(serde_json::to_string(&cost).unwrap(), text);
        }
        assert_eq!(Cost::from_picos(1 << 63), None);
    }

    #[test]
    fn an_amount_is_read_exactly_or_not_at_all() {
        let read = |text: &str| serde_json::from_str::<Cost>(text).ok().map(Cost::picos);
        assert_eq!(read("0.1"), Some(100_000_000_000));
        assert_eq!(read("999.999999999999"), Some(999_999_999_999_999));
        assert_eq!(read("7"), Some(7_000_000_000_000));
        for bad in [
            "-1",
            "-0.5",
            "0.0000000000001",
            "1e-13",
            "1234.5",
            "10000000",
            "\"1\"",
            "null",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let mut spent = Spent::NOTHING;
        assert_eq!(spent.cost_usd(), Some(Cost::ZERO));
        spent.add(Usage::default(), None, true);
        assert_eq!((spent.cost_usd(), spent.complete), (None, false));
        spent.add(Usage::default(), Some(Cost(5)), true);
        assert_eq!((spent.cost_usd(), spent.complete), (Some(Cost(5)), false));
        let mut cut = Spent::NOTHING;
        cut.add(Usage::default(), Some(Cost(5)), false);
        assert_eq!((cut.cost_usd(), cut.complete), (Some(Cost(5)), false));
    }

    proptest! {
        #[test]
        fn amounts_below_a_thousand_dollars_come_back_through_json(picos in 0..1_000_000_000_000_000u128) {
            let cost = Cost::from_picos(picos).unwrap();
            let text = serde_json::to_string(&cost).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cost>(&text).unwrap(), cost);
            prop_assert_eq!(whole(&text, PLACES), Some(picos));
        }

        #[test]
        fn sums_never_go_over_what_can_be_held(amounts in prop::collection::vec(any::<i64>(), 0..20)) {
            let mut spent = Spent::NOTHING;
            let mut known: u128 = 0;
            for amount in amounts {
                let cost = Cost::from_picos(u128::from(amount.unsigned_abs()));
                let before = spent.cost;
                spent.add(Usage::default(), cost, true);
                prop_assert!(spent.cost >= before && i64::try_from(spent.cost.picos()).is_ok());
                known += cost.map_or(0, |cost| u128::from(cost.picos()));
                prop_assert!(!spent.complete || u128::from(spent.cost.picos()) == known);
            }
        }
    }
}
