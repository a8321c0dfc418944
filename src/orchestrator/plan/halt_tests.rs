//! Steps after which a run may not begin another turn here.

use super::{
    tests::{names, queued, said, take, target},
    *,
};
use crate::conversation::{Quota, Standing};

/// Takes the step in a process that is to end.
fn leave(state: &mut RunState, step: &Step) -> Change {
    halted(state, step, true, None)
}

fn halted(state: &mut RunState, step: &Step, leaving: bool, over: Option<OverQuota>) -> Change {
    let halt = Halt { leaving, over };
    let change = plan(state, step, &[], &halt, Timestamp::from_millis(1_000));
    state.advance(change.clone(), &[]);
    change
}

/// Nothing is left of forty tokens.
const USED_UP: OverQuota = OverQuota(Standing {
    quota: Quota::TokensPerDay,
    limit: 40,
    remaining: 0,
    reset: None,
});

#[test]
fn a_process_that_leaves_starts_no_turn_and_gives_the_run_up() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    let change = leave(
        &mut state,
        &Step::Completed(said(1, "Hi."), StopReason::EndTurn),
    );
    assert_eq!(names(&change), ["turn.completed"]);
    assert!(change.release && change.head.open_seq.is_none());
    assert!(state.speaker.is_none());
}

#[test]
fn a_turn_that_is_cut_is_taken_back_and_left_open() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    let change = leave(
        &mut state,
        &Step::GivenUp(said(1, "Half"), RestartReason::Drain),
    );
    assert_eq!(names(&change), ["turn.restarted"]);
    assert!(change.release && change.head.open_seq.is_some());
    assert_eq!(change.attempt.unwrap().outcome, "drain");
    assert_eq!(
        change.head.usage.output_tokens,
        Some(5),
        "what it had used counts"
    );
}

#[test]
fn a_failed_attempt_keeps_the_run_until_its_wait_is_cut() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    let failure = AttemptFailure::new(FailureCode::Server, "m");
    let retry = Step::Retry {
        spoken: said(1, ""),
        failure,
        wait_ms: 5,
        next: target("m0"),
    };
    assert!(!leave(&mut state, &retry).release);
    let change = leave(&mut state, &Step::Left);
    assert!(change.release && change.events.is_empty() && change.attempt.is_none());
}

#[test]
fn a_run_whose_owner_has_nothing_left_fails_between_turns() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    let said = Step::Completed(said(1, "Hi."), StopReason::EndTurn);
    let change = halted(&mut state, &said, false, Some(USED_UP));
    assert_eq!(names(&change), ["turn.completed", "run.failed"]);
    let failure = change.head.failure.unwrap();
    assert_eq!(failure.code, FailureCode::QuotaExceeded);
    assert!(failure.message.contains("40 tokens a day"), "{failure:?}");
}

#[test]
fn a_run_that_was_to_end_anyway_ends_as_it_was_to() {
    let mut state = queued(1);
    take(&mut state, &Step::Begin, &[]);
    let said = Step::Completed(said(1, "Hi."), StopReason::EndTurn);
    let change = halted(&mut state, &said, false, Some(USED_UP));
    assert_eq!(names(&change), ["turn.completed", "run.completed"]);
}

#[test]
fn a_run_that_was_never_spoken_in_fails_without_a_turn_and_one_that_is_left_does_not_fail_here() {
    let change = halted(&mut queued(3), &Step::Begin, false, Some(USED_UP));
    assert_eq!(names(&change), ["run.failed"]);
    let change = halted(&mut queued(3), &Step::Begin, true, Some(USED_UP));
    assert!(change.release && change.events.is_empty());
}
