//! Runs that are removed, with all of their rows but those that say who did what with them (`audit`). The `runs` row goes first, so everything is 404 from that moment.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityName as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
    sea_query::{Alias, Expr, ExprTrait as _, Query},
};
use uuid::Uuid;

use super::{
    _entities::{attempts, bots, commands, events, messages, runs},
    Store, StoreError, audit,
    changes::FINAL,
    db::Transaction,
    search,
};
use crate::conversation::{Act, Asker, RunError, RunId, Timestamp};

impl Store {
    /// Removes a run that is over. Who did it stays.
    ///
    /// # Errors
    /// `NotFound`; `NotEnded`; when the database fails.
    pub async fn delete_run(&self, id: RunId, by: &Asker, at: Timestamp) -> Result<(), RunError> {
        let txn = self.db.begin().await.map_err(StoreError::from)?;
        if remove(&txn, vec![id.as_uuid()]).await? == 1 {
            let noted = audit::write(&txn, id, &Act::Delete, by, at).await?;
            return match txn.commit().await.map_err(StoreError::from) {
                // The commit may have gone through although nobody heard of it.
                Err(error) if !(error.passes() && self.was_noted(noted).await?) => {
                    Err(error.into())
                }
                _ => Ok(()),
            };
        }
        txn.rollback().await.map_err(StoreError::from)?;
        let run = self.run(id).await?.ok_or(RunError::NotFound(id))?;
        Err(RunError::NotEnded {
            id,
            status: run.status,
        })
    }

    /// How many runs ended before that moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_ended(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(ended(before).count(&self.db).await?)
    }

    /// Removes up to `limit` of the runs that ended before that moment, oldest first, in one short transaction. How many; fewer
    /// than were found if somebody else took some, and `None` once there are none left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(&self, before: Timestamp, limit: u64) -> Result<Option<u64>, StoreError> {
        let oldest = ended(before)
            .order_by_asc(runs::Column::FinishedAt)
            .limit(limit);
        match self.ids(oldest).await? {
            none if none.is_empty() => Ok(None),
            ids => self.delete(ids).await.map(Some),
        }
    }

    /// Removes up to `limit` of the runs that have ended, but for the newest `keep`. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_but_newest(&self, keep: u64, limit: u64) -> Result<u64, StoreError> {
        let oldest = runs::Entity::find()
            .filter(runs::Column::FinishedAt.is_not_null())
            .order_by_desc(runs::Column::FinishedAt)
            .offset(keep)
            .limit(limit);
        self.delete(self.ids(oldest).await?).await
    }

    async fn ids(&self, runs: Select<runs::Entity>) -> Result<Vec<Uuid>, StoreError> {
        let ids = runs.select_only().column(runs::Column::Id).into_tuple();
        Ok(ids.all(&self.db).await?)
    }

    /// Removes those of them that are over.
    async fn delete(&self, ids: Vec<Uuid>) -> Result<u64, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let txn = self.db.begin().await?;
        let deleted = remove(&txn, ids).await?;
        txn.commit().await?;
        Ok(deleted)
    }
}

/// Removes those of them that are over, each with all of its rows but those of `audit`.
async fn remove(txn: &Transaction, ids: Vec<Uuid>) -> Result<u64, StoreError> {
    let deleted: Vec<Uuid> = runs::Entity::delete_many()
        .filter(runs::Column::Id.is_in(ids))
        .filter(runs::Column::Status.is_in(FINAL))
        .exec_with_returning(txn)
        .await?
        .into_iter()
        .map(|row| row.id)
        .collect();
    for table in [
        search::TABLE,
        commands::Entity.table_name(),
        events::Entity.table_name(),
        attempts::Entity.table_name(),
        messages::Entity.table_name(),
        bots::Entity.table_name(),
    ] {
        let mut rows = Query::delete();
        rows.from_table(Alias::new(table))
            .and_where(Expr::col(Alias::new("run_id")).is_in(deleted.iter().copied()));
        txn.execute(&rows).await?;
    }
    Ok(deleted.len() as u64)
}

/// A run has the moment of its end exactly if it is over.
fn ended(before: Timestamp) -> Select<runs::Entity> {
    runs::Entity::find().filter(runs::Column::FinishedAt.lt(before.as_millis()))
}
