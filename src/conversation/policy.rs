//! Who speaks next, and when a run is over.

use super::{run::EndReason, stop_reason::StopReason};

/// Who speaks in a turn: in order, round and round.
#[must_use]
pub fn speaker(turn: u32, bots: u32) -> u32 {
    turn % bots
}

/// Why a run ends after a completed turn, if it does. `turns` counts the turns that have ended, this one included.
///
/// Where two bots talk, one that refuses has left the other nothing to answer. With more, it is left out of prompts and the
/// next one speaks.
#[must_use]
pub fn end_after(
    turns: u32,
    max_turns: u32,
    bots: u32,
    stop_reason: StopReason,
) -> Option<EndReason> {
    if stop_reason == StopReason::Refusal && bots == 2 {
        return Some(EndReason::Refusal);
    }
    (turns >= max_turns).then_some(EndReason::MaxTurns)
}

/// The first turn of a bot that has not started, or `None` if it can have none any more. `started` counts the turns that
/// have started.
#[must_use]
pub fn next_turn_of(bot_index: u32, started: u32, max_turns: u32, bots: u32) -> Option<u32> {
    (started..max_turns)
        .take(bots as usize)
        .find(|turn| speaker(*turn, bots) == bot_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_speak_round_and_round() {
        assert_eq!(
            (0..7).map(|turn| speaker(turn, 3)).collect::<Vec<_>>(),
            [0, 1, 2, 0, 1, 2, 0]
        );
    }

    #[test]
    fn a_run_ends_at_its_last_turn_or_when_one_of_two_refuses() {
        assert_eq!(end_after(3, 4, 2, StopReason::EndTurn), None);
        assert_eq!(
            end_after(4, 4, 2, StopReason::MaxTokens),
            Some(EndReason::MaxTurns)
        );
        assert_eq!(
            end_after(1, 4, 2, StopReason::Refusal),
            Some(EndReason::Refusal)
        );
        assert_eq!(end_after(1, 4, 3, StopReason::Refusal), None);
    }

    #[test]
    fn a_change_takes_effect_at_the_bots_first_turn_to_come() {
        assert_eq!(next_turn_of(0, 0, 4, 2), Some(0));
        assert_eq!(next_turn_of(0, 1, 4, 2), Some(2));
        assert_eq!(next_turn_of(1, 1, 4, 2), Some(1));
        assert_eq!(next_turn_of(0, 3, 4, 2), None);
        assert_eq!(next_turn_of(1, 4, 4, 2), None);
        assert_eq!(next_turn_of(7, 1, 100, 8), Some(7));
    }
}
