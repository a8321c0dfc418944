//! What owners have taken of their quotas: for all processes on the database together.
//!
//! Creations are counted by the generic cell rate algorithm (ITU-T I.371, annex A): a row holds the moment at which all that was created
//! would be due at the allowed rate, and one more may be created while that moment is less than a minute's worth ahead. The row's lock
//! orders whoever creates runs for the same owner, so that live runs and the day's sums are held against their quotas one after the other.
//!
//! The day's sums are written with the attempt that took it, in one transaction: what its provider has counted, and where it was stopped or
//! lost before that, what is presumed ([`Usage::presumed`](crate::conversation::Usage::presumed)). A quota of a day is looked at before a run is created and
//! before each turn: what may be taken beyond it is what the turns take that were going on then.

use std::{num::NonZeroU32, time::Duration};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QuerySelect as _,
    sea_query::{CaseStatement, Expr, ExprTrait as _, OnConflict, Query, SimpleExpr},
};

use super::{
    _entities::{creation_rates, runs, spending},
    Store, StoreError,
    db::Transaction,
    rows::{db_u64, read_cost, read_u64},
};
use crate::conversation::{
    Asker, OverQuota, Quota, Quotas, RunId, Standing, Taken, Timestamp, day_of,
};

/// A minute, in microseconds.
const MINUTE: i64 = 60_000_000;

/// Over how many rows the sums of an owner's day are spread.
const PARTS: u8 = 16;

impl Store {
    /// Counts one more run of that asker, if it may have one, in the transaction that creates the run. Where the asker stands then.
    pub(super) async fn count_run(
        &self,
        txn: &Transaction,
        asker: &Asker,
        quotas: &Quotas,
        at: Timestamp,
    ) -> Result<Result<Vec<Standing>, OverQuota>, StoreError> {
        let mut standings = Vec::new();
        let rates = [
            // Where there is one process, it has counted what it was asked, before it came here.
            (
                Quota::RunsPerAddress,
                quotas.runs_per_address.filter(|_| self.is_shared()),
                "address",
                &asker.client,
            ),
            (
                Quota::RunsPerOwner,
                quotas.runs_per_owner,
                "owner",
                &asker.owner,
            ),
        ];
        for (quota, limit, kind, which) in rates {
            let Some(limit) = limit.filter(|_| !which.is_empty()) else {
                continue;
            };
            let subject = format!("{kind} {which}");
            match self.count_creation(txn, quota, &subject, limit).await? {
                Ok(standing) => standings.push(standing),
                over => return Ok(over.map(|_| Vec::new())),
            }
        }
        // Nobody is no owner.
        if asker.owner.is_empty() {
            return Ok(Ok(standings));
        }
        // SQLite has one writer at a time, and a transaction is it from its begin on.
        let one_by_one = !self.is_shared() || quotas.runs_per_owner.is_some();
        if !one_by_one && (quotas.live_runs.is_some() || quotas.daily.is_set()) {
            lock_owner(txn, &asker.owner).await?;
        }
        if let Some(limit) = quotas.live_runs {
            let live = live_runs(txn, &asker.owner, limit).await?;
            let standing = Standing {
                quota: Quota::LiveRuns,
                limit: limit.into(),
                // Of what is left, this run takes one.
                remaining: u64::from(limit).saturating_sub(live + 1),
                reset: None,
            };
            if live >= u64::from(limit) {
                return Ok(Err(OverQuota(standing)));
            }
            standings.push(standing);
        }
        if quotas.daily.is_set() {
            let taken = taken(txn, asker.owner.as_str(), at).await?;
            match quotas.daily.standings(taken, at) {
                Ok(daily) => standings.extend(daily),
                Err(over) => return Ok(Err(over)),
            }
        }
        Ok(Ok(standings))
    }

