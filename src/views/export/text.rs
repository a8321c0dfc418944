//! What the forms for readers say beside the messages, as plain lines: each form escapes them as it must.
//!
//! Names of bots and models come from outside, too. They are put on one line, and what would turn the direction of the text around them is
//! shown as a replacement character.

use crate::conversation::{
    Cost, Message, MessageKind, MessageStatus, Run, Said, StopReason, Timestamp, TranscriptHead,
    Usage,
};

/// What stands above the messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// Who talks.
    pub(super) title: String,
    /// That it is not over, if so.
    pub(super) notice: Option<String>,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
}

/// What stands above a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heading {
    /// Whose it is.
    pub(super) title: String,
    /// When it was said, by which model, and why it ended.
    pub(super) details: String,
    /// That it is no whole message, if so, or what else a reader must know of it.
    pub(super) mark: Option<String>,
}

/// An entry as readers see it: with its heading, and its text if it has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) heading: Heading,
    /// `None`: there is nothing but the heading, as where a context was cut.
    pub(super) text: Option<&'a str>,
}

/// The entry for readers; none where nothing was said.
pub(super) fn entry<'a>(said: &'a Said, head: &TranscriptHead) -> Option<Entry<'a>> {
    let message = &said.message;
    let text = Some(message.text.as_str()).filter(|text| !text.is_empty());
    (text.is_some() || message.cut.is_some()).then(|| Entry {
        heading: heading(message, head),
        text,
    })
}

/// The run in a few lines.
pub(super) fn cover(head: &TranscriptHead) -> Cover {
    let run = &head.run;
    let names: Vec<String> = run.bots.iter().map(|bot| one_line(&bot.name)).collect();
    let mut facts = vec![
        ("Status", status(run)),
        (
            "Turns",
            format!("{} of at most {}", run.totals.turns, run.max_turns),
        ),
        ("Begun", moment(run.created_at)),
    ];
    facts.extend(run.finished_at.map(|at| ("Ended", moment(at))));
    for (bot, name) in run.bots.iter().zip(&names) {
        let asked = format!(
            "{name}: {}/{}",
            one_line(&bot.provider),
            one_line(&bot.model)
        );
        let changed = if bot.version > 1 {
            ", as changed last"
        } else {
            ""
        };
        facts.push(("Bot", format!("{asked}{changed}")));
    }
    facts.push(("Tokens", tokens(run.totals.usage)));
    facts.push(("Cost", cost(run.totals.cost_usd, run.totals.cost_complete)));
    facts.push(("Run", run.id.to_string()));
    Cover {
        title: format!("A talk of {}", enumerated(&names)),
        notice: notice(head),
        facts,
    }
}

fn enumerated(names: &[String]) -> String {
    match names {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        names => names.join(", "),
    }
}

fn status(run: &Run) -> String {
    let status = run.status.as_str();
    match (&run.failure, run.reason) {
        (Some(failure), _) => {
            let said = one_line(&failure.message);
            format!("{status} ({}): {said}", failure.code.as_str())
        }
        (None, Some(reason)) => format!("{status} ({})", reason.as_str()),
        (None, None) => status.to_owned(),
    }
}

fn notice(head: &TranscriptHead) -> Option<String> {
    let run = &head.run;
    if run.status.is_final() {
        return None;
    }
    let open = run.in_progress.map(|open| {
        let (turn, name) = (open.turn + 1, name_of(head, Some(open.bot_index)));
        format!(" Turn {turn} ({name}) was being spoken and is not in it.")
    });
    Some(format!(
        "This run is not over: this is how it stood at event {}.{}",
        run.last_event_id,
        open.unwrap_or_default()
    ))
}

fn name_of(head: &TranscriptHead, bot_index: Option<u32>) -> String {
    let mut bots = head.run.bots.iter();
    let bot = bots.find(|bot| Some(bot.index) == bot_index);
    bot.map_or_else(|| "a bot".to_owned(), |bot| one_line(&bot.name))
}

fn tokens(usage: Usage) -> String {
    let count =
        |tokens: Option<u64>| tokens.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let cached = usage.cached_input_tokens.filter(|tokens| *tokens > 0);
    let cached = cached.map(|tokens| format!(" ({tokens} of them from a cache)"));
    format!(
        "{} in{}, {} out",
        count(usage.input_tokens),
        cached.unwrap_or_default(),
        count(usage.output_tokens)
    )
}

fn cost(cost: Option<Cost>, complete: bool) -> String {
    match cost {
        Some(cost) if complete => format!("{cost} US dollars"),
        Some(cost) => format!("at least {cost} US dollars; not all of it is known"),
        None => "unknown".to_owned(),
    }
}

fn heading(message: &Message, head: &TranscriptHead) -> Heading {
    let turn = message.turn.map_or(0, |turn| turn + 1);
    let author = match message.author.as_str() {
        "" => name_of(head, message.bot_index),
        name => one_line(name),
    };
    let kept = message.cut.map_or(0, |cut| cut.kept_from_turn + 1);
    let (title, mark) = match message.kind {
        MessageKind::Topic => ("Topic".to_owned(), None),
        MessageKind::Bot => (format!("Turn {turn} · {author}"), None),
        MessageKind::Truncation => (
            format!("Before turn {turn}: the context of {author} was cut"),
            Some(format!(
                "From here on {author} is shown the topic and what was said from turn {kept} on."
            )),
        ),
        MessageKind::Summary => (
            format!("Before turn {turn}: a summary for {author}"),
            Some(format!(
                "From here on {author} is shown this in the place of what was said before turn {kept}."
            )),
        ),
    };
    let broken = match message.status {
        MessageStatus::Completed => None,
        MessageStatus::Interrupted => Some("Interrupted: a stop cut this short."),
        MessageStatus::Failed => {
            Some("Failed: this is what had come when the last attempt broke off.")
        }
    };
    Heading {
        title,
        details: details(message),
        mark: broken.map(str::to_owned).or(mark),
    }
}

fn details(message: &Message) -> String {
    let mut details = vec![moment(message.at)];
    if let (Some(provider), Some(model)) = (&message.provider, &message.model) {
        details.push(format!("{}/{}", one_line(provider), one_line(model)));
    }
    // What most messages end with says nothing.
    let reason = message
        .stop_reason
        .filter(|reason| *reason != StopReason::EndTurn);
    details.extend(reason.map(|reason| format!("ended by {}", reason.as_str())));
    details.join(" · ")
}

/// To the second, for people.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(seconds) => format!("{} UTC", seconds.replace('T', " ")),
        None => text,
    }
}

/// A name as a part of one of our lines.
pub(super) fn one_line(name: &str) -> String {
    let shown = |c: char| match c {
        // LRM, RLM, ALM, the embeddings and overrides, the isolates.
        '\u{200E}'
        | '\u{200F}'
        | '\u{061C}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() || c.is_whitespace() => ' ',
        c => c,
    };
    name.chars().map(shown).collect()
}
