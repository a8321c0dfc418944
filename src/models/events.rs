//! The durable log: written in the transactions of the run, read in pages.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, ExprTrait as _, Func, Order, Query, SimpleExpr},
};

use super::{
    _entities::events::{ActiveModel, Column, Entity, Model},
    Store, StoreError,
    rows::{db_u64, read_u64, unreadable},
};
use crate::conversation::{RunEvent, RunId, Timestamp};

/// A durable event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its place in the run's log, from 1 without gaps.
    pub seq: u64,
    /// The event's name.
    pub name: String,
    /// The very bytes of its `data`.
    pub data: String,
}

impl Store {
    /// The events after `seq`, in order: at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_after(
        &self,
        run: RunId,
        seq: u64,
        limit: u64,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let rows = Entity::find()
            .filter(Column::RunId.eq(run.as_uuid()))
            .filter(Column::Seq.gt(db_u64(seq)))
            .order_by_asc(Column::Seq)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(read).collect()
    }

    /// The same for whoever has to hold them: no more than are `bytes` together, but for the last one, which may go beyond. So there is
    /// one, if there are any, however large it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page_after(
        &self,
        run: RunId,
        seq: u64,
        limit: u64,
        bytes: u64,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let after = || {
            let seq = Expr::col(Column::Seq).gt(db_u64(seq));
            Expr::col(Column::RunId).eq(run.as_uuid()).and(seq)
        };
        // How long a text is, both databases know without reading it.
        let mut sizes = Query::select();
        sizes
            .column(Column::Seq)
            .expr_as(
                Func::cust("octet_length").arg(Expr::col(Column::Payload)),
                "size",
            )
            .from(Entity)
            .and_where(after())
            .order_by(Column::Seq, Order::Asc)
            .limit(limit);
        let mut sums = Query::select();
        sums.column("seq")
            .expr_as(
                Expr::cust("SUM(size) OVER (ORDER BY seq) - size"),
                "before_it",
            )
            .from_subquery(sizes, "sizes");
        let mut last = Query::select();
        last.expr(Func::max(Expr::col("seq")))
            .from_subquery(sums, "sums")
            .and_where(Expr::col("before_it").lt(db_u64(bytes)));
        let last = SimpleExpr::SubQuery(None, Box::new(last.into()));
        let rows = Entity::find()
            .filter(after())
            .filter(Expr::col(Column::Seq).lte(last))
            .order_by_asc(Column::Seq)
            .all(&self.db)
            .await?;
        rows.into_iter().map(read).collect()
    }
}

fn read(row: Model) -> Result<LoggedEvent, StoreError> {
    Ok(LoggedEvent {
        seq: read_u64(row.seq)?,
        name: row.name,
        data: row.payload,
    })
}

/// When that event happened.
pub(super) async fn at(
    db: &impl ConnectionTrait,
    run: RunId,
    seq: u64,
) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = Entity::find_by_id((run.as_uuid(), db_u64(seq)))
        .select_only()
        .column(Column::At)
        .into_tuple()
        .one(db)
        .await?;
    Ok(at.map(Timestamp::from_millis))
}

/// Gives events their seqs, from `first` on, and their bytes.
pub(super) fn number(
    events: &[RunEvent],
    first: u64,
    at: Timestamp,
) -> Result<Vec<LoggedEvent>, StoreError> {
    let numbered = (first..).zip(events).map(|(seq, event)| {
        let data = event
            .to_data(at)
            .map_err(|error| unreadable(format!("an event without JSON: {error}")))?;
        Ok(LoggedEvent {
            seq,
            name: event.name().to_owned(),
            data,
        })
    });
    numbered.collect()
}

/// Writes numbered events; the primary key refuses a seq that is taken.
pub(super) async fn append(
    db: &impl ConnectionTrait,
    run: RunId,
    events: &[LoggedEvent],
    at: Timestamp,
) -> Result<(), StoreError> {
    let rows = events.iter().map(|event| ActiveModel {
        run_id: Set(run.as_uuid()),
        seq: Set(db_u64(event.seq)),
        name: Set(event.name.clone()),
        payload: Set(event.data.clone()),
        at: Set(at.as_millis()),
    });
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}
