use super::*;
use crate::conversation::{MessageStatus, Timestamp, Usage, transcript::Cut};

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
    Message {
        pos: 0,
        kind,
        turn,
        bot_index,
        bot_version: None,
        author: String::new(),
        text: text.into(),
        status: MessageStatus::Completed,
        stop_reason: None,
        usage: Usage::default(),
        cost: None,
        provider: None,
        model: None,
        at: Timestamp::from_millis(0),
        cut: None,
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

fn due(
    transcript: &[Message],
    policy: ContextPolicy,
    room: Option<u64>,
    refused: u32,
) -> Option<u32> {
    let context = Context {
        speaker: &bot(0),
        transcript,
    };
    context.due_cut(policy, room, refused)
}

use ContextPolicy::{Fail, Summarise, TruncateOldest};

#[test]
fn what_fits_is_not_cut_and_what_fails_is_not_either() {
    for policy in [Fail, TruncateOldest, Summarise] {
        assert_eq!(due(&talk(10), policy, None, 0), None, "nothing is known");
        assert_eq!(due(&talk(10), policy, Some(1014), 0), None, "it just fits");
    }
    assert_eq!(due(&talk(10), Fail, Some(10), 1), None);
}

#[test]
fn a_talk_is_cut_to_half_of_what_it_may_have() {
    // 1014 tokens; 14 stay, so 4 turns may.
    assert_eq!(due(&talk(10), TruncateOldest, Some(1000), 0), Some(6));
    assert_eq!(due(&talk(10), TruncateOldest, Some(500), 0), Some(8));
    // Not even one turn fits beside the topic: the last one stays all the same.
    assert_eq!(due(&talk(10), TruncateOldest, Some(20), 0), Some(9));
    assert_eq!(due(&talk(1), TruncateOldest, Some(20), 0), None);
}

#[test]
fn a_refusal_cuts_to_half_of_what_was_refused_whatever_is_known() {
    for room in [None, Some(100_000)] {
        assert_eq!(due(&talk(10), TruncateOldest, room, 1), Some(6));
    }
}

/// The prompt of the summary is what it is of: it is halved until it fits, and at last given up.
#[test]
fn each_refusal_of_a_summary_asks_for_one_of_half_as_much() {
    let asked: Vec<_> = (1..6)
        .map(|refused| due(&talk(16), Summarise, None, refused))
        .collect();
    assert_eq!(asked, [Some(8), Some(4), Some(2), Some(1), None]);
    // What is known of the window bounds it from the beginning.
    assert_eq!(due(&talk(16), Summarise, Some(300), 0), Some(3));
}

#[test]
fn what_the_provider_counted_goes_over_what_is_counted_here() {
    let mut transcript = talk(10);
    // The bot's turn 8: all before it had 5000 tokens for the provider; its own answer and turn 9 come on top.
    transcript[9].usage = Usage {
        input_tokens: Some(5000),
        output_tokens: Some(50),
        ..Usage::default()
    };
    assert_eq!(due(&transcript, TruncateOldest, Some(5150), 0), None);
    // Over; by our own count all would fit, so that half of that count says how deep the cut is.
    assert_eq!(due(&transcript, TruncateOldest, Some(5149), 0), Some(6));
    // What was counted before a cut is not what the bot is shown now.
    transcript.push(cut(10, 0, 8, ""));
    assert_eq!(due(&transcript, TruncateOldest, Some(5149), 0), None);
}

#[test]
fn an_answer_that_filled_the_window_is_followed_by_a_cut_once() {
    let mut transcript = talk(10);
    transcript[9].stop_reason = Some(StopReason::ContextExceeded);
    assert_eq!(due(&transcript, TruncateOldest, None, 0), Some(6));
    transcript.push(cut(10, 0, 6, ""));
    assert_eq!(due(&transcript, TruncateOldest, None, 0), None);
}

#[test]
fn a_cut_goes_on_from_the_last_one_of_the_same_bot() {
    let mut transcript = talk(10);
    transcript.push(cut(4, 0, 6, &words(200)));
    transcript.push(cut(5, 1, 9, ""));
    // 14 and 204 stay, and 400 of the turns: one of them is too much for half of 620.
    assert_eq!(due(&transcript, Summarise, None, 1), Some(9));
    assert_eq!(due(&transcript, Summarise, Some(618), 0), None);
    assert_eq!(due(&transcript, Summarise, Some(617), 0), Some(9));
}

#[test]
fn what_is_not_heard_takes_no_room_and_is_no_reason_for_a_summary() {
    let mut transcript = talk(2);
    transcript.push(message(MessageKind::Bot, Some(2), Some(0), "  "));
    transcript[1].status = MessageStatus::Failed;
    assert_eq!(due(&transcript, Summarise, None, 1), Some(2));
    transcript[2].status = MessageStatus::Failed;
    assert_eq!(due(&transcript, Summarise, None, 1), None);
}

#[test]
fn an_answer_has_its_room_in_the_window() {
    let limited = |max_tokens| Params {
        max_tokens,
        ..Params::default()
    };
    assert_eq!(room(128_000, &limited(None)), 128_000 - 4096);
    assert_eq!(room(4096, &limited(None)), 3072);
    assert_eq!(room(8192, &limited(Some(2000))), 6192);
    assert_eq!(room(8192, &limited(Some(9000))), 2048);
}

#[test]
fn a_policy_is_named_by_its_word() {
    assert_eq!("truncate_oldest".parse(), Ok(TruncateOldest));
    assert_eq!("drop".parse::<ContextPolicy>(), Err(UnknownPolicy));
}
