//! Steps that cut a bot's context.

use super::{
    tests::{names, queued, said, take, target},
    *,
};
use crate::conversation::{FailureCode, MessageKind};

/// An open turn whose prompt was called too long, twice.
fn too_long() -> RunState {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    for attempt in [1, 2] {
        let failure = AttemptFailure::new(FailureCode::ContextExceeded, "too long");
        let next = target("m0");
        let spoken = said(attempt, "");
        let retry = Step::Retry {
            spoken,
            failure,
            wait_ms: 0,
            next,
        };
        take(&mut state, &retry, &[]);
    }
    state
}

#[test]
fn a_cut_is_an_event_and_an_entry_and_answers_what_was_called_too_long() {
    let mut state = too_long();
    assert_eq!(state.asked.failed.len(), 2);
    let change = take(&mut state, &Step::LeftOut(0, target("m0")), &[]);
    assert_eq!(names(&change), ["context.truncated"]);
    let entry = change.cut.unwrap();
    let cut = entry.cut.unwrap();
    assert_eq!(
        (entry.kind, entry.pos, entry.turn),
        (MessageKind::Truncation, change.head.last_seq, Some(0))
    );
    assert_eq!((cut.kept_from_turn, cut.after_attempt), (0, 2));
    // The turn is as open as before, and the next attempt has its number.
    assert!(change.message.is_none() && change.attempt.is_none());
    assert!(state.asked.failed.is_empty());
    assert_eq!((state.asked.attempts, state.head.turns), (2, 0));
    assert!(state.speaker.is_some() && state.head.open_seq.is_some());
    assert_eq!(state.transcript, [entry]);
}

#[test]
fn a_summary_is_an_attempt_that_is_counted_and_no_text_of_the_turn() {
    let mut state = too_long();
    let spoken = Spoken {
        summary: Some("Tea.".into()),
        ..said(3, "")
    };
    let step = Step::Summarised(spoken, StopReason::EndTurn, 0);
    let change = take(&mut state, &step, &[]);
    assert_eq!(names(&change), ["context.summarised"]);
    let attempt = change.attempt.unwrap();
    assert_eq!(
        (attempt.outcome, attempt.attempt, attempt.settled),
        ("summarised", 3, true)
    );
    let entry = change.cut.unwrap();
    assert_eq!(
        (entry.kind, entry.text.as_str()),
        (MessageKind::Summary, "Tea.")
    );
    assert_eq!((state.asked.attempts, state.asked.failed.len()), (3, 0));
    assert_eq!(state.head.usage.output_tokens, Some(15), "all three");
}

/// What was written of a summary when it was cut off is nobody's text, and its usage is the run's and not the turn's.
#[test]
fn a_summary_that_is_cut_off_leaves_the_turn_without_text_and_usage() {
    let half = || Spoken {
        summary: Some("Te".into()),
        ..said(3, "")
    };
    let failure = AttemptFailure::new(FailureCode::Server, "down");
    for step in [
        Step::Interrupted(Some(half())),
        Step::Failed(half(), failure),
    ] {
        let mut state = too_long();
        let change = take(&mut state, &step, &[]);
        let message = change.message.unwrap();
        assert_eq!(message.text, "");
        assert!(message.usage.is_unknown());
        let attempt = change.attempt.unwrap();
        assert_eq!((attempt.attempt, attempt.settled), (3, false));
        assert_eq!(state.head.usage.output_tokens, Some(15));
    }
}

/// No summary was written: what is left out instead is the answer to that, too.
#[test]
fn a_summary_that_was_not_written_is_answered_by_a_cut() {
    let mut state = too_long();
    let mut failure = AttemptFailure::new(FailureCode::NoSummary, "none");
    failure.charge = Charge::Counted;
    let spoken = Spoken {
        summary: Some(String::new()),
        ..said(3, "")
    };
    let retry = Step::Retry {
        spoken,
        failure,
        wait_ms: 0,
        next: target("m0"),
    };
    let change = take(&mut state, &retry, &[]);
    assert!(change.attempt.unwrap().settled, "its last word was heard");
    take(&mut state, &Step::LeftOut(0, target("m0")), &[]);
    assert!(state.asked.failed.is_empty());
}
