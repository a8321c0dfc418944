//! The counters and histograms: what has happened since the process started.

mod attempts;
mod kinds;
mod runs;
mod service;

use prometheus_client::{encoding::prometheus_text, registry::Registry};

use self::{attempts::Attempts, runs::Runs, service::Service};
use super::labels::Known;
use crate::conversation::{Counts, Happening, Tally};

/// Everything that is counted. Each application has its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    known: Known,
    runs: Runs,
    attempts: Attempts,
    service: Service,
}

impl Metrics {
    /// Metrics that name these models.
    #[must_use]
    pub fn new(known: Known) -> Self {
        let mut registry = Registry::with_prefix("parley");
        Self {
            runs: Runs::new(&mut registry),
            attempts: Attempts::new(&mut registry, &known),
            service: Service::new(&mut registry),
            registry,
            known,
        }
    }

    /// Takes note of the routes, by method and template: until they are answered by an error of ours, that is zero.
    pub fn expect<'a>(&self, routes: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (method, route) in routes {
            self.service.expect(method, route);
        }
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn write(&self, text: &mut String) {
        // Writing into a string cannot fail.
        let _ = prometheus_text::encode(text, &self.registry);
    }
}

impl Counts for Metrics {
    fn count(&self, happening: Happening<'_>) {
        match happening {
            Happening::RunAccepted => self.runs.accepted(),
            Happening::RunEnded(end) => self.runs.ended(end),
            Happening::RunRecovered(cause) => self.runs.recovered(cause),
            Happening::LeaseLost => self.runs.lost(),
            Happening::TurnEnded { status, took } => self.runs.turn_ended(status, took),
            Happening::AttemptEnded(end) => self.attempts.ended(&self.known, end),
            Happening::AttemptDelayed { provider, code } => {
                self.attempts.delayed(&self.known, provider, code);
            }
            Happening::BreakerOpened { provider, model } => {
                self.attempts.left_alone(&self.known, provider, model);
            }
            Happening::DatabaseAsked {
                what,
                took,
                trouble,
            } => self.service.database_asked(what, took, trouble),
            Happening::LoginRefused(reason) => self.service.login_refused(reason),
            Happening::RateLimited { policy } => self.service.rate_limited(policy),
            Happening::ConnectionRefused { limit } => self.service.connection_refused(limit),
            Happening::RequestAnswered {
                method,
                route,
                status,
                took,
            } => self.service.answered(method, route, status, took),
        }
    }

    fn bytes_sent(&self, route: Option<&str>) -> Tally {
        self.service.bytes_sent(route)
    }
}
