//! Runs and their turns.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::kinds::{Timed, observe, register, timed};
use crate::{
    conversation::{Breakdown, EndReason, FailureCode, MessageStatus, RunEnd, RunStatus},
    telemetry::labels::{End, Reason, Status, breakdown, turn},
};

/// Bounds of buckets, in seconds.
const TURNS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0,
];

#[derive(Debug)]
pub(super) struct Runs {
    accepted: Counter,
    ended: Family<End, Counter>,
    recovered: Family<Reason, Counter>,
    lease_losses: Counter,
    turns: Timed<Status>,
}

impl Runs {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let runs = Self {
            accepted: register(registry, "runs_accepted", "Runs that were accepted here"),
            ended: register(
                registry,
                "runs_ended",
                "Runs that were ended here, by their final status and its reason or error code",
            ),
            recovered: register(
                registry,
                "runs_recovered",
                "Runs that were taken up here whose owner had broken down: its process is gone, its task panicked, or the \
                 database was away",
            ),
            lease_losses: register(
                registry,
                "lease_losses",
                "Runs that turned out to be driven by another process while this one thought that they were its own",
            ),
            turns: timed(
                registry,
                "turn_duration_seconds",
                "Turns that were closed here, from their start to their end, by how they stand in the transcript",
                || Histogram::new(TURNS),
            ),
        };
        runs.begin_at_zero();
        runs
    }

    /// What may happen and has not is zero from the start: what appears with its first event cannot be seen to rise by it.
    fn begin_at_zero(&self) {
        for (status, reason) in [
            (RunStatus::Completed, EndReason::MaxTurns),
            (RunStatus::Completed, EndReason::Refusal),
            (RunStatus::Stopped, EndReason::StopRequested),
        ] {
            let (status, reason) = (status.as_str(), reason.as_str());
            drop(self.ended.get_or_create(&End { status, reason }));
        }
        for code in FailureCode::ALL {
            let (status, reason) = (RunStatus::Failed.as_str(), code.as_str());
            drop(self.ended.get_or_create(&End { status, reason }));
        }
        for cause in [Breakdown::Process, Breakdown::Panic, Breakdown::Database] {
            drop(self.recovered.get_or_create(&breakdown(cause)));
        }
        for status in [
            MessageStatus::Completed,
            MessageStatus::Interrupted,
            MessageStatus::Failed,
        ] {
            drop(self.turns.get_or_create(&turn(status)));
        }
    }

    pub(super) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(super) fn ended(&self, end: RunEnd) {
        let reason = end.reason.map(EndReason::as_str);
        let failure = end.failure.map(FailureCode::as_str);
        let end = End {
            status: end.status.as_str(),
            reason: failure.or(reason).unwrap_or_default(),
        };
        self.ended.get_or_create(&end).inc();
    }

    pub(super) fn recovered(&self, cause: Breakdown) {
        self.recovered.get_or_create(&breakdown(cause)).inc();
    }

    pub(super) fn lost(&self) {
        self.lease_losses.inc();
    }

    pub(super) fn turn_ended(&self, status: MessageStatus, took: Duration) {
        observe(&self.turns, &turn(status), took);
    }
}
