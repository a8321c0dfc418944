//! `cargo loco task converse topic:"…"`: a conversation in the terminal, as it is spoken.
//!
//! It goes through the same door and the same log as the API.

use std::io::{IsTerminal as _, Write};

use loco_rs::prelude::*;
use serde_json::Value;

use crate::{
    app::Parts,
    conversation::{
        Asker, BotSpec, ContextPolicy, Cost, EventId, Params, ProviderInfo, RunError, RunId,
        StartRun, StopMode, Whose,
    },
    orchestrator::{Runs, Started, Streaming},
};

/// The task.
pub struct Converse;

/// What the caller may say.
const KNOWN: [&str; 6] = ["topic", "turns", "a", "b", "reasoning", "context"];

/// How many turns are spoken if the caller does not say.
const TURNS: u32 = 6;

#[async_trait]
impl Task for Converse {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "converse".to_string(),
            detail:
                "Shows a conversation: topic:\"…\" [turns:N] [a:PROVIDER/MODEL] [b:PROVIDER/MODEL] [reasoning:true] [context:POLICY]"
                    .to_string(),
        }
    }

    async fn run(&self, ctx: &AppContext, vars: &task::Vars) -> Result<()> {
        let parts = Parts::start(ctx).await?;
        // No worker is waited for: whoever asks here listens here. Where another process drives the file, that one speaks.
        parts.supervisor.drive();
        let order = order(&parts.runs.providers(), vars)?;
        let shown = converse(&parts.runs, order).await;
        parts.shut_down().await;
        shown
    }
}

fn optional<'a>(vars: &'a task::Vars, name: &str) -> Option<&'a str> {
    vars.cli_arg(name).ok()
}

/// The order that the task's variables describe.
fn order(providers: &[ProviderInfo], vars: &task::Vars) -> Result<StartRun> {
    if let Some(unknown) = vars.cli.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let known = KNOWN.join(", ");
        return Err(Error::string(&format!(
            "{unknown}: is unknown; there are: {known}"
        )));
    }
    let topic = optional(vars, "topic")
        .ok_or_else(|| Error::string("say what to talk about: topic:\"…\""))?;
    let turns = optional(vars, "turns").map_or(Ok(TURNS), str::parse);
    let max_turns =
        turns.map_err(|_| Error::string("turns: takes a whole number, such as turns:6"))?;
    let show_reasoning = optional(vars, "reasoning").map_or(Ok(false), str::parse);
    let show_reasoning =
        show_reasoning.map_err(|_| Error::string("reasoning: takes true or false"))?;
    let context_policy = optional(vars, "context").map_or(Ok(ContextPolicy::Fail), str::parse);
    let context_policy =
        context_policy.map_err(|error| Error::string(&format!("context: {error}")))?;
    let a = bot(providers, "a", optional(vars, "a"), "openai")?;
    let b = bot(providers, "b", optional(vars, "b"), "anthropic")?;
    Ok(StartRun {
        topic: topic.to_owned(),
        bots: vec![a, b],
        max_turns: Some(max_turns),
        show_reasoning: Some(show_reasoning),
        context_policy: Some(context_policy),
    })
}

/// The bot that the caller names by `PROVIDER/MODEL`, or else the preferred provider, or any that is configured.
fn bot(
    providers: &[ProviderInfo],
    var: &str,
    named: Option<&str>,
    preferred: &str,
) -> Result<BotSpec> {
    let (provider, model) = if let Some(named) = named {
        let parts = named
            .split_once('/')
            .filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
        let wrong = || {
            Error::string(&format!(
                "{var}: takes a provider and a model, such as {var}:openai/gpt-6-luna"
            ))
        };
        parts
            .map(|(provider, model)| (provider.to_owned(), model.to_owned()))
            .ok_or_else(wrong)?
    } else {
        let mut usable = providers
            .iter()
            .filter(|info| info.configured && !info.models.is_empty());
        let first = usable.clone().next();
        let chosen = usable.find(|info| info.name == preferred).or(first).ok_or_else(|| {
            Error::string(&format!("no configured provider lists a model: say which, such as {var}:openai/gpt-6-luna"))
        })?;
        (
            chosen.name.clone(),
            chosen.models.first().cloned().unwrap_or_default(),
        )
    };
    Ok(BotSpec {
        name: None,
        provider,
        model,
        system_prompt: None,
        params: Params::default(),
        fallback: Vec::new(),
    })
}

