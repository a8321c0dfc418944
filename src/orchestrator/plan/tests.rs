use super::*;
use crate::{
    conversation::{
        ContextPolicy, Cost, FailureCode, MessageStatus, Params, RunId, Spent, StopMode, Usage,
    },
    models::Asked,
};

fn bot(index: u32) -> Bot {
    Bot {
        index,
        version: 1,
        name: format!("Bot {}", index + 1),
        provider: "p".into(),
        model: format!("m{index}"),
        system_prompt: None,
        params: Params::default(),
        fallback: Vec::new(),
    }
}

pub(super) fn queued(max_turns: u32) -> RunState {
    RunState {
        id: RunId::from_uuid(uuid::Uuid::nil()),
        max_turns,
        show_reasoning: false,
        context_policy: ContextPolicy::Fail,
        bots: vec![bot(0), bot(1)],
        speaker: None,
        turn_started: Timestamp::from_millis(0),
        transcript: Vec::new(),
        head: Head {
            status: RunStatus::Queued,
            reason: None,
            failure: None,
            turns: 0,
            open_seq: None,
            usage: Usage::default(),
            cost: Cost::ZERO,
            cost_complete: true,
            spent: vec![Spent::NOTHING; 2],
            last_seq: 1,
            started_at: None,
            finished_at: None,
        },
        asked: Asked::default(),
    }
}

/// Takes the step as the driver does: plans it, and goes on from it.
pub(super) fn take(state: &mut RunState, step: &Step, commands: &[Command]) -> Change {
    let change = plan(
        state,
        step,
        commands,
        &Halt::default(),
        Timestamp::from_millis(1_000),
    );
    let before = state.head.last_seq;
    assert_eq!(
        change.head.last_seq,
        before + change.events.len() as u64,
        "each event takes one seq"
    );
    state.advance(change.clone(), commands);
    change
}

pub(super) fn names(change: &Change) -> Vec<&'static str> {
    change.events.iter().map(RunEvent::name).collect()
}

pub(super) fn said(attempt: u32, text: &str) -> Spoken {
    let usage = Usage {
        output_tokens: Some(5),
        ..Usage::default()
    };
    let first_delta_ms = (!text.is_empty()).then_some(3);
    Spoken {
        text: text.into(),
        usage,
        cost: None,
        duration_ms: 9,
        first_delta_ms,
        ..Spoken::nothing(target("m0"), attempt)
    }
}

fn lost() -> Spoken {
    Spoken {
        sent: 40,
        ..Spoken::nothing(target("m0"), 1)
    }
}

pub(super) fn target(model: &str) -> Target {
    Target {
        provider: "p".into(),
        model: model.into(),
    }
}

fn stop(id: u64) -> Command {
    Command {
        id,
        kind: CommandKind::Stop(StopMode::Now),
    }
}

fn update(id: u64, index: u32, version: u32) -> Command {
    let update = BotUpdated {
        bot_index: index,
        version,
        changes: serde_json::Map::new(),
        effective_from_turn: Some(2),
    };
    Command {
        id,
        kind: CommandKind::UpdateBot {
            update,
            bot: Bot {
                version,
                model: "new".into(),
                ..bot(index)
            },
        },
    }
}

#[test]
fn a_run_of_two_turns_from_its_claim_to_its_end() {
    let mut state = queued(2);
    assert_eq!(
        names(&take(&mut state, &Step::Begin, &[])),
        ["turn.started"]
    );
    assert_eq!(
        (state.head.status, state.head.open_seq),
        (RunStatus::Running, Some(2))
    );

    let change = take(
        &mut state,
        &Step::Completed(said(1, "Hi."), StopReason::EndTurn),
        &[],
    );
    assert_eq!(names(&change), ["turn.completed", "turn.started"]);
    let message = change.message.unwrap();
    assert_eq!(
        (message.pos, message.turn, message.text.as_str()),
        (2, Some(0), "Hi.")
    );
    assert_eq!(state.speaker.as_ref().map(|bot| bot.index), Some(1));

    let change = take(
        &mut state,
        &Step::Completed(said(1, ""), StopReason::MaxTokens),
        &[],
    );
    assert_eq!(names(&change), ["turn.completed", "run.completed"]);
    assert_eq!(
        (state.head.reason, state.head.turns),
        (Some(EndReason::MaxTurns), 2)
    );
    assert_eq!(state.head.usage.output_tokens, Some(10));
    assert!(state.speaker.is_none() && state.transcript.len() == 2 && !state.head.cost_complete);
}

