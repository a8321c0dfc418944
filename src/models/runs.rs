//! Runs: made, loaded, found.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, Query},
};
use uuid::Uuid;

use super::{
    _entities::{attempts, bots, messages, runs},
    Store, StoreError, audit,
    changes::{AttemptRecord, Head},
    commands::{self, Command},
    events::{self, LoggedEvent},
    rows::{db_u32, json, read_u32, read_u64, read_word, unreadable, word},
    search,
};
use crate::conversation::{
    Act, Asker, Bot, BotVersion, FailedAttempt, FailureCode, IdempotencyKey, Message, MessageKind,
    OverQuota, Quotas, Run, RunEvent, RunId, RunPlan, RunStarted, RunStatus, Standing, Target,
    Timestamp, TraceContext, Usage, in_order, next_turn_of,
};

/// A run that the caller drives from now on.
#[derive(Debug)]
pub struct Claimed {
    /// The run, its bots in their newest versions.
    pub run: Run,
    /// The part that changes.
    pub head: Head,
    /// Who owns it; empty for nobody.
    pub owner: String,
    /// The epoch of this claim: the fence of every write.
    pub epoch: u64,
    /// All versions of all bots, ordered by bot, then by version.
    pub versions: Vec<BotVersion>,
    /// What was said so far.
    pub messages: Vec<Message>,
    /// What was asked of providers for the open turn.
    pub asked: Asked,
    /// The commands that wait for the end of the open turn.
    pub waiting: Vec<Command>,
    /// Whether the owner before broke down: a request of its may be lost.
    pub crashed: bool,
    /// How many owners the run has lost since its last finished turn.
    pub takeovers: u32,
    /// When the open turn started, whoever started it.
    pub turn_started: Option<Timestamp>,
    /// The place in a trace from which the run goes on.
    pub trace: Option<TraceContext>,
}

impl Claimed {
    pub(super) fn after_a_crash(self) -> Self {
        Self {
            crashed: true,
            ..self
        }
    }
}

/// What became of a new run.
#[derive(Debug)]
pub enum Inserted {
    /// It was written, with these events; where its asker stands with the quotas then.
    Now(Vec<LoggedEvent>, Vec<Standing>),
    /// Its idempotency key has an answer already.
    Before,
    /// It would be over a quota.
    Over(OverQuota),
}

/// The provider requests of a turn that have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The number of the last one, from 1; 0 if there was none.
    pub attempts: u32,
    /// Those that the provider failed, in their order; not those that it called too long before the bot's context was cut.
    pub failed: Vec<FailedAttempt>,
}

impl Store {
    /// Writes a new run: its row, its bots, the topic as first message, and the event `run.started`, with who asked for it. With a key, its answer is kept
    /// in the same transaction, and nothing is written if the key has one already, or if it would be over a quota.
    ///
    /// # Errors
    /// When the database fails; the run may have been written all the same if [`StoreError::passes`].
    pub async fn insert_run(
        &self,
        id: RunId,
        asker: &Asker,
        quotas: &Quotas,
        plan: &RunPlan,
        at: Timestamp,
        once: Option<(&IdempotencyKey, &str)>,
    ) -> Result<Inserted, StoreError> {
        let started = RunEvent::RunStarted(RunStarted {
            run_id: id,
            topic: plan.topic.clone(),
            bots: plan.bots.iter().map(Bot::intro).collect(),
            max_turns: plan.max_turns,
            created_at: at,
        });
        let logged = events::number(&[started], 1, at)?;
        let count = u32::try_from(plan.bots.len()).unwrap_or(u32::MAX);
        let bot_rows: Result<Vec<_>, _> = plan
            .bots
            .iter()
            .map(|bot| bots::Model::row(id, bot, next_turn_of(bot.index, 0, plan.max_turns, count)))
            .collect();
        let txn = self.db.begin().await?;
        if let Some((key, answer)) = once
            && !self.keep_answer(&txn, &asker.owner, key, answer).await?
        {
            txn.rollback().await?;
            return Ok(Inserted::Before);
        }
        let standings = match self.count_run(&txn, asker, quotas, at).await? {
            Ok(standings) => standings,
            Err(over) => {
                txn.rollback().await?;
                return Ok(Inserted::Over(over));
            }
        };
        runs::Entity::insert(new_row(id, &asker.owner, plan, count, at)?)
            .exec_without_returning(&txn)
            .await?;
        bots::Entity::insert_many(bot_rows?)
            .exec_without_returning(&txn)
            .await?;
        messages::Entity::insert(messages::Model::row(id, &topic(plan, at))?)
            .exec_without_returning(&txn)
            .await?;
        search::index(&txn, id, 1, &plan.topic).await?;
        events::append(&txn, id, &logged, at).await?;
        audit::write(&txn, id, &Act::Start, asker, at).await?;
        txn.commit().await?;
        Ok(Inserted::Now(logged, standings))
    }

