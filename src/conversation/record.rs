//! What is known of a run: the shapes that the doors hand out and the views turn into JSON.

use std::time::Duration;

use utoipa::ToSchema;

use super::{
    bot::Bot,
    catalogue::ModelFacts,
    context::ContextPolicy,
    cost::Spent,
    event::Totals,
    event_id::EventId,
    failure::Failure,
    run::{EndReason, RunId, RunStatus},
    time::Timestamp,
    transcript::Message,
};

/// A run as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it ended, if it ended without failing.
    pub reason: Option<EndReason>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// The opening message.
    pub topic: String,
    /// Who takes part, each in its newest version.
    pub bots: Vec<Bot>,
    /// How many turns there will be at most.
    pub max_turns: u32,
    /// Whether what the models think is shown.
    pub show_reasoning: bool,
    /// What becomes of it if it outgrows a model's context window.
    pub context_policy: ContextPolicy,
    /// The sums over all attempts, and the number of turns that ended.
    pub totals: Totals,
    /// The part of each bot, by index.
    pub spent: Vec<Spent>,
    /// The turn that is being spoken now.
    pub in_progress: Option<TurnInProgress>,
    /// The last durable event.
    pub last_event_id: EventId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first turn started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The turn that is being spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnInProgress {
    /// The turn, counted from 0.
    pub turn: u32,
    /// Who speaks.
    pub bot_index: u32,
}

/// A version of a bot, and from when on it speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct BotVersion {
    /// The bot as it was in this version.
    pub bot: Bot,
    /// The first turn that this version may speak; `None` if there was no such turn left.
    pub effective_from_turn: Option<u32>,
}

/// What a transcript begins with: the run at one moment, and what its bots were up to then.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptHead {
    /// The run.
    pub run: Run,
    /// All versions of all bots, ordered by bot, then by version.
    pub versions: Vec<BotVersion>,
}

/// An entry of the transcript with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The entry. That of a turn in progress is not there yet.
    pub message: Message,
    /// What its turn took, with all attempts; `None` where it is no turn's.
    pub total: Option<Spent>,
}

/// What a PATCH of a bot made.
#[derive(Debug, Clone, PartialEq)]
pub struct BotChange {
    /// The bot in its newest version.
    pub bot: Bot,
    /// The first turn of this bot that has not started; `None` if it can have none any more.
    pub effective_from_turn: Option<u32>,
}

/// How a run is to be stopped.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// At once, in the middle of a turn.
    #[default]
    Now,
    /// When the turn in progress has ended.
    AfterTurn,
}

impl StopMode {
    /// Its name, as the API has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::AfterTurn => "after_turn",
        }
    }
}

/// What a stop came to.
#[derive(Debug, Clone, PartialEq)]
pub struct StopAnswer {
    /// The run as it stands now.
    pub run: Run,
    /// Whether the stop is still to come: accepted and recorded, but the run is not over yet.
    pub pending: bool,
}

/// A provider that the settings name.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderInfo {
    /// Its name in the API.
    pub name: String,
    /// Which API it speaks: `openai`, `anthropic` or `gemini`.
    pub kind: &'static str,
    /// Whether runs may name it.
    pub configured: bool,
    /// Whether the built-in simulator answers in its place.
    pub simulated: bool,
    /// Models to offer in a form; any other name is passed on as well.
    pub models: Vec<String>,
    /// Whether that is the vendor's own offer, to which all models belong that are known of it.
    pub all_models: bool,
    /// The circuit breakers that are not closed.
    pub breakers: Vec<BreakerInfo>,
}

/// A model that is not asked for a while, because it failed too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerInfo {
    /// The model.
    pub model: String,
    /// After how long one request is let through to see; zero once that is so.
    pub retry_in: Duration,
}

/// A provider with what is known of its models.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The provider.
    pub info: ProviderInfo,
    /// The models to offer.
    pub models: Vec<ModelFacts>,
    /// What goes for all others.
    pub general: ModelFacts,
}
