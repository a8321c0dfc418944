//! What a provider says it has counted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Token counts of one provider request, or the sum of several. Each is `None` where the provider said nothing.
///
/// `input_tokens` is all that went in, cached and cache-written included; `reasoning_tokens` is a part of `output_tokens`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Everything that went in, in tokens.
    #[schema(required)]
    pub input_tokens: Option<u64>,
    /// The part of the input that was read from the provider's prompt cache.
    #[schema(required)]
    pub cached_input_tokens: Option<u64>,
    /// The part of the input that was written into the provider's prompt cache.
    #[schema(required)]
    pub cache_write_tokens: Option<u64>,
    /// Everything that came out, reasoning included.
    #[schema(required)]
    pub output_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    #[schema(required)]
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Nothing said.
    pub const NOTHING: Self = Self {
        input_tokens: None,
        cached_input_tokens: None,
        cache_write_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
    };

    /// The sum of both, field by field; a field stays `None` only where both are.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            cached_input_tokens: add(self.cached_input_tokens, other.cached_input_tokens),
            cache_write_tokens: add(self.cache_write_tokens, other.cache_write_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
        }
    }

    /// What `newer` says, and what `self` said where `newer` is silent. For providers that report cumulative counts in pieces.
    #[must_use]
    pub fn updated_by(self, newer: Self) -> Self {
        Self {
            input_tokens: newer.input_tokens.or(self.input_tokens),
            cached_input_tokens: newer.cached_input_tokens.or(self.cached_input_tokens),
            cache_write_tokens: newer.cache_write_tokens.or(self.cache_write_tokens),
            output_tokens: newer.output_tokens.or(self.output_tokens),
            reasoning_tokens: newer.reasoning_tokens.or(self.reasoning_tokens),
        }
    }

    /// Whether the provider said nothing at all.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn sums_keep_unknown_apart_from_zero() {
        let a = Usage {
            input_tokens: Some(3),
            ..Usage::default()
        };
        let b = Usage {
            input_tokens: Some(4),
            output_tokens: Some(0),
            ..Usage::default()
        };
        let sum = a.plus(b);
        assert_eq!(
            (sum.input_tokens, sum.output_tokens, sum.reasoning_tokens),
            (Some(7), Some(0), None)
        );
    }

    #[test]
    fn a_silent_update_does_not_erase() {
        let start = Usage {
            input_tokens: Some(9),
            output_tokens: Some(1),
            ..Usage::default()
        };
        let end = Usage {
            output_tokens: Some(5),
            ..Usage::default()
        };
        assert_eq!(
            start.updated_by(end),
            Usage {
                input_tokens: Some(9),
                output_tokens: Some(5),
                ..Usage::default()
            }
        );
    }
}
