//! What a provider's prompt cache lives on: whatever happens in a talk, each request of a bot begins with the bytes of its last
//! one, until something that is sent first was changed by somebody; and then everything else still does.

mod sent;
mod talk;

use std::sync::Arc;

use proptest::prelude::*;
use sent::{CHAT, CONTENTS, Layout, MESSAGES, RESPONSES, Sent};
use talk::{Happening, Talk, bot, cut, said, talks, topic};

use super::{
    Api, Dialect, Kind, ProviderConfig, Request,
    adapter::{Adapter, Outgoing},
};
use crate::conversation::{Bot, Message, lay_out, lay_out_for_summary};

/// The ways to ask: a kind, which of its APIs, and whether at the vendor's own address.
pub(super) const WAYS: [(&str, Api, bool, &Layout); 7] = [
    ("openai", Api::ChatCompletions, true, &CHAT),
    ("openai", Api::ChatCompletions, false, &CHAT),
    ("openai", Api::Responses, true, &RESPONSES),
    ("openai", Api::Responses, false, &RESPONSES),
    ("anthropic", Api::Auto, true, &MESSAGES),
    ("anthropic", Api::Auto, false, &MESSAGES),
    ("gemini", Api::Auto, true, &CONTENTS),
];

/// How many blocks back Anthropic finds what was cached; we stay far below its 20.
const LOOK_BACK: usize = 2;

/// What was changed since a bot's last request, and so may differ in its next one.
#[derive(Debug, Clone, Copy, Default)]
struct Changed {
    /// The model or its parameters: the fields that the model is not shown.
    fields: bool,
    /// What is sent first.
    system: bool,
}

/// A bot, and what is known of its requests.
struct Asked {
    bot: Bot,
    topic: String,
    way: usize,
    changed: Changed,
    last: Option<Sent>,
    /// Whether its context was cut since its last request.
    was_cut: bool,
    /// Whether its last turn came to something that it is shown.
    was_heard: bool,
    /// The blocks that were the last of a request, and so are cached; as long as what is before them is.
    cached: Vec<usize>,
}

/// What asks in that way.
pub(super) fn adapter(way: usize) -> Arc<dyn Adapter> {
    let (kind, api, vendor, _) = WAYS[way];
    let kind = Kind::named(kind).unwrap();
    (kind.adapter)(&ProviderConfig {
        name: "p".into(),
        kind,
        api,
        base_url: (!vendor).then(|| "http://localhost:8080".into()),
        query: vec![],
        headers: vec![],
        key_header: None,
        think_tags: false,
        dialect: Dialect::default(),
        max_concurrent: None,
        requests_per_minute: None,
        api_key: Some("test-key".to_owned().into()),
        api_key_env: "P_KEY".into(),
        simulated: false,
        models: vec![],
    })
}

impl Asked {
    fn new(index: usize, any: usize, topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            bot: bot(index),
            way: any % WAYS.len(),
            changed: Changed::default(),
            last: None,
            was_cut: false,
            was_heard: false,
            cached: Vec::new(),
        }
    }

    /// The request of its next turn, as it would go out.
    fn request(&self, names: &[String], transcript: &[Message]) -> Outgoing {
        let request = Request {
            model: &self.bot.model,
            prompt: &lay_out(&self.bot, names, transcript),
            params: &self.bot.params,
            cache_key: &format!("run:{}", self.bot.index),
            show_reasoning: false,
            trace: None,
        };
        adapter(self.way).outgoing(&request)
    }

    /// How many bytes the topic takes at the beginning of a conversation.
    fn topic(&self, layout: &Layout) -> usize {
        let topic = serde_json::to_string(self.topic.trim_end()).unwrap();
        1 + layout.text.len() - 1 + topic.len() - 1
    }

    /// What the bot is asked for a summary of begins as what it is shown.
    fn check_summary(
        &self,
        names: &[String],
        transcript: &[Message],
        before_turn: u32,
    ) -> Result<(), TestCaseError> {
        let asked = lay_out_for_summary(&self.bot, names, transcript, before_turn, 100);
        let shown = lay_out(&self.bot, names, transcript);
        let (asking, whole) = asked.messages.split_last().unwrap();
        prop_assert_eq!(&asked.system, &shown.system);
        prop_assert_eq!(whole, &shown.messages[..whole.len()]);
        // What is put where the user has said nothing is no part of what was said.
        let said = asking
            .text
            .split("(The conversation has become too long")
            .next();
        let mut last = said.unwrap().trim_end();
        for filler in ["(continue)", "(conversation starts)"] {
            last = last.strip_suffix(filler).unwrap_or(last).trim_end();
        }
        let at = shown.messages.get(whole.len());
        let at = at.map_or("", |message| message.text.as_str());
        prop_assert!(at.starts_with(last), "{at:?} and {last:?}");
        Ok(())
    }

    /// Compares the request with the last one.
    fn compare(&mut self, request: &Outgoing) -> Result<(), TestCaseError> {
        let (_, _, vendor, layout) = WAYS[self.way];
        let sent = Sent::of(request, layout);
        let changed = std::mem::take(&mut self.changed);
        let key = vendor && layout.system != MESSAGES.system && layout.messages != "contents";
        let expected = key.then(|| format!("run:{}", self.bot.index));
        let key = sent.rest.1.get("prompt_cache_key");
        prop_assert_eq!(key.and_then(|key| key.as_str()), expected.as_deref());
        if let Some(last) = &self.last {
            prop_assert!(
                changed.fields || last.rest == sent.rest,
                "{:?} then {:?}",
                last.rest,
                sent.rest
            );
            prop_assert!(
                changed.system || last.system == sent.system,
                "{} then {}",
                last.system,
                sent.system
            );
        }
        if std::mem::take(&mut self.was_cut) {
            // What stays in any case begins the conversation as before.
            if let Some(last) = self.last.take() {
                let same = sent.conversation.bytes().zip(last.conversation.bytes());
                let same = same.take_while(|(now, then)| now == then).count();
                prop_assert!(
                    same >= self.topic(layout),
                    "{} then {}",
                    last.conversation,
                    sent.conversation
                );
            }
            self.cached.clear();
        }
        if let Some(last) = &self.last {
            prop_assert!(
                sent.conversation.starts_with(&last.conversation),
                "{} then {}",
                last.conversation,
                sent.conversation
            );
            // The last block grows where nothing came of the bot's turn; all before it are what they were.
            let (whole, end) = (
                last.blocks.len() - usize::from(!self.was_heard),
                last.blocks.len(),
            );
            prop_assert_eq!(&last.blocks[..whole], &sent.blocks[..whole]);
            let stays = sent.blocks[..end] == last.blocks[..];
            self.cached.retain(|at| *at + 1 < end || stays);
            if changed.system || changed.fields {
                self.cached.clear();
            }
        }
        let at = sent.blocks.len() - 1;
        if let Some(nearest) = self.cached.last() {
            prop_assert!(
                at - nearest <= LOOK_BACK,
                "cached {:?}, now {at}",
                self.cached
            );
        }
        if self.cached.last() != Some(&at) {
            self.cached.push(at);
        }
        if layout.system == MESSAGES.system {
            prop_assert!(sent.is_marked_at_both_ends(), "{}", sent.bytes);
        } else {
            prop_assert_eq!(sent.markers, 0);
        }
        self.last = Some(sent);
        Ok(())
    }
}

