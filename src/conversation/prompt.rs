//! What a bot is shown: a pure function of its own prompt and the transcript.
//!
//! The layout is append-only between a bot's turns: what was laid out once stays at the front of everything laid out later, so
//! that providers' prompt caches hit. Nothing in it counts, dates or changes.

use super::{
    bot::Bot,
    transcript::{Message, MessageKind, last_summary, shown},
};

/// Stands before a bot's own first words where nothing was heard before: every provider wants a user message first.
const OPENER: &str = "(conversation starts)";
/// Stands after a bot's own words where nothing was heard since: no provider wants an assistant message last.
const CONTINUE: &str = "(continue)";
/// Stands before a summary, after the topic.
const SUMMARY: &str = "What was said until then, in short:";
/// Who says a message of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everybody else.
    User,
    /// The bot itself.
    Assistant,
}

/// One message of a prompt. Roles alternate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// Never empty, without white space at its end.
    pub text: String,
}

/// What a bot is shown. Starts and ends with a user message, roles alternate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the bot is told about itself.
    pub system: Option<String>,
    /// The conversation from the bot's side.
    pub messages: Vec<PromptMessage>,
}

impl Prompt {
    /// How long all of it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let system = self.system.as_ref().map_or(0, String::len);
        let messages = self.messages.iter().map(|message| message.text.len());
        system + messages.sum::<usize>()
    }
}

/// Lays out what `speaker` is shown before its turn. `names` are all bots' names by index.
///
/// Own messages become assistant, everybody else's user; neighbours of one role are joined by a blank line. Where more than two
/// talk, each heard message begins with its author's name and the bot is told its own.
///
/// Where the speaker's context was cut, the topic is followed by the summary, if there is one, and by what is still shown.
#[must_use]
pub fn lay_out(speaker: &Bot, names: &[String], transcript: &[Message]) -> Prompt {
    let shown = shown(speaker.index, transcript);
    laid_out(speaker, names, transcript, shown)
}

/// Lays out what `speaker` is asked for a summary of, in so many words: what it is shown of the turns before that one.
#[must_use]
pub fn lay_out_for_summary(
    speaker: &Bot,
    names: &[String],
    transcript: &[Message],
    before_turn: u32,
    words: u64,
) -> Prompt {
    let shown = shown(speaker.index, transcript)
        .filter(|message| message.turn.is_none_or(|turn| turn < before_turn));
    let mut prompt = laid_out(speaker, names, transcript, shown);
    // At the end, so that the prompt begins as the bot's others do.
    push(&mut prompt.messages, Role::User, &asking(words));
    prompt
}

/// What asks for a summary.
fn asking(words: u64) -> String {
    format!(
        "(The conversation has become too long to be shown whole. Before it goes on, write a summary of everything above, in at most \
         {words} words: who said what, what was agreed, what is still open. Write only the summary; it is not shown to the others, \
         and stands in the place of what it sums up.)"
    )
}

fn laid_out<'a>(
    speaker: &Bot,
    names: &[String],
    transcript: &[Message],
    shown: impl Iterator<Item = &'a Message>,
) -> Prompt {
    let named = names.len() > 2;
    let summary = last_summary(speaker.index, transcript);
    let mut messages: Vec<PromptMessage> = Vec::new();
    for message in shown {
        let own = message.kind == MessageKind::Bot && message.bot_index == Some(speaker.index);
        if own {
            // So ended the prompt of that turn; it stays, also where nothing came of the turn: the prefix must not change.
            end_with_user(&mut messages);
        }
        if message.is_heard() {
            let text = if named {
                with_name(message, own)
            } else {
                message.text.trim_end().to_owned()
            };
            push(
                &mut messages,
                if own { Role::Assistant } else { Role::User },
                &text,
            );
        }
        if message.kind == MessageKind::Topic
            && let Some(summary) = summary
        {
            let text = format!("{SUMMARY}\n\n{}", summary.text.trim_end());
            push(&mut messages, Role::User, &text);
        }
    }
    end_with_user(&mut messages);
    Prompt {
        system: system(speaker, names, named),
        messages,
    }
}

/// Adds what it takes for the user to have the last word.
fn end_with_user(messages: &mut Vec<PromptMessage>) {
    let filler = match messages.last().map(|last| last.role) {
        None => OPENER,
        Some(Role::Assistant) => CONTINUE,
        Some(Role::User) => return,
    };
    messages.push(PromptMessage {
        role: Role::User,
        text: filler.to_owned(),
    });
}

