//! What is asked of providers, and what comes of it.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::kinds::{Dollars, Timed, observe, register, timed};
use crate::{
    conversation::{AttemptEnd, FailureCode},
    telemetry::labels::{Delayed, Failed, Known, Model, Outcome, Tokens},
};

/// Bounds of buckets, in seconds: of whole answers, and of their first words.
const ANSWERS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0,
];
const FIRST_DELTAS: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0,
];

#[derive(Debug)]
pub(super) struct Attempts {
    all: Family<Outcome, Counter>,
    durations: Timed<Model>,
    first_deltas: Timed<Model>,
    errors: Family<Failed, Counter>,
    retries: Family<Failed, Counter>,
    delays: Family<Delayed, Counter>,
    breaker_openings: Family<Model, Counter>,
    deltas: Family<Model, Counter>,
    tokens: Family<Tokens, Counter>,
    cost: Family<Model, Dollars>,
    unpriced: Family<Model, Counter>,
}

impl Attempts {
    pub(super) fn new(registry: &mut Registry, known: &Known) -> Self {
        let attempts = Self {
            all: register(
                registry,
                "attempts",
                "Provider requests that ended, or were found to be lost, by outcome",
            ),
            durations: timed(
                registry,
                "attempt_duration_seconds",
                "Provider requests, from sending them to the end of the answer",
                || Histogram::new(ANSWERS),
            ),
            first_deltas: timed(
                registry,
                "first_delta_seconds",
                "Provider requests, from sending them to the first delta that was shown",
                || Histogram::new(FIRST_DELTAS),
            ),
            errors: register(
                registry,
                "provider_errors",
                "Provider requests that the provider failed, by error code",
            ),
            retries: register(
                registry,
                "retries",
                "Failed provider requests after which the same turn was asked for again, by error code",
            ),
            delays: register(
                registry,
                "attempts_delayed",
                "Provider requests that had to wait or went elsewhere: overloaded is an open breaker, rate_limited a limit",
            ),
            breaker_openings: register(
                registry,
                "breaker_openings",
                "How often a closed breaker opened because its model failed too often",
            ),
            deltas: register(registry, "deltas", "Deltas that were shown"),
            tokens: register(
                registry,
                "tokens",
                "Tokens as providers count them; cached_input and cache_write are parts of input, reasoning is a part of output",
            ),
            cost: register(
                registry,
                "cost_dollars",
                "What provider requests cost, as far as it is known, in US dollars",
            ),
            unpriced: register(
                registry,
                "unpriced_attempts",
                "Provider requests whose cost is not known",
            ),
        };
        // As for runs.
        for model in known.all() {
            drop(attempts.breaker_openings.get_or_create(&model));
        }
        attempts
    }

    /// From the first request to a model on, its errors are zero until there are some. Not from the start: most of the models that are
    /// known are never asked.
    fn begin_at_zero(&self, labels: &Model) {
        for code in FailureCode::ALL {
            if code.is_of_an_attempt() {
                drop(self.errors.get_or_create(&failed(labels, code)));
            }
        }
    }

    pub(super) fn ended(&self, known: &Known, end: &AttemptEnd<'_>) {
        let labels = known.model(&end.target.provider, &end.target.model);
        if self.deltas.get(&labels).is_none() {
            self.begin_at_zero(&labels);
        }
        let Model { provider, model } = labels.clone();
        let outcome = Outcome {
            provider,
            model,
            outcome: end.outcome,
        };
        self.all.get_or_create(&outcome).inc();
        if let Some(took) = end.took {
            observe(&self.durations, &labels, took);
        }
        if let Some(first_delta) = end.first_delta {
            observe(&self.first_deltas, &labels, first_delta);
        }
        if let Some(code) = end.failure {
            let failed = failed(&labels, code);
            self.errors.get_or_create(&failed).inc();
            if end.repeated {
                self.retries.get_or_create(&failed).inc();
            }
        }
        self.deltas.get_or_create(&labels).inc_by(end.deltas);
        self.charge(labels, end);
    }

    /// Tokens and money.
    fn charge(&self, labels: Model, end: &AttemptEnd<'_>) {
        let (cost, unpriced) = (
            self.cost.get_or_create_owned(&labels),
            self.unpriced.get_or_create_owned(&labels),
        );
        match end.cost {
            Some(amount) => cost.0.add(amount.picos()),
            None => {
                unpriced.inc();
            }
        }
        let Model { provider, model } = labels;
        for (kind, count) in [
            ("input", end.usage.input_tokens),
            ("cached_input", end.usage.cached_input_tokens),
            ("cache_write", end.usage.cache_write_tokens),
            ("output", end.usage.output_tokens),
            ("reasoning", end.usage.reasoning_tokens),
        ] {
            let labels = Tokens {
                provider: provider.clone(),
                model: model.clone(),
                kind,
            };
            let tokens = self.tokens.get_or_create(&labels);
            tokens.inc_by(count.unwrap_or(0));
        }
    }

    pub(super) fn delayed(&self, known: &Known, provider: &str, code: FailureCode) {
        let labels = Delayed {
            provider: known.provider(provider),
            code: code.as_str(),
        };
        self.delays.get_or_create(&labels).inc();
    }

    pub(super) fn left_alone(&self, known: &Known, provider: &str, model: &str) {
        let labels = known.model(provider, model);
        self.breaker_openings.get_or_create(&labels).inc();
    }
}

fn failed(labels: &Model, code: FailureCode) -> Failed {
    let Model { provider, model } = labels.clone();
    Failed {
        provider,
        model,
        code: code.as_str(),
    }
}