/// Carries out a talk and looks at each request.
fn hold(talk: &Talk) -> Result<(), TestCaseError> {
    let mut bots: Vec<Asked> = talk
        .bots
        .iter()
        .enumerate()
        .map(|(at, any)| Asked::new(at, *any, &talk.topic))
        .collect();
    let mut transcript = vec![topic(&talk.topic)];
    let mut turn = 0_u32;
    for happening in &talk.happenings {
        match happening {
            Happening::Patch { bot, patch } => patch_bot(&mut bots, *bot, patch),
            Happening::Cut { bot, kept, summary } => {
                let at = bot % bots.len();
                let from = turn.saturating_sub(*kept);
                transcript.push(cut(&bots[at].bot, turn, from, summary));
                let names: Vec<String> = bots.iter().map(|asked| asked.bot.name.clone()).collect();
                bots[at].check_summary(&names, &transcript[..transcript.len() - 1], from)?;
                // The conversation begins anew; from there on it only grows again.
                bots[at].was_cut = true;
            }
            Happening::Turn {
                instead,
                restarts,
                text,
                says_its_name,
                status,
                stop_reason,
            } => {
                let names: Vec<String> = bots.iter().map(|asked| asked.bot.name.clone()).collect();
                let asked = &mut bots[talk.speaker(turn, *instead)];
                let request = asked.request(&names, &transcript);
                for _ in 0..*restarts {
                    // Nothing in it comes from elsewhere. (That rows give the same transcript is for tests/crashes.)
                    let again = asked.request(&names, &transcript);
                    prop_assert_eq!(format!("{again:?}"), format!("{request:?}"));
                    prop_assert_eq!(again.body.to_string(), request.body.to_string());
                }
                asked.compare(&request)?;
                let prefix = if *says_its_name {
                    format!("{}: ", asked.bot.name)
                } else {
                    String::new()
                };
                let message = Message {
                    status: *status,
                    stop_reason: *stop_reason,
                    ..said(&asked.bot, turn, format!("{prefix}{text}"))
                };
                turn += 1;
                asked.was_heard = message.is_heard();
                transcript.push(message);
            }
        }
    }
    Ok(())
}

/// What a PATCH does, and whose requests it may change.
fn patch_bot(bots: &mut [Asked], bot: usize, patch: &serde_json::Value) {
    let (at, many) = (bot % bots.len(), bots.len() > 2);
    let mut patch = patch.as_object().unwrap().clone();
    if let Some(name) = patch.get_mut("name") {
        // Names in a run differ.
        *name = format!("{} {at}", name.as_str().unwrap()).into();
    }
    let before = bots[at].bot.clone();
    // What the rules refuse is not done.
    let after = before.patched(&patch).unwrap_or_else(|_| before.clone());
    let renamed = after.name != before.name;
    let changed = &mut bots[at].changed;
    changed.fields |= after.model != before.model || after.params != before.params;
    changed.system |= after.system_prompt != before.system_prompt;
    bots[at].bot = after;
    if renamed && many {
        // Each is told the others' names.
        for other in bots {
            other.changed.system = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn each_request_begins_with_the_last_one(talk in talks()) {
        hold(&talk)?;
    }
}
