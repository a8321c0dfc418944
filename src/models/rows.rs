//! Rows into domain types and back. What cannot be read is an error with its place, never a default.

use std::str::FromStr;

use sea_orm::Set;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    _entities::{bots, messages, runs},
    StoreError,
    changes::Head,
};
use crate::conversation::{
    Bot, BotVersion, Cost, Cut, EventId, Failure, Message, Run, RunId, Spent, Timestamp,
    TurnInProgress, Usage, speaker,
};

/// A count as the databases hold it: they have no unsigned integers.
pub(super) fn db_u64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A small count as the databases hold it.
pub(super) fn db_u32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub(super) fn read_u64(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| unreadable(format!("the count {value}")))
}

pub(super) fn read_u32(value: i32) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| unreadable(format!("the count {value}")))
}

pub(super) fn unreadable(what: String) -> StoreError {
    StoreError::Unreadable { what }
}

/// One of our closed sets of words, as serde spells it.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(unreadable(format!("a word that is none: {other:?}"))),
    }
}

pub(super) fn read_word<T: DeserializeOwned>(word: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::from(word))
        .map_err(|_| unreadable(format!("the word {word:?}")))
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| unreadable(format!("a value without JSON: {error}")))
}

pub(super) fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| unreadable(format!("JSON of another shape ({error})")))
}

/// An amount of money.
pub(super) fn read_cost(picos: i64) -> Result<Cost, StoreError> {
    let cost = u128::try_from(picos).ok().and_then(Cost::from_picos);
    cost.ok_or_else(|| unreadable(format!("the amount {picos}")))
}

/// A bot's part of the sums, as `runs.spent` has it.
#[derive(Serialize, Deserialize)]
struct Part {
    attempts: u32,
    usage: Usage,
    /// In 10⁻¹² dollars, as in the other columns.
    cost: i64,
    complete: bool,
}

/// The parts of the bots as a column.
pub(super) fn spent_row(parts: &[Spent]) -> Result<String, StoreError> {
    let part = |spent: &Spent| Part {
        attempts: spent.attempts,
        usage: spent.usage,
        cost: db_u64(spent.cost.picos()),
        complete: spent.complete,
    };
    json(&parts.iter().map(part).collect::<Vec<_>>())
}

impl runs::Model {
    /// The part of each bot. What was asked before anybody counted is not known.
    fn parts(&self) -> Result<Vec<Spent>, StoreError> {
        let parts: Vec<Part> = read_json(&self.spent)?;
        let read = |part: Part| {
            Ok::<_, StoreError>(Spent {
                attempts: part.attempts,
                usage: part.usage,
                cost: read_cost(part.cost)?,
                complete: part.complete,
            })
        };
        let mut spent: Vec<Spent> = parts.into_iter().map(read).collect::<Result<_, _>>()?;
        let uncounted = Spent {
            complete: self.cost_complete,
            ..Spent::NOTHING
        };
        let bots = usize::try_from(self.bot_count).unwrap_or_default();
        spent.resize(bots, uncounted);
        Ok(spent)
    }

    /// The columns that change while the run lives.
    pub(super) fn head(&self) -> Result<Head, StoreError> {
        let failure = match (&self.error_code, &self.error_message) {
            (Some(code), Some(message)) => Some(Failure::new(read_word(code)?, message.clone())),
            _ => None,
        };
        Ok(Head {
            status: FromStr::from_str(&self.status).map_err(|e| unreadable(format!("{e}")))?,
            reason: self.reason.as_deref().map(read_word).transpose()?,
            failure,
            turns: read_u32(self.turns)?,
            open_seq: self.open_seq.map(read_u64).transpose()?,
            usage: read_json(&self.usage)?,
            cost: read_cost(self.cost)?,
            cost_complete: self.cost_complete,
            spent: self.parts()?,
            last_seq: read_u64(self.last_seq)?,
            started_at: self.started_at.map(Timestamp::from_millis),
            finished_at: self.finished_at.map(Timestamp::from_millis),
        })
    }

