//! What a client may see: the durable events of a run, and the deltas between them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    bot::BotIntro,
    cost::Cost,
    failure::Failure,
    run::{EndReason, RunId},
    stop_reason::StopReason,
    time::Timestamp,
    usage::Usage,
};

/// A piece of text or of reasoning as the provider sent it. Lives only in memory; the event that closes the turn carries the whole
/// text, and nothing carries the reasoning.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = TurnDelta)]
pub struct Delta<'a> {
    /// The turn that is being spoken.
    pub turn: u32,
    /// Who speaks.
    pub bot_index: u32,
    /// What it is a piece of.
    #[schema(required = false)]
    pub kind: DeltaKind,
    /// The piece, never empty.
    pub text: &'a str,
}

/// What a delta is a piece of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DeltaKind {
    /// The turn's text.
    Text,
    /// What the model thinks, in runs that ask to see it. Never part of any text.
    Reasoning,
}

/// Why a turn's text was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartReason {
    /// The provider failed after some text or reasoning had been shown.
    ProviderError,
    /// The process that drove the run is gone, or could not speak for it any more.
    Crash,
    /// The process that drove the run was shut down.
    Drain,
}

/// A durable event: an entry of the log with a row of its own. The `type` of its JSON is the event's name on the wire.
///
/// Names and fields are the public contract: fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum RunEvent {
    /// The run was accepted.
    #[serde(rename = "run.started")]
    RunStarted(RunStarted),
    /// A bot's turn begins; the first one means that the run is running.
    #[serde(rename = "turn.started")]
    TurnStarted(TurnStarted),
    /// A turn ended as its provider wanted it to.
    #[serde(rename = "turn.completed")]
    TurnCompleted(TurnCompleted),
    /// A stop cut a turn short.
    #[serde(rename = "turn.interrupted")]
    TurnInterrupted(TurnInterrupted),
    /// A turn's last attempt failed.
    #[serde(rename = "turn.failed")]
    TurnFailed(TurnFailed),
    /// The text shown so far is void; the turn is tried once more.
    #[serde(rename = "turn.restarted")]
    TurnRestarted(TurnRestarted),
    /// The oldest messages are not shown to a bot any more.
    #[serde(rename = "context.truncated")]
    ContextTruncated(ContextTruncated),
    /// A bot is shown a summary in the place of the oldest messages.
    #[serde(rename = "context.summarised")]
    ContextSummarised(ContextSummarised),
    /// A bot was changed.
    #[serde(rename = "bot.updated")]
    BotUpdated(BotUpdated),
    /// An attempt failed. Not final by itself; touches no text.
    #[serde(rename = "error")]
    Error(AttemptError),
    /// The run is over, as planned.
    #[serde(rename = "run.completed")]
    RunCompleted(RunCompleted),
    /// The run is over because somebody stopped it.
    #[serde(rename = "run.stopped")]
    RunStopped(RunStopped),
    /// The run is over because it could not go on.
    #[serde(rename = "run.failed")]
    RunFailed(RunFailed),
}

impl RunEvent {
    /// The event's name: its `event:` field and the `type` of its data.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run.started",
            Self::TurnStarted(_) => "turn.started",
            Self::TurnCompleted(_) => "turn.completed",
            Self::TurnInterrupted(_) => "turn.interrupted",
            Self::TurnFailed(_) => "turn.failed",
            Self::TurnRestarted(_) => "turn.restarted",
            Self::ContextTruncated(_) => "context.truncated",
            Self::ContextSummarised(_) => "context.summarised",
            Self::BotUpdated(_) => "bot.updated",
            Self::Error(_) => "error",
            Self::RunCompleted(_) => "run.completed",
            Self::RunStopped(_) => "run.stopped",
            Self::RunFailed(_) => "run.failed",
        }
    }

    /// Whether an event of this name ends the run and with it every stream.
    #[must_use]
    pub fn name_is_final(name: &str) -> bool {
        matches!(name, "run.completed" | "run.stopped" | "run.failed")
    }

    /// The `data` of the event: its fields, its `type`, and when it happened.
    ///
    /// # Errors
    /// None that these types can cause; the signature is serde's.
    pub fn to_data(&self, at: Timestamp) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            event: &'a RunEvent,
            at: Timestamp,
        }
        serde_json::to_string(&Data { event: self, at })
    }
}

/// `run.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// The run.
    pub run_id: RunId,
    /// The opening message that the first bot answers.
    pub topic: String,
    /// Who takes part, in the order of their indexes.
    pub bots: Vec<BotIntro>,
    /// How many turns there will be at most.
    pub max_turns: u32,
    /// When the run was accepted.
    pub created_at: Timestamp,
}

/// `turn.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnStarted {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who speaks.
    pub bot_index: u32,
    /// The speaker's name.
    pub bot_name: String,
    /// The version of the bot that all attempts of this turn use.
    pub bot_version: u32,
    /// The provider that is asked.
    pub provider: String,
    /// The model that is asked.
    pub model: String,
    /// Always 1: later attempts follow a `turn.restarted` or an `error`.
    pub attempt: u32,
}

/// `turn.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnCompleted {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who spoke.
    pub bot_index: u32,
    /// The version of the bot that spoke.
    pub bot_version: u32,
    /// The provider that answered.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// The whole text: exactly the text deltas of the last attempt, joined.
    pub text: String,
    /// The refusal's own words, where the model refused. Not text, no delta.
    #[schema(required)]
    pub refusal: Option<String>,
    /// Why the model ended.
    pub stop_reason: StopReason,
    /// What the provider counted.
    pub usage: Usage,
    /// US dollars; null where no price is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
    /// From the start of the turn to its end, in milliseconds.
    pub duration_ms: u64,
    /// From the last attempt's request to its first delta, in milliseconds: text, or reasoning where the run shows it. Null where
    /// there was none.
    #[schema(required)]
    pub first_delta_ms: Option<u64>,
}