#[test]
fn a_failed_attempt_is_taken_back_only_if_it_was_shown() {
    let mut state = queued(2);
    take(&mut state, &Step::Begin, &[]);
    let failure = AttemptFailure::new(FailureCode::Truncated, "cut");
    let retry = |text| Step::Retry {
        spoken: said(1, text),
        failure: failure.clone(),
        wait_ms: 7,
        next: target("m0"),
    };
    assert_eq!(names(&take(&mut state, &retry(""), &[])), ["error"]);
    assert_eq!(
        names(&take(&mut state, &retry("Hal"), &[])),
        ["error", "turn.restarted"]
    );
    assert_eq!(state.head.turns, 0);

    let change = take(
        &mut state,
        &Step::Failed(said(3, "Ha"), failure.clone()),
        &[],
    );
    assert_eq!(names(&change), ["error", "turn.failed", "run.failed"]);
    assert_eq!(
        change.message.map(|m| (m.status, m.text)),
        Some((MessageStatus::Failed, "Ha".into()))
    );
    assert_eq!(
        (state.head.status, state.head.failure.as_ref()),
        (RunStatus::Failed, Some(&failure.failure))
    );
    assert_eq!(
        state.head.usage.output_tokens,
        Some(15),
        "every attempt is paid for"
    );
}

#[test]
fn a_retry_leaves_commands_for_the_turns_end() {
    let mut state = queued(4);
    take(&mut state, &Step::Begin, &[]);
    let failure = AttemptFailure::new(FailureCode::Server, "oops");
    let change = take(
        &mut state,
        &Step::Retry {
            spoken: said(1, "x"),
            failure,
            wait_ms: 0,
            next: target("m0"),
        },
        &[update(1, 0, 2), stop(2)],
    );
    assert_eq!(names(&change), ["error", "turn.restarted"]);
    assert!(change.applied.is_empty());
    assert_eq!(
        state.speaker.as_ref().map(|bot| bot.version),
        Some(1),
        "the turn keeps its version"
    );
}

#[test]
fn commands_are_applied_in_order_between_turns() {
    let mut state = queued(4);
    take(&mut state, &Step::Begin, &[]);
    let step = Step::Completed(said(1, "Hi."), StopReason::EndTurn);
    let change = take(&mut state, &step, &[update(1, 1, 2), update(2, 0, 2)]);
    assert_eq!(
        names(&change),
        [
            "turn.completed",
            "bot.updated",
            "bot.updated",
            "turn.started"
        ]
    );
    assert_eq!(
        change.applied,
        [
            Applied {
                id: 1,
                seq: Some(4)
            },
            Applied {
                id: 2,
                seq: Some(5)
            }
        ]
    );
    let Some(RunEvent::TurnStarted(started)) = change.events.last() else {
        panic!("no turn")
    };
    assert_eq!((started.bot_version, started.model.as_str()), (2, "new"));
    assert_eq!(
        state.bots.iter().map(|bot| bot.version).collect::<Vec<_>>(),
        [2, 2]
    );
}

#[test]
fn a_stop_ends_the_run_and_what_was_finished_stays_finished() {
    for (step, first) in [
        (
            Step::Completed(said(1, "Hi."), StopReason::EndTurn),
            "turn.completed",
        ),
        (Step::Interrupted(Some(said(1, "H"))), "turn.interrupted"),
        (Step::Interrupted(None), "turn.interrupted"),
    ] {
        let mut state = queued(1);
        take(&mut state, &Step::Begin, &[]);
        let change = take(&mut state, &step, &[update(1, 0, 2), stop(2)]);
        assert_eq!(names(&change), [first, "bot.updated", "run.stopped"]);
        assert_eq!(
            change.applied.last(),
            Some(&Applied {
                id: 2,
                seq: Some(state.head.last_seq)
            })
        );
        assert_eq!(
            (state.head.status, state.head.turns),
            (RunStatus::Stopped, 1)
        );
    }
}

#[test]
fn a_stop_before_the_first_turn_starts_none() {
    let mut state = queued(2);
    assert_eq!(
        names(&take(&mut state, &Step::Begin, &[stop(1)])),
        ["run.stopped"]
    );
    assert_eq!(
        (state.head.started_at, state.head.cost_complete),
        (None, true)
    );
}

#[test]
fn a_stop_that_comes_to_a_failed_run_is_too_late() {
    let mut state = queued(2);
    take(&mut state, &Step::Begin, &[]);
    let failure = AttemptFailure::new(FailureCode::Auth, "no");
    let change = take(&mut state, &Step::Failed(said(1, ""), failure), &[stop(1)]);
    assert_eq!(names(&change), ["error", "turn.failed", "run.failed"]);
    assert_eq!(change.applied, [Applied { id: 1, seq: None }]);
}

