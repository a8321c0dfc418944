//! Who drives which run: nodes, claims, takeovers. The database's clock alone decides between processes.

use std::{ops::Range, time::Duration};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait as _, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, UpdateMany,
    sea_query::{Expr, ExprTrait, OnConflict, Query, SimpleExpr},
};

use super::{
    _entities::{commands, nodes, runs},
    Store, StoreError,
    commands::STOP_NOW,
    events::{self, LoggedEvent},
    rows::{db_u32, read_cost, read_u64},
    runs::Claimed,
};
use crate::conversation::{
    Cost, Failure, RunEvent, RunFailed, RunId, RunStatus, Timestamp, Totals, Usage,
};

/// Whose runs may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Nobody's: only runs without an owner are taken.
    Nobody,
    /// Those of processes that have not renewed their row in time.
    Expired,
    /// Everybody's: the caller is the only process that drives runs, so whoever else is named is dead.
    Everybody,
}

impl Store {
    /// Whether several processes may drive runs in this database. A SQLite file has one driving process.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Postgres
    }

    /// The database's now, in milliseconds since 1970: the moment at which the statement began, so that an index can be used.
    pub(super) fn now(&self) -> SimpleExpr {
        if self.is_shared() {
            Expr::cust("CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000 AS BIGINT)")
        } else {
            Expr::cust("CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        }
    }

    /// Says that the node is alive, for `lifetime` from now. False if it did not count as alive any more: others may have taken its
    /// runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew(&self, node: &str, lifetime: Duration) -> Result<bool, StoreError> {
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let renewed = nodes::Entity::update_many()
            .col_expr(nodes::Column::Expires, self.now().add(lifetime))
            .filter(nodes::Column::Id.eq(node))
            .filter(Expr::col(nodes::Column::Expires).gt(self.now()))
            .exec(&self.db)
            .await?;
        if renewed.rows_affected == 1 {
            return Ok(true);
        }
        let mut insert = Query::insert();
        insert
            .into_table(nodes::Entity)
            .columns([nodes::Column::Id, nodes::Column::Expires])
            .values_panic([Expr::value(node), self.now().add(lifetime)])
            .on_conflict(
                OnConflict::column(nodes::Column::Id)
                    .update_column(nodes::Column::Expires)
                    .to_owned(),
            );
        self.db.execute(&insert).await?;
        Ok(false)
    }

    /// Takes the node's row away: it drives nothing any more. Rows that expired more than `forgotten` ago go with it; an absent
    /// row means the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire(&self, node: &str, forgotten: Duration) -> Result<(), StoreError> {
        let forgotten = i64::try_from(forgotten.as_millis()).unwrap_or(i64::MAX);
        nodes::Entity::delete_many()
            .filter(
                Condition::any()
                    .add(nodes::Column::Id.eq(node))
                    .add(Expr::col(nodes::Column::Expires).lt(self.now().sub(forgotten))),
            )
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// That a run's owner may be taken for dead.
    fn is_lost(&self, node: &str, takeover: Takeover) -> Option<Condition> {
        let named = Condition::all()
            .add(runs::Column::LeaseOwner.gt(""))
            .add(runs::Column::LeaseOwner.ne(node));
        match takeover {
            Takeover::Nobody => None,
            Takeover::Everybody => Some(named),
            Takeover::Expired => {
                let alive = Query::select()
                    .column(nodes::Column::Id)
                    .from(nodes::Entity)
                    .and_where(Expr::col(nodes::Column::Expires).gt(self.now()))
                    .to_owned();
                Some(named.add(runs::Column::LeaseOwner.not_in_subquery(alive)))
            }
        }
    }

    /// Takes a run that wants an owner: one statement, which at most one caller wins. `None` if there is nothing to take.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(
        &self,
        id: RunId,
        node: &str,
        takeover: Takeover,
    ) -> Result<Option<Claimed>, StoreError> {
        let free = take(id, node).filter(runs::Column::LeaseOwner.eq(""));
        if let Some(claimed) = self.load_taken(free).await? {
            return Ok(Some(claimed));
        }
        let Some(lost) = self.is_lost(node, takeover) else {
            return Ok(None);
        };
        let taken = take(id, node).filter(lost).col_expr(
            runs::Column::Takeovers,
            Expr::col(runs::Column::Takeovers).add(1),
        );
        let claimed = self.load_taken(taken).await?;
        Ok(claimed.map(Claimed::after_a_crash))
    }

    /// Takes a run again whose task broke down in this process: the same as a takeover. `None` if the run is not that node's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reclaim(&self, id: RunId, node: &str) -> Result<Option<Claimed>, StoreError> {
        let taken = take(id, node)
            .col_expr(
                runs::Column::Takeovers,
                Expr::col(runs::Column::Takeovers).add(1),
            )
            .filter(runs::Column::LeaseOwner.eq(node));
        let claimed = self.load_taken(taken).await?;
        Ok(claimed.map(Claimed::after_a_crash))
    }

    /// A run, if that node owns it; whoever drove it there broke down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owned(&self, id: RunId, node: &str) -> Result<Option<Claimed>, StoreError> {
        let row = runs::Entity::find_by_id(id.as_uuid())
            .filter(runs::Column::LeaseOwner.eq(node))
            .one(&self.db)
            .await?;
        match row {
            Some(row) => Ok(Some(self.load_rest(row).await?.after_a_crash())),
            None => Ok(None),
        }
    }

    /// Takes a run, with what its owner needs to know. The epoch is that of this claim, whoever has the run by now: a process that was
    /// frozen after it does not use another's.
    async fn load_taken(
        &self,
        taken: UpdateMany<runs::Entity>,
    ) -> Result<Option<Claimed>, StoreError> {
        match self.db.update(taken).await?.pop() {
            Some(row) => self.load_rest(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Runs that want an owner and have lost so many of them since their last finished turn, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_wanting_an_owner(
        &self,
        node: &str,
        takeover: Takeover,
        takeovers: Range<u32>,
        limit: u64,
    ) -> Result<Vec<RunId>, StoreError> {
        let wanted = Condition::any()
            .add(runs::Column::LeaseOwner.eq(""))
            .add_option(self.is_lost(node, takeover));
        let ids: Vec<uuid::Uuid> = runs::Entity::find()
            .select_only()
            .column(runs::Column::Id)
            // A final run has none: only the few that live are looked at.
            .filter(runs::Column::LeaseOwner.gte(""))
            .filter(wanted)
            .filter(runs::Column::Takeovers.gte(db_u32(takeovers.start)))
            .filter(runs::Column::Takeovers.lt(db_u32(takeovers.end)))
            .order_by_asc(runs::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// The node's runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_of(&self, node: &str) -> Result<Vec<RunId>, StoreError> {
        let ids: Vec<uuid::Uuid> = runs::Entity::find()
            .select_only()
            .column(runs::Column::Id)
            .filter(runs::Column::LeaseOwner.eq(node))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// The node's runs that somebody waits for to be stopped now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_to_stop(&self, node: &str) -> Result<Vec<RunId>, StoreError> {
        let open = Query::select()
            .column(commands::Column::RunId)
            .from(commands::Entity)
            .and_where(commands::Column::Outcome.is_null())
            .and_where(commands::Column::Kind.eq(STOP_NOW))
            .to_owned();
        let ids: Vec<uuid::Uuid> = runs::Entity::find()
            .select_only()
            .column(runs::Column::Id)
            .filter(runs::Column::LeaseOwner.eq(node))
            .filter(runs::Column::Id.in_subquery(open))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// The last seqs of these runs, as far as they exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_seqs(&self, ids: &[RunId]) -> Result<Vec<(RunId, u64)>, StoreError> {
        let mut seqs = Vec::with_capacity(ids.len());
        for some in ids.chunks(500) {
            let rows: Vec<(uuid::Uuid, i64)> = runs::Entity::find()
                .select_only()
                .column(runs::Column::Id)
                .column(runs::Column::LastSeq)
                .filter(runs::Column::Id.is_in(some.iter().map(|id| id.as_uuid())))
                .into_tuple()
                .all(&self.db)
                .await?;
            for (id, seq) in rows {
                seqs.push((RunId::from_uuid(id), read_u64(seq)?));
            }
        }
        Ok(seqs)
    }

    /// Ends a run of that node whose rows cannot be read, so that nobody waits for it for ever. What it had used is not known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fail_unread(
        &self,
        id: RunId,
        node: &str,
        failure: &Failure,
        at: Timestamp,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let txn = self.db.begin().await?;
        let ended = runs::Entity::update_many()
            .set(runs::ActiveModel {
                status: Set(RunStatus::Failed.as_str().to_owned()),
                error_code: Set(Some(failure.code.as_str().to_owned())),
                error_message: Set(Some(failure.message.clone())),
                open_seq: Set(None),
                cost_complete: Set(false),
                lease_owner: Set(None),
                finished_at: Set(Some(at.as_millis())),
                ..Default::default()
            })
            .col_expr(
                runs::Column::LastSeq,
                Expr::col(runs::Column::LastSeq).add(1),
            )
            .filter(runs::Column::Id.eq(id.as_uuid()))
            .filter(runs::Column::LeaseOwner.eq(node));
        let Some(row) = ended.exec_with_returning(&txn).await?.pop() else {
            return Err(StoreError::LeaseLost);
        };
        let event = RunEvent::RunFailed(RunFailed {
            error: failure.clone(),
            totals: Totals {
                turns: u32::try_from(row.turns).unwrap_or_default(),
                usage: Usage::default(),
                cost_usd: read_cost(row.cost).ok().filter(|cost| *cost > Cost::ZERO),
                cost_complete: false,
            },
        });
        let logged = events::number(&[event], read_u64(row.last_seq)?, at)?;
        events::append(&txn, id, &logged, at).await?;
        commands::Entity::update_many()
            .col_expr(commands::Column::Outcome, Expr::value("too_late"))
            .filter(commands::Column::RunId.eq(id.as_uuid()))
            .filter(commands::Column::Outcome.is_null())
            .exec(&txn)
            .await?;
        txn.commit().await?;
        Ok(logged)
    }
}

impl Store {
    /// What the log says last of a run that [`Store::fail_unread`] ended so at that moment; `None` if it did not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_failed(
        &self,
        id: RunId,
        failure: &Failure,
        at: Timestamp,
    ) -> Result<Option<Vec<LoggedEvent>>, StoreError> {
        let last: Option<i64> = runs::Entity::find_by_id(id.as_uuid())
            .filter(runs::Column::Status.eq(RunStatus::Failed.as_str()))
            .filter(runs::Column::ErrorCode.eq(failure.code.as_str()))
            .filter(runs::Column::ErrorMessage.eq(failure.message.as_str()))
            .filter(runs::Column::FinishedAt.eq(at.as_millis()))
            .select_only()
            .column(runs::Column::LastSeq)
            .into_tuple()
            .one(&self.db)
            .await?;
        let Some(last) = last.map(read_u64).transpose()? else {
            return Ok(None);
        };
        let logged = self.events_after(id, last.saturating_sub(1), 1).await?;
        Ok(Some(logged))
    }
}

/// The update that makes the node the run's owner, under a new epoch.
fn take(id: RunId, node: &str) -> UpdateMany<runs::Entity> {
    runs::Entity::update_many()
        .col_expr(runs::Column::LeaseOwner, Expr::value(node))
        .col_expr(
            runs::Column::LeaseEpoch,
            Expr::col(runs::Column::LeaseEpoch).add(1),
        )
        .filter(runs::Column::Id.eq(id.as_uuid()))
}
