//! Who is asked to speak for a bot: its own model, and those that stand in for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{
    failure::FailureCode,
    retry::RetryPolicy,
    validate::{no_control, not_blank},
};

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which configured provider is asked.
    #[validate(
        length(min = 1, max = 64, message = "must have 1 to 64 characters"),
        custom(function = "no_control")
    )]
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    /// For which of its models.
    #[validate(
        length(min = 1, max = 256, message = "must have 1 to 256 characters"),
        custom(function = "no_control"),
        custom(function = "not_blank")
    )]
    #[schema(min_length = 1, max_length = 256)]
    pub model: String,
}

/// An attempt of the open turn that its provider failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Who was asked.
    pub target: Target,
    /// What went wrong.
    pub code: FailureCode,
    /// Whether the same target is worth another attempt.
    pub retryable: bool,
}

impl RetryPolicy {
    /// Who is asked next in a turn in which these attempts have failed: the first target that has not used up its attempts. `None`: the
    /// turn has failed.
    #[must_use]
    pub fn next<'a>(&self, targets: &'a [Target], failed: &[FailedAttempt]) -> Option<&'a Target> {
        // A text over our own limit would be as long again.
        if failed
            .iter()
            .any(|attempt| attempt.code == FailureCode::TextTooLong)
        {
            return None;
        }
        targets.iter().find(|target| {
            let mut count = 0;
            let mut mine = failed.iter().filter(|attempt| attempt.target == **target);
            mine.all(|attempt| {
                count += 1;
                attempt.retryable && count < self.max_attempts
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(model: &str) -> Target {
        Target {
            provider: "p".into(),
            model: model.into(),
        }
    }

    fn failed(model: &str, code: FailureCode) -> FailedAttempt {
        FailedAttempt {
            target: target(model),
            code,
            retryable: code.retryable(),
        }
    }

    #[test]
    fn each_target_has_its_attempts_and_then_the_next_is_asked() {
        let policy = RetryPolicy {
            max_attempts: 2,
            base: Duration::ZERO,
            cap: Duration::ZERO,
            retry_after_cap: Duration::ZERO,
        };
        let targets = [target("a"), target("b")];
        let next = |failed: &[FailedAttempt]| {
            let next = policy.next(&targets, failed);
            next.map(|target| target.model.clone())
        };
        let (a, b) = (
            failed("a", FailureCode::Server),
            failed("b", FailureCode::Server),
        );
        assert_eq!(next(&[]).as_deref(), Some("a"));
        assert_eq!(next(std::slice::from_ref(&a)).as_deref(), Some("a"));
        assert_eq!(next(&[a.clone(), a]).as_deref(), Some("b"));
        let hopeless = failed("a", FailureCode::Auth);
        assert_eq!(next(std::slice::from_ref(&hopeless)).as_deref(), Some("b"));
        assert_eq!(next(&[hopeless, b.clone(), b]), None);
        assert_eq!(next(&[failed("a", FailureCode::TextTooLong)]), None);
    }
}
