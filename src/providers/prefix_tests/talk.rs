//! Talks as they may go: who says what, how it ends, and what is patched in between.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::conversation::{
    Bot, Cut, Message, MessageKind, MessageStatus, Params, StopReason, Timestamp, speaker,
};

/// A talk.
#[derive(Debug, Clone)]
pub(super) struct Talk {
    /// How many bots there are, and which API each is asked by: any numbers.
    pub(super) bots: Vec<usize>,
    pub(super) topic: String,
    pub(super) happenings: Vec<Happening>,
}

/// What may happen in a talk. What is new in the rules of a conversation gets a variant here and what it may change in
/// [`Changed`](super::Changed).
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A bot is asked, again where its attempts are restarted, and its turn ends.
    Turn {
        /// Another than the one whose turn it is: who is next may come to be decided otherwise.
        instead: Option<usize>,
        restarts: u8,
        text: String,
        /// Whether it begins with the bot's own name.
        says_its_name: bool,
        status: MessageStatus,
        stop_reason: Option<StopReason>,
    },
    /// A JSON merge patch on a bot, any number of it.
    Patch { bot: usize, patch: Value },
    /// A bot's context is cut: it keeps so many turns, and is shown a summary unless that is empty.
    Cut {
        bot: usize,
        kept: u32,
        summary: String,
    },
}

impl Talk {
    /// Whose turn it is after so many.
    pub(super) fn speaker(&self, turn: u32, instead: Option<usize>) -> usize {
        let count = self.bots.len();
        let ordinary = speaker(turn, u32::try_from(count).unwrap()) as usize;
        instead.map_or(ordinary, |any| any % count)
    }
}

pub(super) fn talks() -> impl Strategy<Value = Talk> {
    let happenings = prop::collection::vec(
        prop_oneof![8 => turns(), 1 => patches(), 1 => cuts()],
        0..=40,
    );
    (
        prop::collection::vec(any::<usize>(), 2..=8),
        texts(),
        happenings,
    )
        .prop_map(|(bots, topic, happenings)| Talk {
            bots,
            topic,
            happenings,
        })
}

fn turns() -> impl Strategy<Value = Happening> {
    let ends = prop_oneof![
        6 => Just((MessageStatus::Completed, Some(StopReason::EndTurn))),
        1 => Just((MessageStatus::Completed, Some(StopReason::MaxTokens))),
        1 => Just((MessageStatus::Completed, Some(StopReason::Refusal))),
        1 => Just((MessageStatus::Interrupted, None)),
        1 => Just((MessageStatus::Failed, None)),
    ];
    let instead = prop::option::weighted(0.2, any::<usize>());
    let restarts = prop_oneof![4 => Just(0), 1 => 1u8..=2];
    let turn = (instead, restarts, texts(), any::<bool>(), ends);
    turn.prop_map(
        |(instead, restarts, text, says_its_name, ends)| Happening::Turn {
            instead,
            restarts,
            text,
            says_its_name,
            status: ends.0,
            stop_reason: ends.1,
        },
    )
}

fn patches() -> impl Strategy<Value = Happening> {
    let params = prop_oneof![
        Just(json!({"temperature": 0.5})),
        Just(json!({"temperature": null, "max_tokens": 2048})),
        Just(json!({"reasoning_effort": "low"})),
        Just(json!({"thinking_budget_tokens": 1024})),
        Just(json!({"stop": ["END"], "seed": 7})),
        Just(json!({"verbosity": "low", "service_tier": "auto"})),
    ];
    let name = prop::sample::select(vec!["Ada", "Ada: Bob", "日本", "You are Bot 1."]);
    let system_prompt = prop_oneof![texts().prop_map(Value::from), Just(Value::Null)];
    let model = prop::sample::select(vec!["m", "gpt-5.5-pro", "claude-sonnet-5-5"]);
    let patch = prop_oneof![
        name.prop_map(|name| json!({"name": name})),
        system_prompt.prop_map(|text| json!({"system_prompt": text})),
        model.prop_map(|model| json!({"model": model})),
        params.prop_map(|params| json!({"params": params})),
    ];
    (any::<usize>(), patch).prop_map(|(bot, patch)| Happening::Patch { bot, patch })
}

fn cuts() -> impl Strategy<Value = Happening> {
    let cut = (any::<usize>(), 1u32..6, texts());
    cut.prop_map(|(bot, kept, summary)| Happening::Cut { bot, kept, summary })
}

/// Empty, blank, short, of many bytes a character, and what must be escaped or looks like what we send.
fn texts() -> impl Strategy<Value = String> {
    let odd = "(日本|é|👩‍👩‍👧|\u{2028}|\u{0}|\"|\\\\|\"\\}\\]|\"cache_control\"|\n\n){1,4}";
    prop_oneof!["", "[ \n\t]{1,3}", "[a-c \n]{0,6}", odd, "\\PC{0,9}\\s?"]
}

/// The bot at that place as it begins.
pub(super) fn bot(index: usize) -> Bot {
    Bot {
        index: u32::try_from(index).unwrap(),
        version: 1,
        name: format!("Bot {}", index + 1),
        provider: "p".into(),
        model: "m".into(),
        system_prompt: Some("Be brief.".into()),
        params: Params::default(),
        fallback: Vec::new(),
    }
}

pub(super) fn topic(text: &str) -> Message {
    Message {
        text: text.into(),
        ..Message::blank(MessageKind::Topic, 1, Timestamp::from_millis(0))
    }
}

/// That the bot is not shown what was said before that turn any more.
pub(super) fn cut(bot: &Bot, turn: u32, kept_from_turn: u32, summary: &str) -> Message {
    let kind = if summary.trim().is_empty() {
        MessageKind::Truncation
    } else {
        MessageKind::Summary
    };
    let cut = Cut {
        kept_from_turn,
        after_attempt: 0,
    };
    Message {
        kind,
        cut: Some(cut),
        ..said(bot, turn, summary.to_owned())
    }
}

/// A turn of that bot that has ended.
pub(super) fn said(bot: &Bot, turn: u32, text: String) -> Message {
    Message {
        kind: MessageKind::Bot,
        turn: Some(turn),
        bot_index: Some(bot.index),
        bot_version: Some(bot.version),
        author: bot.name.clone(),
        text,
        ..topic("")
    }
}