/// Adds a message, joining neighbours of one role by a blank line.
fn push(messages: &mut Vec<PromptMessage>, role: Role, text: &str) {
    match messages.last_mut() {
        Some(last) if last.role == role => {
            last.text.push_str("\n\n");
            last.text.push_str(text);
        }
        _ => messages.push(PromptMessage {
            role,
            text: text.to_owned(),
        }),
    }
}

/// The text with its author's name before it, or, for the bot itself, without: models imitate and write the name themselves.
fn with_name(message: &Message, own: bool) -> String {
    let text = message.text.trim_end();
    if message.kind == MessageKind::Topic {
        return text.to_owned();
    }
    let bare = text
        .strip_prefix(message.author.as_str())
        .and_then(|rest| rest.strip_prefix(':'))
        .map(str::trim_start)
        .filter(|rest| !rest.is_empty())
        .unwrap_or(text);
    if own {
        bare.to_owned()
    } else {
        format!("{}: {bare}", message.author)
    }
}

fn system(speaker: &Bot, names: &[String], named: bool) -> Option<String> {
    let own = speaker
        .system_prompt
        .as_deref()
        .map(str::trim_end)
        .filter(|text| !text.is_empty());
    if !named {
        return own.map(str::to_owned);
    }
    let others: Vec<&str> = (0..)
        .zip(names)
        .filter(|(i, _)| *i != speaker.index)
        .map(|(_, name)| name.as_str())
        .collect();
    let introduction = format!(
        "You are {}. You talk with {}.",
        speaker.name,
        others.join(", ")
    );
    Some(own.map_or_else(
        || introduction.clone(),
        |text| format!("{text}\n\n{introduction}"),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::{Cut, MessageStatus, Params, StopReason, Timestamp};

    fn bot(index: u32) -> Bot {
        Bot {
            index,
            version: 1,
            name: format!("Bot {}", index + 1),
            provider: "p".into(),
            model: "m".into(),
            system_prompt: Some("Be brief.\n".into()),
            params: Params::default(),
            fallback: Vec::new(),
        }
    }

    fn names(count: u32) -> Vec<String> {
        (0..count).map(|index| bot(index).name).collect()
    }

    fn topic(text: &str) -> Message {
        Message {
            text: text.into(),
            ..Message::blank(MessageKind::Topic, 1, Timestamp::from_millis(0))
        }
    }

    fn said(bot_index: u32, text: &str) -> Message {
        Message {
            kind: MessageKind::Bot,
            bot_index: Some(bot_index),
            author: bot(bot_index).name,
            stop_reason: Some(StopReason::EndTurn),
            ..topic(text)
        }
    }

    fn flat(prompt: &Prompt) -> Vec<String> {
        prompt
            .messages
            .iter()
            .map(|m| {
                format!(
                    "{}|{}",
                    if m.role == Role::User { "u" } else { "a" },
                    m.text
                )
            })
            .collect()
    }

    #[test]
    fn two_bots_see_each_other_as_the_user() {
        let transcript = [
            topic("Tea?"),
            said(0, "Yes. \n"),
            said(1, "With milk."),
            said(0, "No!"),
        ];
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &transcript[..3])),
            ["u|Tea?", "a|Yes.", "u|With milk."]
        );
        assert_eq!(
            flat(&lay_out(&bot(1), &names(2), &transcript)),
            ["u|Tea?\n\nYes.", "a|With milk.", "u|No!"]
        );
        assert_eq!(
            lay_out(&bot(1), &names(2), &transcript).system.as_deref(),
            Some("Be brief.")
        );
    }

    #[test]
    fn more_than_two_are_named() {
        let transcript = [
            topic("Tea?"),
            said(0, "Bot 1: Yes."),
            said(1, "No."),
            said(2, "Bot 3:  Perhaps."),
        ];
        let prompt = lay_out(&bot(2), &names(3), &transcript);
        assert_eq!(
            flat(&prompt),
            [
                "u|Tea?\n\nBot 1: Yes.\n\nBot 2: No.",
                "a|Perhaps.",
                "u|(continue)"
            ]
        );
        assert_eq!(
            prompt.system.as_deref(),
            Some("Be brief.\n\nYou are Bot 3. You talk with Bot 1, Bot 2.")
        );
    }

    #[test]
    fn what_is_empty_failed_or_refused_is_not_shown() {
        let failed = Message {
            status: MessageStatus::Failed,
            ..said(0, "half")
        };
        let refused = Message {
            stop_reason: Some(StopReason::Refusal),
            ..said(1, "I will not.")
        };
        let transcript = [
            topic("Tea?"),
            said(0, " \n"),
            failed,
            refused,
            said(0, "Yes."),
        ];
        assert_eq!(
            flat(&lay_out(&bot(1), &names(2), &transcript)),
            ["u|Tea?\n\nYes."]
        );
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &transcript)),
            ["u|Tea?", "a|Yes.", "u|(continue)"]
        );
    }

    #[test]
    fn an_empty_conversation_still_has_a_user_message() {
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &[])),
            ["u|(conversation starts)"]
        );
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &[said(0, "Hi")])),
            ["u|(conversation starts)", "a|Hi", "u|(continue)"]
        );
    }

    fn cut(bot_index: u32, kept_from_turn: u32, summary: &str) -> Message {
        let kind = if summary.is_empty() {
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
            ..said(bot_index, summary)
        }
    }

    /// The turns of two bots.
    fn talk(texts: &[&str]) -> Vec<Message> {
        let turns = (0u32..).zip(texts).map(|(turn, text)| Message {
            turn: Some(turn),
            ..said(turn % 2, text)
        });
        [topic("Tea?")].into_iter().chain(turns).collect()
    }

    #[test]
    fn a_cut_leaves_the_topic_and_what_is_newer() {
        let mut transcript = talk(&["a0", "b1", "a2", "b3"]);
        transcript.push(cut(0, 2, ""));
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &transcript)),
            ["u|Tea?", "a|a2", "u|b3"]
        );
        // A summary stays where more is left out after it.
        let later = transcript
            .iter()
            .cloned()
            .chain([cut(0, 2, "Tea."), cut(0, 3, "")]);
        let later: Vec<Message> = later.collect();
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &later)),
            [format!("u|Tea?\n\n{SUMMARY}\n\nTea.\n\nb3")]
        );
        // It is the one bot's; what the other is shown stays.
        assert_eq!(
            flat(&lay_out(&bot(1), &names(2), &transcript[..4])),
            flat(&lay_out(&bot(1), &names(2), &talk(&["a0", "b1", "a2"])))
        );
        transcript.push(cut(0, 3, "Tea is good. "));
        assert_eq!(
            flat(&lay_out(&bot(0), &names(2), &transcript)),
            [format!("u|Tea?\n\n{SUMMARY}\n\nTea is good.\n\nb3")]
        );
    }

    #[test]
    fn a_summary_is_asked_for_at_the_end_of_what_it_is_of() {
        let transcript = talk(&["a0", "b1", "a2", "b3", "a4", "b5"]);
        let prompt = lay_out_for_summary(&bot(0), &names(2), &transcript, 3, 80);
        assert_eq!(
            flat(&prompt),
            [
                "u|Tea?",
                "a|a0",
                "u|b1",
                "a|a2",
                &format!("u|(continue)\n\n{}", asking(80))
            ][..]
        );
        assert_eq!(prompt.system.as_deref(), Some("Be brief."));
        let prompt = lay_out_for_summary(&bot(0), &names(2), &transcript, 4, 80);
        assert_eq!(flat(&prompt)[4], format!("u|b3\n\n{}", asking(80)));
        // The summary before is a part of what the next one is of.
        let summed: Vec<Message> = transcript.into_iter().chain([cut(0, 4, "Tea.")]).collect();
        let prompt = lay_out_for_summary(&bot(0), &names(2), &summed, 5, 80);
        assert_eq!(
            flat(&prompt)[..2],
            [format!("u|Tea?\n\n{SUMMARY}\n\nTea."), "a|a4".to_owned()]
        );
    }

    proptest! {
        /// Any history, any bot: roles alternate, the first and the last message are the user's, none is empty or ends in
        /// white space, and each prompt, written out, is a prefix of every later one of the same bot.
        #[test]
        fn prompts_alternate_and_only_grow(bots in 2u32..5, texts in prop::collection::vec("[a-c \n]{0,6}", 0..12)) {
            let mut transcript = vec![topic("Tea?")];
            let mut before: Vec<String> = vec![String::new(); bots as usize];
            for (turn, text) in (0u32..).zip(&texts) {
                let speaker = bot(turn % bots);
                let prompt = lay_out(&speaker, &names(bots), &transcript);
                prop_assert_eq!(prompt.messages.first().map(|m| m.role), Some(Role::User));
                prop_assert_eq!(prompt.messages.last().map(|m| m.role), Some(Role::User));
                prop_assert!(prompt.messages.windows(2).all(|pair| pair[0].role != pair[1].role));
                prop_assert!(prompt.messages.iter().all(|m| !m.text.is_empty() && m.text.trim_end() == m.text));
                let written: String = flat(&prompt).join("\u{1}");
                let earlier = &mut before[speaker.index as usize];
                prop_assert!(written.starts_with(earlier.as_str()), "{:?} then {:?}", earlier, written);
                *earlier = written;
                transcript.push(said(speaker.index, text));
            }
        }
    }
}
