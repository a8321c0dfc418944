//! The service around the runs: requests, who is turned away, the database.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::kinds::{Sum, Timed, observe, register, timed};
use crate::{
    conversation::{DatabaseCall, DatabaseTrouble, LoginRefusal, Tally},
    telemetry::labels::{
        Answer, Call, Limit, Reason, Request, Route, Trouble, call, method, refusal, route, trouble,
    },
};

/// Bounds of buckets, in seconds: of our answers, and of the database's.
const ANSWERS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const CALLS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// The limit that is always there; generated routes add theirs.
const RUN_CREATIONS: Limit = Limit {
    limit: "run-creations",
};

/// The limits on connections.
const CONNECTIONS: [&str; 2] = ["connections", "connections_per_client"];

/// The statuses of answers that are ours to mend.
const OUR_ERRORS: [u16; 2] = [500, 503];

#[derive(Debug)]
pub(super) struct Service {
    database_calls: Timed<Call>,
    database_errors: Family<Trouble, Counter>,
    login_refusals: Family<Reason, Counter>,
    rate_limited: Family<Limit, Counter>,
    connections_refused: Family<Limit, Counter>,
    requests: Family<Answer, Counter>,
    request_durations: Timed<Request>,
    bytes_sent: Family<Route, Sum>,
}

impl Service {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let service = Self {
            database_calls: timed(
                registry,
                "database_call_duration_seconds",
                "Calls to the database, from the wait for a connection on; on SQLite those that write wait for their turn, too",
                || Histogram::new(CALLS),
            ),
            database_errors: register(
                registry,
                "database_errors",
                "Calls that the database failed, in a way that passes or by refusing what it was given",
            ),
            login_refusals: register(
                registry,
                "auth_failures",
                "Requests that were not let in; no_credentials is how browsers begin",
            ),
            rate_limited: register(
                registry,
                "rate_limited",
                "Requests that were more than a client may make",
            ),
            connections_refused: register(
                registry,
                "connections_refused",
                "Connections that were refused because there were as many as there may be",
            ),
            requests: register(
                registry,
                "http_requests",
                "Requests by method, route and status of the answer",
            ),
            request_durations: timed(
                registry,
                "http_request_duration_seconds",
                "Requests, until the head of the answer was there: a stream goes on after that",
                || Histogram::new(ANSWERS),
            ),
            bytes_sent: register(
                registry,
                "http_response_bytes",
                "Bytes of answers' bodies, those of open streams included",
            ),
        };
        service.begin_at_zero();
        service
    }

    /// As for runs.
    fn begin_at_zero(&self) {
        for reason in [
            LoginRefusal::NoCredentials,
            LoginRefusal::WrongCredentials,
            LoginRefusal::WrongToken,
            LoginRefusal::WrongTicket,
            LoginRefusal::ExpiredToken,
            LoginRefusal::IssuerUnavailable,
            LoginRefusal::Busy,
            LoginRefusal::TooMany,
        ] {
            drop(self.login_refusals.get_or_create(&Reason {
                reason: refusal(reason),
            }));
        }
        drop(self.rate_limited.get_or_create(&RUN_CREATIONS));
        for limit in CONNECTIONS {
            drop(self.connections_refused.get_or_create(&Limit { limit }));
        }
        for what in [
            DatabaseCall::Begin,
            DatabaseCall::Statement,
            DatabaseCall::Commit,
        ] {
            let call = call(what);
            drop(self.database_calls.get_or_create(&Call { call }));
            for kind in [DatabaseTrouble::Passing, DatabaseTrouble::Refused] {
                let kind = trouble(kind);
                drop(self.database_errors.get_or_create(&Trouble { call, kind }));
            }
        }
    }

    pub(super) fn expect(&self, word: &str, template: &str) {
        for status in OUR_ERRORS {
            let (method, route) = (method(word), route(Some(template)));
            drop(self.requests.get_or_create(&Answer {
                method,
                route,
                status,
            }));
        }
    }

    pub(super) fn database_asked(
        &self,
        what: DatabaseCall,
        took: Duration,
        kind: Option<DatabaseTrouble>,
    ) {
        let call = call(what);
        observe(&self.database_calls, &Call { call }, took);
        if let Some(kind) = kind.map(trouble) {
            let trouble = Trouble { call, kind };
            self.database_errors.get_or_create(&trouble).inc();
        }
    }

    pub(super) fn login_refused(&self, reason: LoginRefusal) {
        let reason = refusal(reason);
        self.login_refusals.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn rate_limited(&self, limit: &'static str) {
        self.rate_limited.get_or_create(&Limit { limit }).inc();
    }

    pub(super) fn connection_refused(&self, limit: &'static str) {
        let limit = Limit { limit };
        self.connections_refused.get_or_create(&limit).inc();
    }

    pub(super) fn answered(&self, word: &str, template: Option<&str>, status: u16, took: Duration) {
        let (method, route) = (method(word), route(template));
        let request = Request {
            method,
            route: route.clone(),
        };
        observe(&self.request_durations, &request, took);
        let answer = Answer {
            method,
            route,
            status,
        };
        self.requests.get_or_create(&answer).inc();
    }

    pub(super) fn bytes_sent(&self, template: Option<&str>) -> Tally {
        let route = route(template);
        self.bytes_sent.get_or_create_owned(&Route { route }).0
    }
}
