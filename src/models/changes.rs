//! The owner's transaction: what one step of a run writes, all of it or nothing.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryTrait as _, UpdateMany,
    sea_query::{Expr, ExprTrait, Query},
};

use super::{
    _entities::{attempts, messages, runs},
    Store, StoreError, audit,
    commands::{self, Applied, Command},
    db::Transaction,
    events::{self, LoggedEvent},
    quotas,
    rows::{db_u32, db_u64, json, read_u64, spent_row},
    search,
};
use crate::conversation::{
    Act, Asker, Cost, EndReason, FailedAttempt, Failure, Message, RunEvent, RunId, RunStatus,
    Spent, StopMode, Taken, Target, Timestamp, Totals, Usage,
};

/// The words for a run that is over.
pub(super) const FINAL: [&str; 3] = [
    RunStatus::Completed.as_str(),
    RunStatus::Stopped.as_str(),
    RunStatus::Failed.as_str(),
];

/// The part of a run that changes while it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Where the run stands.
    pub status: RunStatus,
    /// Why it ended, if it ended without failing.
    pub reason: Option<EndReason>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// How many turns have ended: the number of the turn that is open or comes next.
    pub turns: u32,
    /// The seq of the open turn's `turn.started`.
    pub open_seq: Option<u64>,
    /// The sum over all attempts.
    pub usage: Usage,
    /// The sum of the costs that are known.
    pub cost: Cost,
    /// Whether the cost of every attempt is known.
    pub cost_complete: bool,
    /// The part of each bot in these sums, by index.
    pub spent: Vec<Spent>,
    /// The seq of the last durable event.
    pub last_seq: u64,
    /// When the first turn started.
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
}

impl Head {
    /// Adds an attempt of that bot to the sums. `settled`: whether no more can be charged than was counted.
    pub fn spend(&mut self, bot_index: u32, usage: Usage, cost: Option<Cost>, settled: bool) {
        let mut sum = self.sum();
        sum.add(usage, cost, settled);
        (self.usage, self.cost, self.cost_complete) = (sum.usage, sum.cost, sum.complete);
        let of_bot = usize::try_from(bot_index).ok();
        if let Some(part) = of_bot.and_then(|index| self.spent.get_mut(index)) {
            part.add(usage, cost, settled);
        }
    }

    /// What the run has taken so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            turns: self.turns,
            usage: self.usage,
            cost_usd: self.sum().cost_usd(),
            cost_complete: self.cost_complete,
        }
    }

    /// The run's sums; how many attempts they are of is not kept.
    fn sum(&self) -> Spent {
        Spent {
            attempts: 0,
            usage: self.usage,
            cost: self.cost,
            complete: self.cost_complete,
        }
    }
}

/// A provider request that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// The turn it was for.
    pub turn: u32,
    /// Its number within the turn, from 1.
    pub attempt: u32,
    /// Who was asked.
    pub target: Target,
    /// `completed`, `summarised`, `interrupted`, `crash`, `drain`, or the code of its failure.
    pub outcome: &'static str,
    /// Its failure, if the provider failed it. The row has the code alone.
    pub failed: Option<FailedAttempt>,
    /// What the provider had counted.
    pub usage: Usage,
    /// What it cost; `None` where no price or no usage is known.
    pub cost: Option<Cost>,
    /// Whether no more can be charged than was counted.
    pub settled: bool,
    /// What it is in the quotas of the run's owner: also what nobody has counted. It goes into the sums of the day, and no row has it.
    pub taken: Taken,
    /// From the request to the end, in milliseconds.
    pub duration_ms: u64,
    /// From the request to the first delta, in milliseconds.
    pub first_delta_ms: Option<u64>,
    /// How many deltas were shown. No row has it.
    pub deltas: u64,
}

impl AttemptRecord {
    /// The outcome of an attempt whose provider said that it was done.
    pub const COMPLETED: &'static str = "completed";
    /// The outcome of an attempt that was lost with its owner.
    pub const CRASH: &'static str = "crash";
    /// The outcome of an attempt that was cut because its process ended.
    pub const DRAIN: &'static str = "drain";
    /// The outcome of an attempt that wrote a summary.
    pub const SUMMARISED: &'static str = "summarised";
    /// Outcomes after which a turn goes on and that are not the provider's failure.
    pub(super) const NOT_FAILED: [&'static str; 3] = [Self::CRASH, Self::DRAIN, Self::SUMMARISED];
}

/// What one transaction writes about a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When it happens: the `at` of its events.
    pub at: Timestamp,
    /// The events, in order; they take the seqs up to `head.last_seq`.
    pub events: Vec<RunEvent>,
    /// The run as it stands afterwards.
    pub head: Head,
    /// The message of a turn that ended.
    pub message: Option<Message>,
    /// A cut of what the bot of the open turn is shown.
    pub cut: Option<Message>,
    /// The provider request that ended.
    pub attempt: Option<AttemptRecord>,
    /// The commands that are done with.
    pub applied: Vec<Applied>,
    /// Who has stopped the run, where that could not be written down before.
    pub stopped_by: Option<Asker>,
    /// Whether the run is given up, so that another process may take it.
    pub release: bool,
}