/// Runs the conversation and prints it; Ctrl-C stops it.
async fn converse(runs: &Runs, order: StartRun) -> Result<()> {
    let run = match runs
        .start(order, &Asker::default(), None, None)
        .await
        .map_err(told)?
    {
        Started::Now(run, _) => run,
        // Only a request with a key can have come before.
        Started::Before(answer) => return Err(Error::string(&answer)),
    };
    let mut screen = Screen::new(std::io::stdout());
    let Streaming::Open(mut stream) = runs
        .stream(&Whose::Everybodys, run.id, EventId::START)
        .await
        .map_err(told)?
    else {
        return Ok(());
    };
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = &mut interrupted, if !stopping => {
                stopping = true;
                stop(runs, run.id).await?;
            }
            bytes = stream.next() => match bytes.map_err(told)? {
                Some(bytes) => screen.show(&bytes)?,
                None => break,
            }
        }
    }
    match runs
        .get(&Whose::Everybodys, run.id)
        .await
        .map_err(told)?
        .failure
    {
        Some(failure) => Err(Error::string(&format!(
            "the run failed ({}): {}",
            failure.code.as_str(),
            failure.message
        ))),
        None => Ok(()),
    }
}

async fn stop(runs: &Runs, id: RunId) -> Result<()> {
    runs.stop(&Whose::Everybodys, id, StopMode::Now, &Asker::default())
        .await
        .map_err(told)?;
    Ok(())
}

/// What the caller is told of a refusal.
fn told(error: RunError) -> Error {
    match error {
        RunError::Invalid(violations) => {
            let reasons: Vec<String> = violations
                .iter()
                .map(|v| format!("{} {}", v.pointer, v.reason))
                .collect();
            Error::string(&reasons.join("; "))
        }
        error => Error::string(&error.to_string()),
    }
}

/// Prints events as they come: one colour a bot, none where nobody looks.
struct Screen<W> {
    out: W,
    colours: bool,
    max_turns: u64,
    tokens: u64,
    /// Whether reasoning is being shown.
    thinks: bool,
}

const COLOURS: [u8; 8] = [36, 33, 35, 32, 34, 31, 96, 93];

impl Screen<std::io::Stdout> {
    fn new(out: std::io::Stdout) -> Self {
        let colours = out.is_terminal();
        Self {
            out,
            colours,
            max_turns: 0,
            tokens: 0,
            thinks: false,
        }
    }
}

