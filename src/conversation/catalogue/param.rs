//! The parameters that a bot may have, and the rules by which a model takes them.

use std::fmt;

use crate::conversation::bot::Given;

/// A parameter, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamName {
    /// `max_tokens`
    MaxTokens,
    /// `temperature`
    Temperature,
    /// `top_p`
    TopP,
    /// `top_k`
    TopK,
    /// `stop`
    Stop,
    /// `seed`
    Seed,
    /// `presence_penalty`
    PresencePenalty,
    /// `frequency_penalty`
    FrequencyPenalty,
    /// `reasoning_effort`
    ReasoningEffort,
    /// `thinking_budget_tokens`
    ThinkingBudgetTokens,
    /// `verbosity`
    Verbosity,
    /// `service_tier`
    ServiceTier,
}

impl ParamName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 12] = [
        Self::MaxTokens,
        Self::Temperature,
        Self::TopP,
        Self::TopK,
        Self::Stop,
        Self::Seed,
        Self::PresencePenalty,
        Self::FrequencyPenalty,
        Self::ReasoningEffort,
        Self::ThinkingBudgetTokens,
        Self::Verbosity,
        Self::ServiceTier,
    ];

    /// The name in the API and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::Temperature => "temperature",
            Self::TopP => "top_p",
            Self::TopK => "top_k",
            Self::Stop => "stop",
            Self::Seed => "seed",
            Self::PresencePenalty => "presence_penalty",
            Self::FrequencyPenalty => "frequency_penalty",
            Self::ReasoningEffort => "reasoning_effort",
            Self::ThinkingBudgetTokens => "thinking_budget_tokens",
            Self::Verbosity => "verbosity",
            Self::ServiceTier => "service_tier",
        }
    }

    /// The parameter of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|param| param.as_str() == name)
    }

    /// The word for the kind of value that it has.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::MaxTokens | Self::TopK | Self::Seed | Self::ThinkingBudgetTokens => "integer",
            Self::Temperature | Self::TopP | Self::PresencePenalty | Self::FrequencyPenalty => {
                "number"
            }
            Self::Stop => "texts",
            Self::ReasoningEffort | Self::Verbosity | Self::ServiceTier => "choice",
        }
    }
}

/// What values a parameter may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A whole number.
    Integer {
        /// The least.
        min: Option<i64>,
        /// The most.
        max: Option<i64>,
    },
    /// A number.
    Number {
        /// The least.
        min: Option<f64>,
        /// The most.
        max: Option<f64>,
    },
    /// One of these words.
    Choice(Vec<String>),
    /// A list of texts.
    Texts {
        /// The most entries.
        max_items: Option<u64>,
    },
}

/// How a model takes a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The values that it may have.
    pub shape: Shape,
    /// Another parameter that has to be given too, with one of these values.
    pub only_with: Option<(ParamName, Vec<String>)>,
    /// Parameters that must not be given beside it.
    pub not_with: Vec<ParamName>,
    /// A parameter that must be greater, where it is given.
    pub less_than: Option<ParamName>,
}

impl Rule {
    /// Bounds a whole number from above, unless it is bounded closer already.
    pub(super) fn at_most(&mut self, most: u64) {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        if let Shape::Integer { max, .. } = &mut self.shape {
            *max = Some(max.map_or(most, |max| max.min(most)));
        }
    }

    /// Takes words out of the choice.
    pub(super) fn without(&mut self, out: impl Fn(&str) -> bool) {
        if let Shape::Choice(choices) = &mut self.shape {
            choices.retain(|choice| !out(choice));
        }
    }

    /// What is wrong with a value, among all that are given.
    pub(super) fn check(
        &self,
        value: &Given<'_>,
        all: &[(ParamName, Given<'_>)],
    ) -> Option<String> {
        if let Some(reason) = self.shape.check(value) {
            return Some(reason);
        }
        let given = |name: ParamName| all.iter().find(|(other, _)| *other == name).map(|(_, v)| v);
        if let Some((other, values)) = &self.only_with {
            let fine = matches!(given(*other), Some(Given::Text(text)) if values.iter().any(|v| v == text));
            if !fine {
                let values = values.join(" or ");
                return Some(format!(
                    "is taken only together with {} {values}",
                    other.as_str()
                ));
            }
        }
        if let Some(other) = self.not_with.iter().find(|other| given(**other).is_some()) {
            return Some(format!("is not taken together with {}", other.as_str()));
        }
        match (self.less_than, value) {
            (Some(other), Given::Integer(value)) => match given(other) {
                Some(Given::Integer(bound)) if value >= bound => Some(format!(
                    "must be less than {}, which is {bound}",
                    other.as_str()
                )),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Shape {
    fn check(&self, value: &Given<'_>) -> Option<String> {
        match (self, value) {
            (Self::Integer { min, max }, Given::Integer(value)) => {
                let out =
                    min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max);
                out.then(|| range(min.as_ref(), max.as_ref()))
            }
            (Self::Number { min, max }, Given::Number(value)) => {
                let out =
                    min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max);
                out.then(|| range(min.as_ref(), max.as_ref()))
            }
            (Self::Choice(choices), Given::Text(value)) => {
                let known = choices.iter().any(|choice| choice == value);
                (!known).then(|| format!("must be one of {}", choices.join(", ")))
            }
            (Self::Texts { max_items }, Given::Texts(count)) => max_items
                .filter(|max| count > max)
                .map(|max| format!("must have at most {max} entries")),
            // A file cannot give a parameter another kind than its own.
            _ => Some("is of another kind".to_owned()),
        }
    }
}

fn range<T: fmt::Display>(min: Option<&T>, max: Option<&T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("must be from {min} to {max}"),
        (Some(min), None) => format!("must be at least {min}"),
        (None, Some(max)) => format!("must be at most {max}"),
        (None, None) => "is out of range".to_owned(),
    }
}
