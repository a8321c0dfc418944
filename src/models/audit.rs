//! Acts, as rows: each is written in the transaction of what it tells of, where there is one, and stays when its run goes.
//!
//! **Invariant:** a row is there exactly if its act was committed: so it also tells whether a commit went through whose answer was lost.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    _entities::audit::{ActiveModel, Column, Entity, Model},
    Store, StoreError,
    rows::{json, read_json, unreadable},
};
use crate::conversation::{Act, Asker, AuditEntry, AuditPage, RunId, Timestamp};

/// The member of an act's JSON that has a column of its own.
const ACT: &str = "act";

impl Store {
    /// What was done with a run, oldest first, from the one after `after`: at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(
        &self,
        run: RunId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<AuditPage, StoreError> {
        // One more than is wanted tells whether there are more.
        let mut rows = Entity::find()
            .filter(Column::RunId.eq(run.as_uuid()))
            .order_by_asc(Column::Id)
            .limit(limit.saturating_add(1));
        if let Some(after) = after {
            rows = rows.filter(Column::Id.gt(after));
        }
        let entries = rows.all(&self.db).await?.into_iter().map(read);
        let mut entries: Vec<AuditEntry> = entries.collect::<Result<_, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(AuditPage {
            more_after: entries.last().map(|entry| entry.id).filter(|_| more),
            entries,
        })
    }

    /// Writes an act down that changes nothing, and so has no transaction of its own.
    ///
    /// # Errors
    /// When the database fails; the row may have been written all the same.
    pub async fn note(
        &self,
        run: RunId,
        act: &Act,
        by: &Asker,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        write(&self.db, run, act, by, at).await.map(|_| ())
    }

    /// How many acts are older than that moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_old_acts(&self, before: Timestamp) -> Result<u64, StoreError> {
        let old = Entity::find().filter(Column::At.lt(before.as_millis()));
        Ok(old.count(&self.db).await?)
    }

    /// Takes up to `limit` of the acts away that are older than that moment, oldest first. How many; fewer than were found if somebody
    /// else took some, and `None` once there are none left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_old_acts(
        &self,
        before: Timestamp,
        limit: u64,
    ) -> Result<Option<u64>, StoreError> {
        let oldest = Entity::find()
            .filter(Column::At.lt(before.as_millis()))
            .order_by_asc(Column::At)
            .limit(limit)
            .select_only()
            .column(Column::Id);
        let ids: Vec<Uuid> = oldest.into_tuple().all(&self.db).await?;
        if ids.is_empty() {
            return Ok(None);
        }
        let those = Entity::delete_many().filter(Column::Id.is_in(ids));
        Ok(Some(those.exec(&self.db).await?.rows_affected))
    }

    /// Whether the row is there: resolves a commit whose answer was lost.
    pub(super) async fn was_noted(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(Entity::find_by_id(id).one(&self.db).await?.is_some())
    }
}

/// Writes an act down. The id of its row.
pub(super) async fn write(
    db: &impl ConnectionTrait,
    run: RunId,
    act: &Act,
    by: &Asker,
    at: Timestamp,
) -> Result<Uuid, StoreError> {
    let id = Uuid::now_v7();
    let mut detail: Map<String, Value> = read_json(&json(act)?)?;
    detail.remove(ACT);
    let row = ActiveModel {
        id: Set(id),
        run_id: Set(run.as_uuid()),
        at: Set(at.as_millis()),
        act: Set(act.name().to_owned()),
        detail: Set(json(&detail)?),
        owner: Set(by.owner.clone()),
        login: Set(by.login.map(str::to_owned)),
        address: Set(by.address.map(|address| address.to_string())),
        request_id: Set(by.request_id.clone()),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(id)
}

fn read(row: Model) -> Result<AuditEntry, StoreError> {
    let mut act: Map<String, Value> = read_json(&row.detail)?;
    act.insert(ACT.to_owned(), row.act.into());
    let act = serde_json::from_value(act.into());
    Ok(AuditEntry {
        id: row.id,
        at: Timestamp::from_millis(row.at),
        act: act.map_err(|error| unreadable(format!("the act {}: {error}", row.id)))?,
        owner: row.owner,
        login: row.login,
        address: row.address,
        request_id: row.request_id,
    })
}