impl<W: Write> Screen<W> {
    /// Shows whole SSE blocks as the log hands them out.
    fn show(&mut self, blocks: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(blocks);
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            self.event(&serde_json::from_str(data)?)?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn event(&mut self, event: &Value) -> std::io::Result<()> {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        self.set_apart(text("kind") == "reasoning", event)?;
        match text("type") {
            "run.started" => {
                self.max_turns = event["max_turns"].as_u64().unwrap_or_default();
                writeln!(self.out, "{}\n", self.paint(1, text("topic")))
            }
            "turn.started" => {
                let colour = self.colour(event);
                let title = format!("{} ({})", text("bot_name"), text("model"));
                write!(
                    self.out,
                    "{}\n{}",
                    self.paint(1, &title),
                    self.begin(colour)
                )
            }
            "turn.delta" => write!(self.out, "{}", printable(text("text"))),
            "turn.restarted" => {
                let colour = self.colour(event);
                write!(
                    self.out,
                    "{}\n{}",
                    self.end(),
                    self.paint(2, "(once more)\n") + &self.begin(colour)
                )
            }
            "turn.completed" => {
                if let Some(words) = event["refusal"].as_str() {
                    write!(self.out, "{}", printable(words))?;
                }
                self.turn_ended(event)
            }
            "turn.interrupted" | "turn.failed" => self.turn_ended(event),
            "context.truncated" | "context.summarised" => {
                self.count(event);
                let kept = event["kept_from_turn"].as_u64().unwrap_or_default() + 1;
                let line = match event["text"].as_str() {
                    Some(summary) => {
                        format!("[before turn {kept}, in short: {}]", printable(summary))
                    }
                    None => format!("[what was said before turn {kept} is left out from now on]"),
                };
                writeln!(self.out, "{}", self.paint(2, &line))
            }
            "error" => {
                self.count(event);
                let line = format!("[{}: {}]", text("code"), printable(text("message")));
                writeln!(self.out, "{}", self.paint(2, &line))
            }
            "run.completed" | "run.stopped" | "run.failed" => {
                let why = event["reason"]
                    .as_str()
                    .or(event["error"]["code"].as_str())
                    .unwrap_or_default();
                let cost = match (dollars(event), event["cost_complete"] == true) {
                    (Some(dollars), true) => format!(", {dollars}"),
                    (Some(dollars), false) => format!(", {dollars} and what is not known"),
                    (None, _) => String::new(),
                };
                writeln!(
                    self.out,
                    "{}",
                    self.paint(1, &format!("{}: {why}{cost}", text("type")))
                )
            }
            _ => Ok(()),
        }
    }

    /// Puts reasoning in brackets of its own line, dimmed.
    fn set_apart(&mut self, thinks: bool, event: &Value) -> std::io::Result<()> {
        match (std::mem::replace(&mut self.thinks, thinks), thinks) {
            (false, true) => write!(self.out, "{}(", self.begin(2)),
            (true, false) => {
                let colour = self.begin(self.colour(event));
                write!(self.out, "){}\n{colour}", self.end())
            }
            (false, false) | (true, true) => Ok(()),
        }
    }

    /// Ends the turn's text and says how far the conversation is and what it took.
    fn turn_ended(&mut self, event: &Value) -> std::io::Result<()> {
        let spoken = event["turn"].as_u64().unwrap_or_default() + 1;
        if event["type"] != "turn.failed" {
            // What a failed turn used stands in the errors before it.
            self.count(event);
        }
        let cost = dollars(event)
            .map(|dollars| format!(", {dollars}"))
            .unwrap_or_default();
        let progress = format!(
            "[turn {spoken} of {}, {} tokens so far{cost}]",
            self.max_turns, self.tokens
        );
        writeln!(self.out, "{}\n{}\n", self.end(), self.paint(2, &progress))
    }

    /// Adds what an attempt used.
    fn count(&mut self, event: &Value) {
        for tokens in ["input_tokens", "output_tokens"] {
            self.tokens += event["usage"][tokens].as_u64().unwrap_or_default();
        }
    }

    fn colour(&self, event: &Value) -> u8 {
        let index = event["bot_index"]
            .as_u64()
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or_default();
        COLOURS.get(index).copied().unwrap_or(39)
    }

    fn begin(&self, colour: u8) -> String {
        if self.colours {
            format!("\u{1b}[{colour}m")
        } else {
            String::new()
        }
    }

    fn end(&self) -> String {
        self.begin(0)
    }

    fn paint(&self, style: u8, text: &str) -> String {
        format!("{}{}{}", self.begin(style), printable(text), self.end())
    }
}

/// What the event says that something cost, with all its digits; nothing where that is not known.
fn dollars(event: &Value) -> Option<String> {
    let cost: Option<Cost> = serde_json::from_value(event["cost_usd"].clone()).ok()?;
    Some(format!("${}", cost?))
}

/// Model output without what could command the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(colours: bool, blocks: &str) -> String {
        let mut screen = Screen {
            out: Vec::new(),
            colours,
            max_turns: 0,
            tokens: 0,
            thinks: false,
        };
        screen.show(blocks.as_bytes()).unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    const TALK: &str = concat!(
        "event: run.started\nid: 1-0\ndata: {\"type\":\"run.started\",\"topic\":\"Tea\",\"max_turns\":1}\n\n",
        "event: turn.started\nid: 2-0\ndata: {\"type\":\"turn.started\",\"bot_index\":1,\"bot_name\":\"Bot 2\",\"model\":\"m\"}\n\n",
        "event: turn.delta\nid: 2-1\ndata: {\"type\":\"turn.delta\",\"text\":\"Hi\\u001b[31m \"}\n\n",
        "event: turn.delta\nid: 2-2\ndata: {\"type\":\"turn.delta\",\"text\":\"you\"}\n\n",
        "event: turn.completed\nid: 3-0\ndata: {\"type\":\"turn.completed\",\"turn\":0,\"usage\":{\"input_tokens\":2,\"output_tokens\":3}}\n\n",
        "event: run.completed\nid: 4-0\ndata: {\"type\":\"run.completed\",\"reason\":\"max_turns\"}\n\n",
    );

