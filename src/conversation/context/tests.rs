use proptest::prelude::*;

use super::*;
use crate::conversation::{MessageStatus, Params, Timestamp, Usage, transcript::Cut};

fn bot(index: u32) -> Bot {
    Bot {
        index,
        version: 1,
        name: format!("Bot {}", index + 1),
        provider: "p".into(),
        model: "m".into(),
        system_prompt: None,
        params: Params::default(),
        fallback: Vec::new(),
    }
}

fn message(kind: MessageKind, turn: Option<u32>, bot_index: Option<u32>, text: &str) -> Message {
    // Each has a place of its own, as far as its size is asked for.
    let pos = turn.map_or(0, |turn| u64::from(turn) + 1)
        + if kind == MessageKind::Bot { 0 } else { 1_000 };
    Message {
        turn,
        bot_index,
        text: text.into(),
        ..Message::blank(kind, pos, Timestamp::from_millis(0))
    }
}

/// `count` words, which are as many tokens.
fn words(count: usize) -> String {
    vec![" tea"; count].concat()
}

/// A topic of 6 tokens and so many turns of 100, by two bots in turn; each with its border of 4 tokens.
fn talk(turns: u32) -> Vec<Message> {
    let mut transcript = vec![message(MessageKind::Topic, None, None, &words(6))];
    transcript.extend((0..turns).map(|turn| said(turn, 96)));
    transcript
}

fn said(turn: u32, tokens: usize) -> Message {
    message(MessageKind::Bot, Some(turn), Some(turn % 2), &words(tokens))
}

fn cut(made_in: u32, bot_index: u32, kept_from_turn: u32, summary: &str) -> Message {
    let kind = if summary.is_empty() {
        MessageKind::Truncation
    } else {
        MessageKind::Summary
    };
    Message {
        cut: Some(Cut {
            kept_from_turn,
            after_attempt: 0,
        }),
        ..message(kind, Some(made_in), Some(bot_index), summary)
    }
}

fn sizes(transcript: &[Message]) -> Sizes {
    let words = |message: &Message| message.text.split_whitespace().count() as u64;
    let messages = transcript
        .iter()
        .map(|message| (message.pos, words(message)));
    Sizes {
        messages: messages.collect(),
        system: 0,
    }
}

/// How the context of the first bot is to be cut before the turn that comes next.
fn due(
    transcript: &[Message],
    policy: ContextPolicy,
    limit: Option<u64>,
    asked: (u32, bool),
) -> Option<DueCut> {
    let turns = transcript
        .iter()
        .filter(|message| message.kind == MessageKind::Bot);
    let context = Context {
        speaker: &bot(0),
        turn: u32::try_from(turns.count()).unwrap(),
        transcript,
    };
    context.due_cut(policy, limit, asked, &sizes(transcript))
}

fn from(kept_from_turn: u32) -> Option<DueCut> {
    Some(DueCut::LeaveOut { kept_from_turn })
}

fn summed_up(kept_from_turn: u32, words: u64) -> Option<DueCut> {
    Some(DueCut::SumUp {
        kept_from_turn,
        words,
    })
}

const NOTHING: (u32, bool) = (0, false);
const REFUSED: (u32, bool) = (1, false);

use ContextPolicy::{Fail, Summarise, TruncateOldest};

#[test]
fn what_fits_is_not_cut_and_what_fails_is_not_either() {
    for policy in [Fail, TruncateOldest, Summarise] {
        assert_eq!(
            due(&talk(10), policy, None, NOTHING),
            None,
            "nothing is known"
        );
        assert_eq!(
            due(&talk(10), policy, Some(1014), NOTHING),
            None,
            "it just fits"
        );
    }
    assert_eq!(due(&talk(10), Fail, Some(10), REFUSED), None);
}