    /// All that a run's owner needs to know of it. Only the owner changes these rows, but for new versions of bots.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(&self, id: RunId) -> Result<Option<Claimed>, StoreError> {
        match runs::Entity::find_by_id(id.as_uuid()).one(&self.db).await? {
            Some(row) => self.load_rest(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// What belongs to the run of that row.
    pub(super) async fn load_rest(&self, row: runs::Model) -> Result<Claimed, StoreError> {
        let id = RunId::from_uuid(row.id);
        let head = row.head()?;
        let epoch = read_u64(row.lease_epoch)?;
        let versions = versions_of(&self.db, id).await?;
        let messages = messages_of(&self.db, id).await?;
        let (asked, waiting) = match head.open_seq {
            Some(_) => (
                asked(&self.db, id, head.turns, &messages).await?,
                commands::open(&self.db, id).await?,
            ),
            None => (Asked::default(), Vec::new()),
        };
        let turn_started = match head.open_seq {
            Some(seq) => events::at(&self.db, id, seq).await?,
            None => None,
        };
        let takeovers = read_u32(row.takeovers)?;
        let owner = row.lease_owner.clone().unwrap_or_default();
        let state = row.tracestate.as_deref().unwrap_or_default();
        let trace = row.traceparent.as_deref();
        let trace = trace.and_then(|traceparent| TraceContext::read(traceparent, state));
        let run = row.into_run(newest(&versions))?;
        Ok(Claimed {
            run,
            head,
            owner,
            epoch,
            versions,
            messages,
            asked,
            waiting,
            crashed: false,
            takeovers,
            turn_started,
            trace,
        })
    }

    /// A run as it stands, its bots in their newest versions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let Some(row) = runs::Entity::find_by_id(id.as_uuid()).one(&self.db).await? else {
            return Ok(None);
        };
        let bots = newest_bots(&self.db, id).await?;
        self.unless_gone(id, row.into_run(bots)).await
    }

    /// What was read of a run, in more than one statement. If it does not fit together because the run was deleted in between, there is
    /// no run.
    pub(super) async fn unless_gone<T>(
        &self,
        id: RunId,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(StoreError::Unreadable { .. }) if self.log_end(id).await?.is_none() => Ok(None),
            read => read.map(Some),
        }
    }

    /// To whom a run belongs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owner(&self, id: RunId) -> Result<Option<String>, StoreError> {
        let owner = runs::Entity::find_by_id(id.as_uuid())
            .select_only()
            .column(runs::Column::Owner);
        Ok(owner.into_tuple().one(&self.db).await?)
    }

    /// A run's last seq and whether it is over, by a fresh look.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_end(&self, id: RunId) -> Result<Option<(u64, bool)>, StoreError> {
        let row: Option<(i64, String)> = runs::Entity::find_by_id(id.as_uuid())
            .select_only()
            .column(runs::Column::LastSeq)
            .column(runs::Column::Status)
            .into_tuple()
            .one(&self.db)
            .await?;
        let Some((last_seq, status)) = row else {
            return Ok(None);
        };
        let status: RunStatus = status.parse().map_err(|e| unreadable(format!("{e}")))?;
        Ok(Some((read_u64(last_seq)?, status.is_final())))
    }
}

fn new_row(
    id: RunId,
    owner: &str,
    plan: &RunPlan,
    bots: u32,
    at: Timestamp,
) -> Result<runs::ActiveModel, StoreError> {
    Ok(runs::ActiveModel {
        id: Set(id.as_uuid()),
        owner: Set(owner.to_owned()),
        status: Set(RunStatus::Queued.as_str().to_owned()),
        reason: Set(None),
        error_code: Set(None),
        error_message: Set(None),
        topic: Set(plan.topic.clone()),
        bot_count: Set(db_u32(bots)),
        max_turns: Set(db_u32(plan.max_turns)),
        show_reasoning: Set(plan.show_reasoning),
        context_policy: Set(word(&plan.context_policy)?),
        turns: Set(0),
        open_seq: Set(None),
        usage: Set(json(&Usage::default())?),
        cost: Set(0),
        cost_complete: Set(true),
        spent: Set("[]".to_owned()),
        last_seq: Set(1),
        last_command: Set(0),
        // Empty, not null: the run wants an owner.
        lease_owner: Set(Some(String::new())),
        lease_epoch: Set(0),
        takeovers: Set(0),
        traceparent: Set(plan
            .trace
            .as_ref()
            .map(|trace| trace.traceparent().to_owned())),
        tracestate: Set(plan
            .trace
            .as_ref()
            .map(|trace| trace.tracestate().to_owned())
            .filter(|state| !state.is_empty())),
        created_at: Set(at.as_millis()),
        started_at: Set(None),
        finished_at: Set(None),
    })
}

