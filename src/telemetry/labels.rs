//! What labels may say.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::encoding::EncodeLabelSet;

use crate::conversation::{Breakdown, DatabaseCall, DatabaseTrouble, LoginRefusal, MessageStatus};

/// Stands for whatever is not known.
const OTHER: &str = "other";

/// Stands for the route of an address that has none.
const NO_ROUTE: &str = "none";

/// The providers and models that stand under their own names.
#[derive(Debug, Clone, Default)]
pub struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    /// These models of these providers.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let sets = models.into_iter();
        Self(
            sets.map(|(provider, models)| (provider, models.into_iter().collect()))
                .collect(),
        )
    }

    pub(super) fn provider(&self, name: &str) -> String {
        let known = self.0.contains_key(name);
        if known { name } else { OTHER }.to_owned()
    }

    pub(super) fn model(&self, provider: &str, model: &str) -> Model {
        let models = self.0.get(provider);
        let known = models.is_some_and(|models| models.contains(model));
        Model {
            provider: self.provider(provider),
            model: if known { model } else { OTHER }.to_owned(),
        }
    }

    /// All that [`Known::model`] may answer for a known provider.
    pub(super) fn all(&self) -> impl Iterator<Item = Model> {
        self.0.iter().flat_map(|(provider, models)| {
            let models = models.iter().map(String::as_str);
            models.chain([OTHER]).map(|model| Model {
                provider: provider.clone(),
                model: model.to_owned(),
            })
        })
    }
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Model {
    pub(super) provider: String,
    pub(super) model: String,
}

/// How a provider request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) outcome: &'static str,
}

/// How a provider failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failed {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) code: &'static str,
}

/// Why a provider is not asked yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Delayed {
    pub(super) provider: String,
    pub(super) code: &'static str,
}

/// What a provider counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Tokens {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) kind: &'static str,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct End {
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Status {
    pub(super) status: &'static str,
}

/// Why something happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

/// What was more than may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Limit {
    pub(super) limit: &'static str,
}

/// What the database was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) call: &'static str,
}

/// How the database failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Trouble {
    pub(super) call: &'static str,
    pub(super) kind: &'static str,
}

/// What a connection does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct State {
    pub(super) state: &'static str,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) route: String,
}

/// A route and how it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) route: String,
}

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answer {
    pub(super) method: &'static str,
    pub(super) route: String,
    pub(super) status: u16,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
}

/// Methods are words of the client's.
pub(super) fn method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = known.into_iter().find(|known| *known == method);
    known.unwrap_or(OTHER)
}

pub(super) fn route(template: Option<&str>) -> String {
    template.unwrap_or(NO_ROUTE).to_owned()
}

pub(super) fn turn(status: MessageStatus) -> Status {
    let status = match status {
        MessageStatus::Completed => "completed",
        MessageStatus::Interrupted => "interrupted",
        MessageStatus::Failed => "failed",
    };
    Status { status }
}

pub(super) fn breakdown(cause: Breakdown) -> Reason {
    let reason = match cause {
        Breakdown::Process => "process",
        Breakdown::Panic => "panic",
        Breakdown::Database => "database",
    };
    Reason { reason }
}

pub(super) fn call(call: DatabaseCall) -> &'static str {
    match call {
        DatabaseCall::Begin => "begin",
        DatabaseCall::Statement => "statement",
        DatabaseCall::Commit => "commit",
        DatabaseCall::Rollback => "rollback",
    }
}

pub(super) fn trouble(trouble: DatabaseTrouble) -> &'static str {
    match trouble {
        DatabaseTrouble::Passing => "passing",
        DatabaseTrouble::Refused => "refused",
    }
}

pub(super) fn refusal(refusal: LoginRefusal) -> &'static str {
    match refusal {
        LoginRefusal::NoCredentials => "no_credentials",
        LoginRefusal::WrongCredentials => "wrong_credentials",
        LoginRefusal::WrongToken => "wrong_token",
        LoginRefusal::WrongTicket => "wrong_ticket",
        LoginRefusal::ExpiredToken => "expired_token",
        LoginRefusal::IssuerUnavailable => "issuer_unavailable",
        LoginRefusal::Busy => "busy",
        LoginRefusal::TooMany => "too_many",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_make_up_is_one_word() {
        let known = Known::new([("p".to_owned(), vec!["m".to_owned()])]);
        let label = |provider: &str, model: &str| {
            let label = known.model(provider, model);
            format!("{} {}", label.provider, label.model)
        };
        assert_eq!(label("p", "m"), "p m");
        assert_eq!(label("p", "n"), "p other");
        assert_eq!(label("q", "m"), "other other");
        assert_eq!((method("GET"), method("BREW")), ("GET", "other"));
        assert_eq!(known.all().count(), 2);
    }
}
