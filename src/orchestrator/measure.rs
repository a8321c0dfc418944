//! What a committed change means to those who count.

use std::time::Duration;

use crate::{
    conversation::{AttemptEnd, Happening, Meter, RunEnd, RunEvent, Timestamp},
    models::{AttemptRecord, Change, Head},
};

/// Tells of a change that was committed. `turn_started`: when the turn was that was open before it.
pub(super) fn tell(meter: &Meter, change: &Change, turn_started: Timestamp) {
    let announced = change.events.iter().find_map(|event| match event {
        RunEvent::Error(error) => error.retry_in_ms.map(|_| error),
        _ => None,
    });
    if let Some(attempt) = &change.attempt {
        tell_attempt(meter, attempt, announced.is_some());
    } else if let Some(delayed) = announced {
        meter.tell(Happening::AttemptDelayed {
            provider: &delayed.provider,
            code: delayed.failure.code,
        });
    }
    if let Some(message) = &change.message {
        meter.tell(Happening::TurnEnded {
            status: message.status,
            took: Duration::from_millis(change.at.millis_since(turn_started)),
        });
    }
    tell_end(meter, &change.head);
}

/// Tells of a run that ended, if it did. Final is final: a head that is so was written by the change that made it so.
pub(super) fn tell_end(meter: &Meter, head: &Head) {
    if head.status.is_final() {
        meter.tell(Happening::RunEnded(RunEnd {
            status: head.status,
            reason: head.reason,
            failure: head.failure.as_ref().map(|failure| failure.code),
        }));
    }
}

fn tell_attempt(meter: &Meter, attempt: &AttemptRecord, another_follows: bool) {
    let failure = attempt.failed.as_ref().map(|failed| failed.code);
    // Of a request that was lost with its owner nothing is known.
    let known = attempt.outcome != AttemptRecord::CRASH || attempt.duration_ms > 0;
    meter.tell(Happening::AttemptEnded(&AttemptEnd {
        target: &attempt.target,
        outcome: attempt.outcome,
        failure,
        repeated: failure.is_some() && another_follows,
        deltas: attempt.deltas,
        usage: attempt.usage,
        cost: attempt.cost,
        took: known.then(|| Duration::from_millis(attempt.duration_ms)),
        first_delta: attempt.first_delta_ms.map(Duration::from_millis),
    }));
}