/// What the owner must still hold for its write to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// The epoch of the owner's claim.
    pub epoch: u64,
    /// The last seq that the owner knows.
    pub expected_seq: u64,
    /// The highest command id that the owner has dealt with; `None`: commands wait for another time.
    pub known_command: Option<u64>,
}

/// What a transaction has written.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The change, as planned with the commands that were open.
    pub change: Change,
    /// The commands that were open.
    pub commands: Vec<Command>,
    /// The events as the log holds them, for publishing.
    pub logged: Vec<LoggedEvent>,
    /// The newest command id of the run; all up to it are dealt with, if any were.
    pub last_command: u64,
}

impl Store {
    /// Writes what `plan` makes of the run's open commands. `plan` may be called twice: once without commands, so that the
    /// usual case is a single guarded write, and again if it turns out that there are some.
    ///
    /// # Errors
    /// `LeaseLost` if the fence does not hold; nothing is written then. Otherwise when the database fails: then the
    /// transaction may or may not have been committed; [`Store::stands_at`] tells.
    pub async fn commit(
        &self,
        fence: &Fence,
        plan: impl Fn(&[Command]) -> Change + Send + Sync,
    ) -> Result<Committed, StoreError> {
        let mut change = plan(&[]);
        let txn = self.db.begin().await?;
        let guarded = owned_update(fence, &change)?
            .filter(runs::Column::LeaseEpoch.eq(db_u64(fence.epoch)))
            .filter(runs::Column::LastSeq.eq(db_u64(fence.expected_seq)));
        let mut guarded = guarded.into_query();
        guarded.returning(Query::returning().column(runs::Column::LastCommand));
        let Some(row) = txn.query_one(&guarded).await? else {
            return Err(StoreError::LeaseLost);
        };
        let last_command = read_u64(row.try_get_by_index(0)?)?;
        let mut commands = Vec::new();
        if fence
            .known_command
            .is_some_and(|known| last_command > known)
        {
            commands = commands::open(&txn, fence.run).await?;
            change = plan(&commands);
            owned_update(fence, &change)?.exec(&txn).await?;
        }
        let logged = write(&txn, fence.run, fence.expected_seq, &change).await?;
        txn.commit().await?;
        Ok(Committed {
            change,
            commands,
            logged,
            last_command,
        })
    }

    /// The events of that change, if the log has them after that seq: resolves a commit whose answer was lost, where the run may be
    /// another's since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logged(
        &self,
        run: RunId,
        after_seq: u64,
        change: &Change,
    ) -> Result<Option<Vec<LoggedEvent>>, StoreError> {
        let planned = events::number(&change.events, after_seq + 1, change.at)?;
        let count = u64::try_from(planned.len()).unwrap_or(u64::MAX);
        let logged = self.events_after(run, after_seq, count).await?;
        Ok((logged == planned).then_some(logged))
    }

    /// Whether the run wants an owner, in that epoch and at that seq.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_free_at(&self, run: RunId, epoch: u64, seq: u64) -> Result<bool, StoreError> {
        let row = runs::Entity::find_by_id(run.as_uuid())
            .filter(runs::Column::LeaseOwner.eq(""))
            .filter(runs::Column::LeaseEpoch.eq(db_u64(epoch)))
            .filter(runs::Column::LastSeq.eq(db_u64(seq)))
            .one(&self.db)
            .await?;
        Ok(row.is_some())
    }

    /// Whether the run is still the caller's and at which seq: resolves a commit whose answer was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stands_at(&self, run: RunId, epoch: u64) -> Result<Option<u64>, StoreError> {
        let row = runs::Entity::find_by_id(run.as_uuid())
            .one(&self.db)
            .await?;
        match row {
            Some(row) if read_u64(row.lease_epoch)? == epoch => Ok(Some(read_u64(row.last_seq)?)),
            _ => Ok(None),
        }
    }
}