    #[test]
    fn a_talk_without_a_terminal_has_no_colours_and_no_control_characters() {
        assert_eq!(
            shown(false, TALK),
            "Tea\n\nBot 2 (m)\nHi[31m you\n[turn 1 of 1, 5 tokens so far]\n\nrun.completed: max_turns\n"
        );
    }

    #[test]
    fn what_a_talk_cost_is_shown_to_the_last_digit() {
        let ended = |cost: &str| {
            let event = format!("data: {{\"type\":\"run.stopped\",\"reason\":\"r\",{cost}}}\n\n");
            shown(false, &event)
        };
        for (cost, text) in [
            (
                "\"cost_usd\":0.000000123456,\"cost_complete\":true",
                ", $0.000000123456",
            ),
            (
                "\"cost_usd\":1.5,\"cost_complete\":false",
                ", $1.5 and what is not known",
            ),
            ("\"cost_usd\":null,\"cost_complete\":false", ""),
        ] {
            assert_eq!(ended(cost), format!("run.stopped: r{text}\n"));
        }
    }

    #[test]
    fn on_a_terminal_each_bot_has_its_colour() {
        assert!(shown(true, TALK).contains("\u{1b}[33mHi[31m you\u{1b}[0m"));
    }

    #[test]
    fn reasoning_stands_apart_and_dimmed() {
        let delta = |n: u32, kind: &str, text: &str| {
            let data = serde_json::json!({"type": "turn.delta", "bot_index": 1, "kind": kind, "text": text});
            format!("event: turn.delta\nid: 2-{n}\ndata: {data}\n\n")
        };
        let blocks = [
            delta(1, "reasoning", "They "),
            delta(2, "reasoning", "ask."),
            delta(3, "", "Tea."),
        ];
        assert_eq!(shown(false, &blocks.concat()), "(They ask.)\nTea.");
        assert_eq!(
            shown(true, &blocks.concat()),
            "\u{1b}[2m(They ask.)\u{1b}[0m\n\u{1b}[33mTea."
        );
    }

    #[test]
    fn bots_are_named_by_provider_and_model_or_chosen() {
        let info = |name: &str, configured| ProviderInfo {
            name: name.into(),
            kind: "openai",
            configured,
            simulated: false,
            models: vec!["m".into()],
            all_models: false,
            breakers: Vec::new(),
        };
        let both = [info("anthropic", true), info("openai", true)];
        assert_eq!(bot(&both, "a", None, "openai").unwrap().provider, "openai");
        assert_eq!(
            bot(&both[..1], "a", None, "openai").unwrap().provider,
            "anthropic"
        );
        let named = bot(&both, "a", Some("local/org/model"), "openai").unwrap();
        assert_eq!(
            (named.provider.as_str(), named.model.as_str()),
            ("local", "org/model")
        );
        assert!(bot(&both, "a", Some("openai"), "openai").is_err());
        assert!(bot(&[info("openai", false)], "a", None, "openai").is_err());
    }
}