    /// Counts one more creation, if there may be one.
    async fn count_creation(
        &self,
        txn: &Transaction,
        quota: Quota,
        subject: &str,
        limit: NonZeroU32,
    ) -> Result<Result<Standing, OverQuota>, StoreError> {
        use creation_rates::{Column, Entity};
        let each = Ord::max(MINUTE / i64::from(limit.get()), 1);
        let now = || self.now().mul(1_000);
        let due = || Expr::col((Entity, Column::Due));
        // What lies beyond a minute, a clock has written that was wrong.
        let from = CaseStatement::new()
            .case(due().gt(now()).and(due().lte(now().add(MINUTE))), due())
            .finally(now());
        let from: SimpleExpr = from.into();
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns([Column::Subject, Column::Due])
            .values_panic([Expr::value(subject), now().add(each)])
            .on_conflict(
                OnConflict::column(Column::Subject)
                    .value(Column::Due, from.add(each))
                    .action_and_where(
                        due()
                            .lte(now().add(MINUTE - each))
                            .or(due().gt(now().add(MINUTE))),
                    )
                    .to_owned(),
            )
            .returning(Query::returning().expr(Expr::col(Column::Due).sub(now())));
        let standing = |ahead: i64| Standing {
            quota,
            limit: limit.get().into(),
            remaining: u64::try_from((MINUTE - ahead) / each).unwrap_or(0),
            reset: Some(until_next(ahead, each)),
        };
        if let Some(row) = txn.query_one(&insert).await? {
            let ahead: i64 = row.try_get_by_index(0)?;
            return Ok(Ok(standing(ahead)));
        }
        let row: Option<i64> = Entity::find_by_id(subject)
            .select_only()
            .expr_as(Expr::col(Column::Due).sub(now()), "ahead")
            .into_tuple()
            .one(txn)
            .await?;
        let ahead = row.unwrap_or(MINUTE);
        let refused = Standing {
            remaining: 0,
            ..standing(ahead)
        };
        Ok(Err(OverQuota(refused)))
    }

    /// What all runs of that run's owner have taken on the day of that moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn taken_by_owner_of(&self, run: RunId, at: Timestamp) -> Result<Taken, StoreError> {
        let mut owner = Query::select();
        owner
            .column(runs::Column::Owner)
            .from(runs::Entity)
            // Nobody is no owner.
            .and_where(runs::Column::Owner.ne(""))
            .and_where(runs::Column::Id.eq(run.as_uuid()));
        let owner = SimpleExpr::SubQuery(None, Box::new(owner.into()));
        taken(&self.db, owner, at).await
    }

    /// Takes away what counts no more; of the day before, nothing: clocks differ.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_old_quotas(&self, at: Timestamp) -> Result<(), StoreError> {
        // Whoever creates a run locks an address, and then an owner: nobody may hold one kind and wait for the other.
        for kind in ["address %", "owner %"] {
            creation_rates::Entity::delete_many()
                .filter(creation_rates::Column::Subject.like(kind))
                .filter(
                    creation_rates::Column::Due
                        .into_expr()
                        .lte(self.now().mul(1_000)),
                )
                .exec(&self.db)
                .await?;
        }
        spending::Entity::delete_many()
            .filter(spending::Column::Day.lt(day_of(at) - 1))
            .exec(&self.db)
            .await?;
        self.forget_streams_of_the_dead().await
    }
}

/// How long until one more may be created than now, where what was created is due so far ahead, and one by one at that distance.
fn until_next(ahead: i64, each: i64) -> Duration {
    let room = MINUTE - ahead;
    let wait = (room.div_euclid(each) + 1) * each - room;
    Duration::from_micros(wait.unsigned_abs())
}

/// Waits for whoever creates a run for that owner, and keeps others waiting.
async fn lock_owner(txn: &Transaction, owner: &str) -> Result<(), StoreError> {
    use creation_rates::{Column, Entity};
    let mut insert = Query::insert();
    insert
        .into_table(Entity)
        .columns([Column::Subject, Column::Due])
        .values_panic([Expr::value(format!("owner {owner}")), Expr::value(0_i64)])
        .on_conflict(
            OnConflict::column(Column::Subject)
                .value(Column::Due, Expr::col((Entity, Column::Due)))
                .to_owned(),
        );
    txn.execute(&insert).await?;
    Ok(())
}