/// Writes all but the run's row, whose lock the transaction holds already.
pub(super) async fn write(
    txn: &Transaction,
    run: RunId,
    after_seq: u64,
    change: &Change,
) -> Result<Vec<LoggedEvent>, StoreError> {
    let logged = events::number(&change.events, after_seq + 1, change.at)?;
    if !logged.is_empty() {
        events::append(txn, run, &logged, change.at).await?;
    }
    for message in change.message.iter().chain(&change.cut) {
        messages::Entity::insert(messages::Model::row(run, message)?)
            .exec_without_returning(txn)
            .await?;
        search::index(txn, run, message.pos, &message.text).await?;
    }
    if let Some(attempt) = &change.attempt {
        insert_attempt(txn, run, attempt, change.at).await?;
        quotas::take(txn, run, attempt.taken, change.at).await?;
    }
    commands::close(txn, run, &change.applied).await?;
    if let Some(by) = &change.stopped_by {
        let act = Act::Stop {
            mode: StopMode::Now,
        };
        audit::write(txn, run, &act, by, change.at).await?;
    }
    Ok(logged)
}

async fn insert_attempt(
    db: &impl ConnectionTrait,
    run: RunId,
    attempt: &AttemptRecord,
    at: Timestamp,
) -> Result<(), StoreError> {
    let row = attempts::ActiveModel {
        run_id: Set(run.as_uuid()),
        turn: Set(db_u32(attempt.turn)),
        attempt: Set(db_u32(attempt.attempt)),
        provider: Set(attempt.target.provider.clone()),
        model: Set(attempt.target.model.clone()),
        outcome: Set(attempt.outcome.to_owned()),
        usage: Set(json(&attempt.usage)?),
        cost: Set(attempt.cost.map(|cost| db_u64(cost.picos()))),
        duration_ms: Set(db_u64(attempt.duration_ms)),
        first_delta_ms: Set(attempt.first_delta_ms.map(db_u64)),
        at: Set(at.as_millis()),
        settled: Set(attempt.settled),
    };
    attempts::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// The owner's update of the run's row. An owner that gives the run up, and does not hear that it went through, holds it no more.
fn owned_update(fence: &Fence, change: &Change) -> Result<UpdateMany<runs::Entity>, StoreError> {
    let mut update = update(fence.run, change)?;
    if change.release {
        update = update.col_expr(
            runs::Column::LeaseEpoch,
            Expr::value(db_u64(fence.epoch + 1)),
        );
    }
    Ok(update)
}

/// The update of a run's row to what the change leaves. A final run needs nobody: its lease is given up with it.
pub(super) fn update(run: RunId, change: &Change) -> Result<UpdateMany<runs::Entity>, StoreError> {
    let head = &change.head;
    let mut row = runs::ActiveModel {
        status: Set(head.status.as_str().to_owned()),
        reason: Set(head.reason.map(|reason| reason.as_str().to_owned())),
        error_code: Set(head
            .failure
            .as_ref()
            .map(|failure| failure.code.as_str().to_owned())),
        error_message: Set(head.failure.as_ref().map(|failure| failure.message.clone())),
        turns: Set(db_u32(head.turns)),
        open_seq: Set(head.open_seq.map(db_u64)),
        usage: Set(json(&head.usage)?),
        cost: Set(db_u64(head.cost.picos())),
        cost_complete: Set(head.cost_complete),
        spent: Set(spent_row(&head.spent)?),
        last_seq: Set(db_u64(head.last_seq)),
        started_at: Set(head.started_at.map(Timestamp::as_millis)),
        finished_at: Set(head.finished_at.map(Timestamp::as_millis)),
        ..Default::default()
    };
    if head.status.is_final() {
        row.lease_owner = Set(None);
    } else if change.release {
        row.lease_owner = Set(Some(String::new()));
    }
    if change.message.is_some() {
        // A turn was finished: whoever drives the run does not break down on it.
        row.takeovers = Set(0);
    }
    Ok(runs::Entity::update_many()
        .set(row)
        .filter(runs::Column::Id.eq(run.as_uuid())))
}

/// The update that takes the next command id of a run that is not over, and with it the row's lock.
pub(super) fn take_command(run: RunId) -> UpdateMany<runs::Entity> {
    runs::Entity::update_many()
        .col_expr(
            runs::Column::LastCommand,
            Expr::col(runs::Column::LastCommand).add(1),
        )
        .filter(runs::Column::Id.eq(run.as_uuid()))
        .filter(runs::Column::Status.is_not_in(FINAL))
}