fn topic(plan: &RunPlan, at: Timestamp) -> Message {
    Message {
        text: plan.topic.clone(),
        ..Message::blank(MessageKind::Topic, 1, at)
    }
}

pub(super) async fn versions_of(
    db: &impl ConnectionTrait,
    run: RunId,
) -> Result<Vec<BotVersion>, StoreError> {
    let rows = bots::Entity::find()
        .filter(bots::Column::RunId.eq(run.as_uuid()))
        .order_by_asc(bots::Column::BotIndex)
        .order_by_asc(bots::Column::Version)
        .all(db)
        .await?;
    rows.into_iter().map(bots::Model::into_version).collect()
}

/// The newest version of each bot, by index.
pub(super) async fn newest_bots(
    db: &impl ConnectionTrait,
    run: RunId,
) -> Result<Vec<Bot>, StoreError> {
    let rows = newest_versions(&[run.as_uuid()]).all(db).await?;
    let bots = rows.into_iter().map(|row| Ok(row.into_version()?.bot));
    bots.collect()
}

/// The newest version of each bot of these runs, by run and index. A bot may have thousands: the others are not read.
pub(super) fn newest_versions(runs: &[Uuid]) -> Select<bots::Entity> {
    let bot = [bots::Column::RunId, bots::Column::BotIndex];
    let newest = Query::select()
        .columns(bot)
        .expr(Expr::col(bots::Column::Version).max())
        .from(bots::Entity)
        .and_where(bots::Column::RunId.is_in(runs.iter().copied()))
        .group_by_columns(bot)
        .to_owned();
    let version = Expr::tuple([
        Expr::col(bots::Column::RunId),
        Expr::col(bots::Column::BotIndex),
        Expr::col(bots::Column::Version),
    ]);
    bots::Entity::find()
        .filter(version.in_subquery(newest))
        .order_by_asc(bots::Column::RunId)
        .order_by_asc(bots::Column::BotIndex)
}

/// The last version of each bot, of versions ordered by bot, then by version.
pub(super) fn newest(versions: &[BotVersion]) -> Vec<Bot> {
    let last_of_its_bot = |(at, version): &(usize, &BotVersion)| {
        versions
            .get(at + 1)
            .is_none_or(|next| next.bot.index != version.bot.index)
    };
    versions
        .iter()
        .enumerate()
        .filter(last_of_its_bot)
        .map(|(_, version)| version.bot.clone())
        .collect()
}

async fn messages_of(db: &impl ConnectionTrait, run: RunId) -> Result<Vec<Message>, StoreError> {
    let rows = messages::Entity::find()
        .filter(messages::Column::RunId.eq(run.as_uuid()))
        .order_by_asc(messages::Column::Pos)
        .all(db)
        .await?;
    let messages = rows.into_iter().map(messages::Model::into_message);
    Ok(in_order(messages.collect::<Result<_, _>>()?))
}

async fn asked(
    db: &impl ConnectionTrait,
    run: RunId,
    turn: u32,
    messages: &[Message],
) -> Result<Asked, StoreError> {
    let cuts = messages
        .iter()
        .filter(|message| message.turn == Some(turn))
        .filter_map(|message| message.cut);
    let answered = cuts.map(|cut| cut.after_attempt).max().unwrap_or(0);
    let rows = attempts::Entity::find()
        .filter(attempts::Column::RunId.eq(run.as_uuid()))
        .filter(attempts::Column::Turn.eq(db_u32(turn)))
        .order_by_asc(attempts::Column::Attempt)
        .all(db)
        .await?;
    let mut asked = Asked::default();
    for row in rows {
        asked.attempts = read_u32(row.attempt)?;
        if !AttemptRecord::NOT_FAILED.contains(&row.outcome.as_str()) {
            let code: FailureCode = read_word(&row.outcome)?;
            if code.calls_for_a_cut() && asked.attempts <= answered {
                continue;
            }
            asked.failed.push(FailedAttempt {
                target: Target {
                    provider: row.provider,
                    model: row.model,
                },
                code,
                retryable: code.retryable(),
            });
        }
    }
    Ok(asked)
}