/// How many runs of the owner are not over; not counted beyond `most`.
async fn live_runs(txn: &Transaction, owner: &str, most: u32) -> Result<u64, StoreError> {
    let live = runs::Entity::find()
        .filter(runs::Column::Owner.eq(owner))
        .filter(runs::Column::LeaseOwner.is_not_null())
        .limit(u64::from(most));
    Ok(live.count(txn).await?)
}

/// What that owner has taken on the day of that moment.
async fn taken(
    db: &impl ConnectionTrait,
    owner: impl Into<SimpleExpr>,
    at: Timestamp,
) -> Result<Taken, StoreError> {
    let sums: Vec<(i64, i64)> = spending::Entity::find()
        .filter(Expr::col(spending::Column::Owner).eq(owner.into()))
        .filter(spending::Column::Day.eq(day_of(at)))
        .select_only()
        .columns([spending::Column::Tokens, spending::Column::Cost])
        .into_tuple()
        .all(db)
        .await?;
    let sums = sums.into_iter().map(|(tokens, cost)| {
        let (tokens, cost) = (read_u64(tokens)?, read_cost(cost)?);
        Ok(Taken { tokens, cost })
    });
    sums.reduce(|sum, part| Ok(sum?.plus(part?)))
        .unwrap_or(Ok(Taken::default()))
}

/// Adds to what the run's owner has taken.
pub(super) async fn take(
    txn: &Transaction,
    run: RunId,
    taken: Taken,
    at: Timestamp,
) -> Result<(), StoreError> {
    use spending::{Column, Entity};
    if taken == Taken::default() {
        return Ok(());
    }
    let part = run.as_uuid().as_bytes()[15] % PARTS;
    let mut owner = Query::select();
    owner
        .column(runs::Column::Owner)
        .expr(Expr::value(day_of(at)))
        .expr(Expr::value(i32::from(part)))
        .expr(Expr::value(db_u64(taken.tokens)))
        .expr(Expr::value(db_u64(taken.cost.picos())))
        .from(runs::Entity)
        .and_where(runs::Column::Id.eq(run.as_uuid()));
    // A sum that cannot be held stays at the most that can.
    let sum = |column: Column, more: u64| {
        let most = i64::MAX - db_u64(more);
        let now = || Expr::col((Entity, column));
        let sum = CaseStatement::new()
            .case(now().gt(most), Expr::value(i64::MAX))
            .finally(now().add(db_u64(more)));
        let sum: SimpleExpr = sum.into();
        sum
    };
    let mut insert = Query::insert();
    insert
        .into_table(Entity)
        .columns([
            Column::Owner,
            Column::Day,
            Column::Part,
            Column::Tokens,
            Column::Cost,
        ])
        .select_from(owner)
        .map_err(|error| sea_orm::DbErr::Custom(error.to_string()))?
        .on_conflict(
            OnConflict::columns([Column::Day, Column::Owner, Column::Part])
                .value(Column::Tokens, sum(Column::Tokens, taken.tokens))
                .value(Column::Cost, sum(Column::Cost, taken.cost.picos()))
                .to_owned(),
        );
    txn.execute(&insert).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MINUTE, until_next};

    #[test]
    fn the_next_one_comes_when_the_first_of_those_ahead_is_due() {
        let each = MINUTE / 10;
        for (ahead, seconds) in [
            // One was created now: it is made up for in a tenth of a minute.
            (each, 6),
            // Half of that time is gone.
            (each / 2, 3),
            (4 * each, 6),
            (4 * each - 2_000_000, 4),
            // Nothing is left.
            (MINUTE, 6),
            (MINUTE - each + 1_000_000, 1),
        ] {
            assert_eq!(until_next(ahead, each).as_secs(), seconds, "{ahead}");
            let left = |ahead: i64| (MINUTE - ahead) / each;
            let wait = i64::try_from(until_next(ahead, each).as_micros()).unwrap();
            assert_eq!(left(ahead - wait), left(ahead) + 1, "{ahead}");
        }
    }
}
