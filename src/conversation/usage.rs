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

    /// What is presumed to have been used where nobody has counted it: by quotas alone, which would otherwise not see what is stopped before
    /// its end. Never to be shown.
    ///
    /// `sent` and `heard` are bytes. Four of them are taken for a token: few texts have less in one, and to count the tokens of each text
    /// that is stopped would be work that anybody could ask for. An answer that is `open` may have had more than the provider had said by
    /// then; one that is not had what the provider says.
    #[must_use]
    pub fn presumed(self, open: bool, sent: usize, heard: usize) -> Self {
        let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
        let heard = tokens(heard);
        let output = match self.output_tokens {
            Some(counted) if open => counted.max(heard),
            counted => counted.unwrap_or(heard),
        };
        // Parts of what is not known are not, either.
        let counted = self.input_tokens.map_or(Self::NOTHING, |_| self);
        Self {
            input_tokens: counted.input_tokens.or(Some(tokens(sent))),
            output_tokens: Some(output),
            ..counted
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
    fn what_nobody_has_counted_is_presumed() {
        let tokens = |usage: Usage| [usage.input_tokens, usage.output_tokens].map(Option::unwrap);
        let nothing = Usage::NOTHING;
        assert_eq!(tokens(nothing.presumed(true, 401, 8)), [101, 2]);
        assert_eq!(tokens(nothing.presumed(false, 0, 0)), [0, 0]);
        // As a provider that counts at the beginning, and at the end, has it.
        let begun = Usage {
            input_tokens: Some(7),
            cached_input_tokens: Some(5),
            output_tokens: Some(1),
            ..Usage::default()
        };
        let open = begun.presumed(true, 401, 800);
        assert_eq!(tokens(open), [7, 200]);
        assert_eq!(open.cached_input_tokens, Some(5));
        assert_eq!(tokens(begun.presumed(true, 401, 2)), [7, 1]);
        assert_eq!(tokens(begun.presumed(false, 401, 800)), [7, 1]);
        let cached = Usage {
            input_tokens: None,
            ..begun
        };
        let presumed = cached.presumed(true, 4, 0);
        assert_eq!(tokens(presumed), [1, 1]);
        assert_eq!(presumed.cached_input_tokens, None);
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