#[test]
fn a_talk_is_cut_to_half_of_what_it_may_have_beside_what_stays() {
    // 14 tokens stay; of the 986 beside them half is 493, so 4 turns.
    assert_eq!(due(&talk(10), TruncateOldest, Some(1000), NOTHING), from(6));
    assert_eq!(due(&talk(10), TruncateOldest, Some(500), NOTHING), from(8));
    // However long the topic is.
    let mut long = talk(10);
    long[0].text = words(1006);
    assert_eq!(due(&long, TruncateOldest, Some(2000), NOTHING), from(6));
    // Not even one turn fits beside the topic: the last one stays all the same.
    assert_eq!(due(&talk(10), TruncateOldest, Some(20), NOTHING), from(9));
    assert_eq!(due(&talk(1), TruncateOldest, Some(20), NOTHING), None);
}

#[test]
fn a_refusal_cuts_to_half_of_what_was_refused_whatever_is_known() {
    for limit in [None, Some(100_000)] {
        assert_eq!(due(&talk(10), TruncateOldest, limit, REFUSED), from(5));
    }
}

/// The prompt of the summary is what it is of: it is halved until it fits, and then the rest is only left out.
#[test]
fn each_refusal_of_a_summary_asks_for_one_of_half_as_much() {
    // 1614 tokens, so at most 161 words.
    let asked = |refused| due(&talk(16), Summarise, None, (refused, false));
    assert_eq!(asked(1), summed_up(6, 161));
    assert_eq!(asked(2), from(8), "200 are too few for 161 words");
    assert_eq!(
        due(&talk(40), Summarise, None, (2, false)),
        summed_up(8, 300)
    );
    // What is known of the window bounds it from the beginning.
    assert_eq!(
        due(&talk(16), Summarise, Some(900), NOTHING),
        summed_up(7, 90)
    );
}

#[test]
fn one_summary_a_turn_is_enough_and_one_that_was_not_written_is_not_asked_for_again() {
    assert_eq!(due(&talk(16), Summarise, None, (1, true)), from(8));
    assert_eq!(due(&talk(16), Summarise, Some(10_000), (0, true)), from(8));
    let mut transcript = talk(16);
    transcript.push(cut(16, 0, 4, &words(46)));
    assert_eq!(due(&transcript, Summarise, None, REFUSED), from(10));
    transcript[17] = cut(14, 0, 4, &words(46));
    assert_eq!(
        due(&transcript, Summarise, None, REFUSED),
        summed_up(8, 126)
    );
}

/// After a cut there is room for several turns until the next one, also where topic and summary take most of the window.
#[test]
fn cuts_stay_rare_however_much_stays() {
    for (frame, limit) in [(0, 1000), (600, 1600), (2000, 3000)] {
        for policy in [TruncateOldest, Summarise] {
            let mut transcript = vec![message(MessageKind::Topic, None, None, &words(frame))];
            let mut cuts = 0;
            for turn in 0..40 {
                if let Some(due) = due(&transcript, policy, Some(limit), NOTHING) {
                    cuts += 1;
                    transcript.push(match due {
                        DueCut::LeaveOut { kept_from_turn } => cut(turn, 0, kept_from_turn, ""),
                        DueCut::SumUp {
                            kept_from_turn,
                            words: most,
                        } => {
                            let summary = words(usize::try_from(most).unwrap());
                            cut(turn, 0, kept_from_turn, &summary)
                        }
                    });
                }
                transcript.push(said(turn, 96));
            }
            assert!(
                (4..=13).contains(&cuts),
                "{policy:?}: {cuts} cuts beside {frame}"
            );
        }
    }
}

#[test]
fn what_the_provider_counted_goes_over_what_is_counted_here() {
    let mut transcript = talk(10);
    // The bot's turn 8: all before it had 5000 tokens for the provider; its own answer, without what it thought, and turn 9 come on top.
    transcript[9].usage = Usage {
        input_tokens: Some(5000),
        output_tokens: Some(4000),
        reasoning_tokens: Some(3900),
        ..Usage::default()
    };
    assert_eq!(due(&transcript, TruncateOldest, Some(5200), NOTHING), None);
    // Over; by our own count all would fit, so that half of that count says how deep the cut is.
    assert_eq!(
        due(&transcript, TruncateOldest, Some(5199), NOTHING),
        from(5)
    );
    // What was counted before a cut is not what the bot is shown now.
    transcript.push(cut(10, 0, 8, ""));
    assert_eq!(due(&transcript, TruncateOldest, Some(5199), NOTHING), None);
}