#[test]
fn a_run_that_cannot_go_on_fails_with_or_without_an_open_turn() {
    let failure = AttemptFailure::new(FailureCode::ProviderNotConfigured, "gone");
    let mut fresh = queued(2);
    assert_eq!(
        names(&take(
            &mut fresh,
            &Step::Abort(failure.failure.clone()),
            &[]
        )),
        ["run.failed"]
    );
    let mut state = queued(2);
    take(&mut state, &Step::Begin, &[]);
    let change = take(&mut state, &Step::Abort(failure.failure), &[]);
    assert_eq!(names(&change), ["turn.failed", "run.failed"]);
    assert!(change.attempt.is_none(), "no provider was asked");
}

#[test]
fn one_of_two_that_refuses_ends_the_run() {
    let mut state = queued(9);
    take(&mut state, &Step::Begin, &[]);
    let refused = Spoken {
        refusal: Some("I will not.".into()),
        ..said(1, "")
    };
    let change = take(
        &mut state,
        &Step::Completed(refused, StopReason::Refusal),
        &[],
    );
    assert_eq!(names(&change), ["turn.completed", "run.completed"]);
    assert_eq!(state.head.reason, Some(EndReason::Refusal));
}

#[test]
fn money_is_summed_over_all_attempts_and_by_bot() {
    let mut state = queued(2);
    take(&mut state, &Step::Begin, &[]);
    let priced = |picos: u128| Spoken {
        cost: Cost::from_picos(picos),
        ..said(1, "Hi.")
    };
    let done = |picos| Step::Completed(priced(picos), StopReason::EndTurn);
    let change = take(&mut state, &done(40), &[]);
    assert_eq!(change.attempt.and_then(|a| a.cost), Cost::from_picos(40));
    assert!(state.head.cost_complete);

    // The provider may have counted more than it said before it failed.
    let retry = Step::Retry {
        spoken: priced(5),
        failure: AttemptFailure::new(FailureCode::Server, "m"),
        wait_ms: 0,
        next: target("m1"),
    };
    let change = take(&mut state, &retry, &[]);
    let shown: Vec<Option<Cost>> = change
        .events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Error(error) => Some(error.cost_usd),
            RunEvent::TurnRestarted(restarted) => Some(restarted.cost_usd),
            _ => None,
        })
        .collect();
    assert_eq!(shown, [Cost::from_picos(5); 2]);

    let change = take(&mut state, &done(300), &[]);
    let Some(RunEvent::RunCompleted(end)) = change.events.last() else {
        panic!("no end")
    };
    assert_eq!(
        (end.totals.cost_usd, end.totals.cost_complete),
        (Cost::from_picos(345), false)
    );
    let parts = state.head.spent.iter();
    let parts: Vec<_> = parts
        .map(|part| (part.attempts, part.cost.picos(), part.complete))
        .collect();
    assert_eq!(parts, [(1, 40, true), (2, 305, false)]);
}

#[test]
fn an_attempt_of_unknown_cost_leaves_the_sum_of_the_others() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    take(&mut state, &Step::Recovered(lost()), &[]);
    assert_eq!(state.head.totals().cost_usd, None);
    let spoken = Spoken {
        cost: Cost::from_picos(7),
        ..said(2, "Hi.")
    };
    take(
        &mut state,
        &Step::Completed(spoken, StopReason::EndTurn),
        &[],
    );
    let totals = state.head.totals();
    assert_eq!(
        (totals.cost_usd, totals.cost_complete),
        (Cost::from_picos(7), false)
    );
}

#[test]
fn an_attempt_that_was_not_made_costs_nothing() {
    let mut state = queued(2);
    take(&mut state, &Step::Begin, &[]);
    let delayed = Step::Delayed {
        target: target("m0"),
        failure: Failure::new(FailureCode::RateLimited, "m"),
        wait_ms: 5,
    };
    let change = take(&mut state, &delayed, &[]);
    let Some(RunEvent::Error(error)) = change.events.first() else {
        panic!("no error")
    };
    assert_eq!((error.attempt, error.cost_usd), (1, None));
    assert_eq!(change.attempt, None);
    assert_eq!(state.head.spent, [Spent::NOTHING; 2]);
    assert_eq!(state.head.totals().cost_usd, Some(Cost::ZERO));
}

#[test]
fn a_turn_whose_owner_broke_down_is_restarted_and_counts_no_failure() {
    let mut state = queued(3);
    take(&mut state, &Step::Begin, &[]);
    let change = take(&mut state, &Step::Recovered(lost()), &[]);
    assert_eq!(names(&change), ["turn.restarted"]);
    let attempt = change.attempt.unwrap();
    assert_eq!((attempt.attempt, attempt.outcome), (1, "crash"));
    // Its owner's day has what was sent; nobody is shown it.
    assert_eq!(
        (attempt.taken.tokens, attempt.usage.is_unknown()),
        (10, true)
    );
    assert!(!change.release && !change.head.cost_complete);
    assert_eq!((state.asked.attempts, state.asked.failed.len()), (1, 0));
}
