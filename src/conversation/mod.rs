//! The rules of a conversation, and the words that every other room speaks.
//!
//! **Invariant:** pure. No clock, no I/O, no async: time and chance are parameters, so every rule is tested without waiting.
//!
//! The schemas of the API's documentation (`utoipa::ToSchema`) are derived here where a type's JSON is the API's too, such as that of
//! events: a copy of it in `views` could differ, and deriving a schema only computes. What has a view of its own has its schema there.
//!
//! **May import:** nothing of ours; serde, validator, utoipa and other crates that only compute.

mod asker;
mod audit;
mod bot;
mod catalogue;
mod context;
mod cost;
mod cursor;
mod error;
mod event;
mod event_id;
mod failure;
mod history;
mod idempotency;
mod measure;
mod object;
mod policy;
mod prompt;
mod quota;
mod record;
mod retry;
mod run;
mod start;
mod stop_reason;
mod target;
mod time;
mod tokens;
mod trace;
mod transcript;
mod usage;
mod validate;
mod whose;

pub use asker::Asker;
pub use audit::{Act, AuditCursor, AuditEntry, AuditPage, InvalidAuditCursor};
pub use bot::{Bot, BotIntro, BotSpec, Params};
pub use catalogue::{
    Catalogue, ModelFacts, Offering, ParamName, Price, Pricing, Rate, Rates, Rule, Shape,
};
pub use context::{Context, ContextPolicy, DueCut, Sizes, prompt_limit};
pub use cost::{Cost, Spent};
pub use error::RunError;
pub use event::{
    AttemptError, BotUpdated, ContextSummarised, ContextTruncated, Delta, DeltaKind, RestartReason,
    RunCompleted, RunEvent, RunFailed, RunStarted, RunStopped, Totals, TurnCompleted, TurnFailed,
    TurnInterrupted, TurnRestarted, TurnStarted,
};
pub use event_id::{EventId, InvalidEventId};
pub use failure::{AttemptFailure, Charge, Failure, FailureCode};
pub use history::{HistoryCursor, HistoryFilter, HistoryPage, InvalidHistoryCursor, words};
pub use idempotency::{IdempotencyKey, InvalidIdempotencyKey};
pub use measure::{
    AttemptEnd, Breakdown, Counts, DatabaseCall, DatabaseTrouble, Happening, LoginRefusal, Meter,
    RunEnd, Tally,
};
pub use object::Object;
pub use policy::{end_after, next_turn_of, speaker};
pub use prompt::{Prompt, PromptMessage, Role, lay_out, lay_out_for_summary};
pub use quota::{Daily, OverQuota, Quota, Quotas, Standing, Taken, day_of};
pub use record::{
    BotChange, BotVersion, BreakerInfo, Offer, ProviderInfo, Run, Said, StopAnswer, StopMode,
    TranscriptHead, TurnInProgress,
};
pub use retry::RetryPolicy;
pub use run::{EndReason, InvalidRunId, RunId, RunStatus, UnknownStatus};
pub use start::{RunPlan, StartRun, check_name_is_free};
pub use stop_reason::StopReason;
pub use target::{FailedAttempt, Target};
pub use time::{InvalidTimestamp, Timestamp};
pub use tokens::count as count_tokens;
pub use trace::{Attribute, Beginning, OpenSpan, Span, SpanKind, TraceContext, Traces, Tracing};
pub use transcript::{Cut, Message, MessageKind, MessageStatus, in_order};
pub use usage::Usage;
pub use validate::{MAX_TEXT_BYTES, Violation, check};
pub use whose::Whose;