#[test]
fn an_answer_that_filled_the_window_is_followed_by_a_cut_once() {
    let mut transcript = talk(10);
    transcript[9].stop_reason = Some(StopReason::ContextExceeded);
    assert_eq!(due(&transcript, TruncateOldest, None, NOTHING), from(5));
    transcript.push(cut(10, 0, 6, ""));
    assert_eq!(due(&transcript, TruncateOldest, None, NOTHING), None);
}

#[test]
fn a_cut_goes_on_from_the_last_one_of_the_same_bot() {
    let mut transcript = talk(10);
    transcript.push(cut(4, 0, 6, &words(196)));
    transcript.push(cut(5, 1, 9, ""));
    // 14 and 200 stay, and 400 of the turns: with three of them the prompt of the summary itself would be too long.
    assert_eq!(due(&transcript, Summarise, Some(614), NOTHING), None);
    assert_eq!(
        due(&transcript, Summarise, Some(613), NOTHING),
        summed_up(8, 61)
    );
    assert_eq!(due(&transcript, TruncateOldest, None, REFUSED), from(8));
}

#[test]
fn what_is_not_heard_takes_no_room_and_is_no_reason_for_a_cut() {
    let mut transcript = talk(2);
    transcript.push(message(MessageKind::Bot, Some(2), Some(0), "  "));
    transcript[1].status = MessageStatus::Failed;
    let can_be_cut = |transcript: &[Message]| {
        let context = Context {
            speaker: &bot(0),
            turn: 3,
            transcript,
        };
        context.can_be_cut()
    };
    assert!(can_be_cut(&transcript));
    assert_eq!(due(&transcript, TruncateOldest, None, REFUSED), from(2));
    transcript[2].status = MessageStatus::Failed;
    assert!(!can_be_cut(&transcript));
    assert_eq!(due(&transcript, TruncateOldest, None, REFUSED), None);
    assert!(!can_be_cut(&talk(1)), "the newest turn stays");
}

#[test]
fn an_answer_has_its_room_in_the_window() {
    assert_eq!(prompt_limit(128_000, None), 128_000 - 4096);
    assert_eq!(prompt_limit(4096, None), 3072);
    assert_eq!(prompt_limit(8192, Some(2000)), 6192);
    assert_eq!(prompt_limit(8192, Some(9000)), 2048);
}

#[test]
fn a_policy_is_named_by_its_word() {
    assert_eq!("truncate_oldest".parse(), Ok(TruncateOldest));
    assert_eq!("drop".parse::<ContextPolicy>(), Err(UnknownPolicy));
}

proptest! {
    /// A prompt that was called too long is cut as long as anything can be left out: it is never sent again as it was, and a turn that
    /// cannot be cut any more is not asked for again and again.
    #[test]
    fn what_was_refused_is_cut_until_nothing_can_be_left_out(
        heard in prop::collection::vec(any::<bool>(), 0..12), frame in 0usize..400, limit in prop::option::of(1u64..2000),
        refused in 1u32..70, none_written in any::<bool>(), summarise in any::<bool>(),
    ) {
        let policy = if summarise { Summarise } else { TruncateOldest };
        let mut transcript = vec![message(MessageKind::Topic, None, None, &words(frame))];
        transcript.extend((0..).zip(&heard).map(|(turn, heard)| said(turn, if *heard { 96 } else { 0 })));
        let turn = u32::try_from(heard.len()).unwrap();
        let context = |transcript: &[Message]| Context { speaker: &bot(0), turn, transcript }.can_be_cut();
        let mut cuts = 0;
        while context(&transcript) {
            let due = due(&transcript, policy, limit, (refused, none_written));
            prop_assert!(due.is_some());
            transcript.push(match due.unwrap() {
                DueCut::LeaveOut { kept_from_turn } => cut(turn, 0, kept_from_turn, ""),
                DueCut::SumUp { kept_from_turn, .. } => cut(turn, 0, kept_from_turn, "Tea."),
            });
            cuts += 1;
            prop_assert!(cuts <= heard.len());
        }
        prop_assert_eq!(due(&transcript, policy, limit, (refused, none_written)), None);
    }
}