    /// The run, given its bots in their newest versions.
    pub(super) fn into_run(self, bots: Vec<Bot>) -> Result<Run, StoreError> {
        let head = self.head()?;
        let count = read_u32(self.bot_count)?;
        if u32::try_from(bots.len()) != Ok(count) || count == 0 {
            return Err(unreadable(format!(
                "{} bots where {count} belong to run {}",
                bots.len(),
                self.id
            )));
        }
        let in_progress = head.open_seq.map(|_| TurnInProgress {
            turn: head.turns,
            bot_index: speaker(head.turns, count),
        });
        let totals = head.totals();
        Ok(Run {
            id: RunId::from_uuid(self.id),
            status: head.status,
            reason: head.reason,
            failure: head.failure,
            topic: self.topic,
            bots,
            max_turns: read_u32(self.max_turns)?,
            show_reasoning: self.show_reasoning,
            context_policy: read_word(&self.context_policy)?,
            totals,
            spent: head.spent,
            in_progress,
            last_event_id: EventId::durable(head.last_seq),
            created_at: Timestamp::from_millis(self.created_at),
            started_at: head.started_at,
            finished_at: head.finished_at,
        })
    }
}

impl bots::Model {
    pub(super) fn into_version(self) -> Result<BotVersion, StoreError> {
        Ok(BotVersion {
            effective_from_turn: self.effective_from_turn.map(read_u32).transpose()?,
            bot: Bot {
                index: read_u32(self.bot_index)?,
                version: read_u32(self.version)?,
                name: self.name,
                provider: self.provider,
                model: self.model,
                system_prompt: self.system_prompt,
                params: read_json(&self.params)?,
                fallback: read_json(&self.fallback)?,
            },
        })
    }

    pub(super) fn row(
        run: RunId,
        bot: &Bot,
        effective_from_turn: Option<u32>,
    ) -> Result<bots::ActiveModel, StoreError> {
        Ok(bots::ActiveModel {
            run_id: Set(run.as_uuid()),
            bot_index: Set(db_u32(bot.index)),
            version: Set(db_u32(bot.version)),
            name: Set(bot.name.clone()),
            provider: Set(bot.provider.clone()),
            model: Set(bot.model.clone()),
            system_prompt: Set(bot.system_prompt.clone()),
            params: Set(json(&bot.params)?),
            fallback: Set(json(&bot.fallback)?),
            effective_from_turn: Set(effective_from_turn.map(db_u32)),
        })
    }
}

impl messages::Model {
    pub(super) fn into_message(self) -> Result<Message, StoreError> {
        let cut = match (self.kept_from_turn, self.after_attempt) {
            (Some(turn), Some(attempt)) => Some(Cut {
                kept_from_turn: read_u32(turn)?,
                after_attempt: read_u32(attempt)?,
            }),
            _ => None,
        };
        Ok(Message {
            cut,
            pos: read_u64(self.pos)?,
            kind: read_word(&self.kind)?,
            turn: self.turn.map(read_u32).transpose()?,
            bot_index: self.bot_index.map(read_u32).transpose()?,
            bot_version: self.bot_version.map(read_u32).transpose()?,
            author: self.author,
            text: self.text,
            status: read_word(&self.status)?,
            stop_reason: self.stop_reason.as_deref().map(read_word).transpose()?,
            usage: read_json(&self.usage)?,
            cost: self.cost.map(read_cost).transpose()?,
            provider: self.provider,
            model: self.model,
            at: Timestamp::from_millis(self.at),
        })
    }

    pub(super) fn row(run: RunId, message: &Message) -> Result<messages::ActiveModel, StoreError> {
        Ok(messages::ActiveModel {
            run_id: Set(run.as_uuid()),
            pos: Set(db_u64(message.pos)),
            kind: Set(word(&message.kind)?),
            turn: Set(message.turn.map(db_u32)),
            bot_index: Set(message.bot_index.map(db_u32)),
            bot_version: Set(message.bot_version.map(db_u32)),
            author: Set(message.author.clone()),
            text: Set(message.text.clone()),
            status: Set(word(&message.status)?),
            stop_reason: Set(message.stop_reason.map(|reason| reason.as_str().to_owned())),
            usage: Set(json(&message.usage)?),
            cost: Set(message.cost.map(|cost| db_u64(cost.picos()))),
            provider: Set(message.provider.clone()),
            model: Set(message.model.clone()),
            at: Set(message.at.as_millis()),
            kept_from_turn: Set(message.cut.map(|cut| db_u32(cut.kept_from_turn))),
            after_attempt: Set(message.cut.map(|cut| db_u32(cut.after_attempt))),
        })
    }
}