/// `turn.interrupted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnInterrupted {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who spoke.
    pub bot_index: u32,
    /// The text up to the stop.
    pub text: String,
    /// What the provider had counted by then.
    pub usage: Usage,
    /// US dollars; null where no price or no usage is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
}

/// `turn.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnFailed {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who spoke.
    pub bot_index: u32,
    /// The text of the last attempt up to its failure.
    pub text: String,
    /// What the provider had counted by then.
    pub usage: Usage,
    /// US dollars; null where no price or no usage is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
    /// What was wrong.
    pub error: Failure,
}

/// `turn.restarted`: discard this turn's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnRestarted {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who speaks.
    pub bot_index: u32,
    /// The number of the attempt that follows.
    pub attempt: u32,
    /// Why the text is void.
    pub reason: RestartReason,
    /// The provider of the attempt that follows.
    pub provider: String,
    /// The model of the attempt that follows.
    pub model: String,
    /// What the attempt given up had used.
    pub usage: Usage,
    /// US dollars of the attempt given up; null where no price or no usage is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
}

/// `context.truncated`: touches no text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContextTruncated {
    /// The turn before which it happens, counted from 0.
    pub turn: u32,
    /// Whose context it is.
    pub bot_index: u32,
    /// The oldest turn that the bot is still shown; the topic stays, too.
    pub kept_from_turn: u32,
    /// The provider that is asked next, for whose model the context was too long.
    pub provider: String,
    /// That model.
    pub model: String,
}

/// `context.summarised`: touches no text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContextSummarised {
    /// The turn before which it happens, counted from 0.
    pub turn: u32,
    /// Whose context it is.
    pub bot_index: u32,
    /// The oldest turn that the bot is still shown as it was said.
    pub kept_from_turn: u32,
    /// The attempt that wrote the summary.
    pub attempt: u32,
    /// The provider that answered.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// The summary.
    pub text: String,
    /// Why the model ended.
    pub stop_reason: StopReason,
    /// What the provider counted.
    pub usage: Usage,
    /// US dollars; null where no price is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
    /// From the request to its end, in milliseconds.
    pub duration_ms: u64,
}

/// `bot.updated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BotUpdated {
    /// Which bot.
    pub bot_index: u32,
    /// The version that this change made.
    pub version: u32,
    /// The members that changed, with their new values.
    #[schema(value_type = Object)]
    pub changes: serde_json::Map<String, serde_json::Value>,
    /// The first turn spoken by this version; null if the bot has no turn left.
    #[schema(required)]
    pub effective_from_turn: Option<u32>,
}

/// `error`: an attempt failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptError {
    /// What was wrong, and with what code.
    #[serde(flatten)]
    pub failure: Failure,
    /// The provider that was asked.
    pub provider: String,
    /// The turn, counted from 0.
    pub turn: u32,
    /// The attempt that failed, counted from 1.
    pub attempt: u32,
    /// When the next attempt comes; null if there is none.
    #[schema(required)]
    pub retry_in_ms: Option<u64>,
    /// What the failed attempt had used.
    pub usage: Usage,
    /// US dollars of the failed attempt; null where no price or no usage is known.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
}

/// The sums that every final event carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// How many turns ended.
    pub turns: u32,
    /// The usage of all attempts, also those given up.
    pub usage: Usage,
    /// US dollars of all attempts whose price and usage are known; null if there is none.
    #[schema(required)]
    pub cost_usd: Option<Cost>,
    /// Whether every attempt's cost is in the sum.
    pub cost_complete: bool,
}

/// `run.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunCompleted {
    /// Which of the planned ends it was.
    pub reason: EndReason,
    /// What the whole run took.
    #[serde(flatten)]
    pub totals: Totals,
}

/// `run.stopped`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunStopped {
    /// Always `stop_requested`.
    pub reason: EndReason,
    /// What the whole run took.
    #[serde(flatten)]
    pub totals: Totals,
}

/// `run.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunFailed {
    /// What was wrong.
    pub error: Failure,
    /// What the whole run took.
    #[serde(flatten)]
    pub totals: Totals,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_goes_out_with_all_its_digits_through_tag_and_flatten() {
        let cost = Cost::from_picos(1_234_567_123_456_789_012);
        let totals = Totals {
            turns: 1,
            usage: Usage::default(),
            cost_usd: cost,
            cost_complete: true,
        };
        let reason = EndReason::MaxTurns;
        let event = RunEvent::RunCompleted(RunCompleted { reason, totals });
        let data = event.to_data(Timestamp::from_millis(0)).unwrap();
        assert!(
            data.contains(r#""cost_usd":1234567.123456789012,"#),
            "{data}"
        );
        // A float could not have carried it, so it is refused on the way back.
        assert!(serde_json::from_str::<RunEvent>(&data).is_err());
    }

    #[test]
    fn data_carries_the_name_and_the_time() {
        let event = RunEvent::TurnInterrupted(TurnInterrupted {
            turn: 1,
            bot_index: 1,
            text: "half a sen".into(),
            usage: Usage::default(),
            cost_usd: Cost::from_picos(999_999_999_999_999),
        });
        let data = event.to_data(Timestamp::from_millis(0)).unwrap();
        assert_eq!(serde_json::from_str::<RunEvent>(&data).unwrap(), event);
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["type"], event.name());
        assert_eq!(data["at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(serde_json::from_value::<RunEvent>(data).unwrap(), event);
    }
}
