//! Prices, and what a request costs by them. Whole numbers only.

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::conversation::{
    cost::{self, Cost},
    time::Timestamp,
    usage::Usage,
};

/// What tokens cost: whole 10⁻¹² dollars for each, which is millionths of a dollar for a million of them. Its JSON is dollars for
/// a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = f64, minimum = 0)]
pub struct Rate(u64);

/// Digits after the point of the dollars for a million tokens.
const PLACES: usize = 6;

/// The most that a million tokens may cost, in millionths of a dollar.
const MOST: u128 = 1_000_000_000_000;

impl Rate {
    /// The rate of so many dollars for a million tokens; `None` if it has more than six digits after the point, is negative, or is
    /// more than a dollar for each token.
    #[must_use]
    pub fn from_dollars(decimal: &str) -> Option<Self> {
        let millionths = cost::whole(decimal, PLACES).filter(|rate| *rate <= MOST)?;
        Some(Self(u64::try_from(millionths).ok()?))
    }

    /// What so many tokens cost, in 10⁻¹² dollars. No product of the two can be too much.
    fn of(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cost::decimal(self.0, PLACES))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        cost::number(self, serializer)
    }
}

/// What each kind of token costs, in dollars for a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rates {
    /// Input that was neither read from a cache nor written into one.
    pub input: Rate,
    /// Input that was read from a cache.
    #[schema(required)]
    pub cached_input: Option<Rate>,
    /// Input that was written into a cache, to be kept for five minutes or the provider's usual time.
    #[schema(required)]
    pub cache_write_5m: Option<Rate>,
    /// Input that was written into a cache, to be kept for an hour. Parley asks for none.
    #[schema(required)]
    pub cache_write_1h: Option<Rate>,
    /// Output, reasoning included.
    pub output: Rate,
}

/// Rates, and when they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Since when.
    pub from: Timestamp,
    /// For which service tier; `None`: the usual one.
    pub service_tier: Option<String>,
    /// For prompts of how many tokens at most; `None`: for all that no other price is for.
    pub max_prompt_tokens: Option<u64>,
    /// The rates.
    pub rates: Rates,
}

/// Words for the usual tier: what a request without any gets, at the usual price.
pub(super) fn is_usual(tier: &str) -> bool {
    matches!(tier, "auto" | "default" | "standard_only")
}

/// Those of `prices` that are in force at that moment: for each service tier the newest ones.
pub(super) fn in_force(prices: &[Price], at: Timestamp) -> Vec<&Price> {
    let newest = |tier: &Option<String>| {
        let begun = prices
            .iter()
            .filter(|p| p.from <= at && p.service_tier == *tier);
        begun.map(|price| price.from).max()
    };
    let holds = |price: &&Price| newest(&price.service_tier) == Some(price.from);
    prices.iter().filter(holds).collect()
}

/// The prices of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// By length of the prompt, short ones first.
    tiers: Vec<Price>,
}

impl Pricing {
    /// What a request of that service tier costs that begins at that moment; `None` where nothing is known.
    pub(super) fn at(prices: &[Price], service_tier: Option<&str>, at: Timestamp) -> Option<Self> {
        let tier = service_tier.filter(|tier| !is_usual(tier));
        let mut tiers: Vec<Price> = in_force(prices, at)
            .into_iter()
            .filter(|price| price.service_tier.as_deref() == tier)
            .cloned()
            .collect();
        tiers.sort_by_key(|price| price.max_prompt_tokens.unwrap_or(u64::MAX));
        (!tiers.is_empty()).then_some(Self { tiers })
    }

    /// What was used, at these prices. `None` where the provider has not said how much went in or came out, where it contradicts
    /// itself, or where no price is known for a part: no part is guessed.
    #[must_use]
    pub fn cost(&self, usage: Usage) -> Option<Cost> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let fits = |price: &&Price| price.max_prompt_tokens.is_none_or(|most| input <= most);
        let rates = self.tiers.iter().find(fits)?.rates;
        let cached = usage.cached_input_tokens.unwrap_or(0);
        let written = usage.cache_write_tokens.unwrap_or(0);
        let fresh = input.checked_sub(cached)?.checked_sub(written)?;
        let part = |rate: Option<Rate>, tokens: u64| match (rate, tokens) {
            (_, 0) => Some(0),
            (rate, tokens) => rate.map(|rate| rate.of(tokens)),
        };
        let parts = rates.input.of(fresh)
            + part(rates.cached_input, cached)?
            + part(rates.cache_write_5m, written)?
            + rates.output.of(output);
        Cost::from_picos(parts)
    }
}
