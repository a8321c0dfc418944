//! Acts, as rows: each is written in the transaction of what it tells of, where there is one, and stays when its run goes.
//!
//! **Invariant:** the row of an act that changes something is there exactly if the act was committed: so it also tells whether a commit went
//! through whose answer was lost. Acts that change nothing can be done again and again: they have a row, but not one each ([`Store::note`]).

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, Query, SelectStatement, SimpleExpr},
};
use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

use super::{
    _entities::audit::{Column, Entity, Model},
    Store, StoreError,
    rows::{json, read_json, unreadable},
};
use crate::conversation::{Act, Asker, AuditEntry, AuditPage, RunId, Timestamp};

/// The member of an act's JSON that has a column of its own.
const ACT: &str = "act";

/// For so long a row also stands for acts like it, where these change nothing.
const LIKE_IT: Duration = Duration::from_secs(60);

/// The most rows of such acts in that time, of one owner with one run.
const MOST: i64 = 16;

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

    /// Writes an act down that changes nothing, and so has no transaction of its own: unless there is a row, not older than a minute, of
    /// the same act with the same run, by the same owner with the same login from the same address; and if the owner has 16 of such acts
    /// with the run in that minute, whatever differs, the last of them stands for more. So repeating it does not fill the table. Those who
    /// come at the very same moment may each write theirs.
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
        let row = row(run, act, by, at)?;
        let is = |column: Column, value: Option<&String>| match value {
            Some(value) => column.eq(value),
            None => column.is_null(),
        };
        let mut same = recent(&row, Expr::value(1));
        same.and_where(Column::Detail.eq(&row.detail))
            .and_where(is(Column::Login, row.login.as_ref()))
            .and_where(is(Column::Address, row.address.as_ref()));
        let all = recent(&row, Expr::cust("COUNT(*)"));
        let all = SimpleExpr::SubQuery(None, Box::new(all.into()));
        let columns = [
            (Column::Id, Expr::value(row.id)),
            (Column::RunId, Expr::value(row.run_id)),
            (Column::At, Expr::value(row.at)),
            (Column::Act, Expr::value(row.act)),
            (Column::Detail, Expr::value(row.detail)),
            (Column::Owner, Expr::value(row.owner)),
            (Column::Login, Expr::value(row.login)),
            (Column::Address, Expr::value(row.address)),
            (Column::RequestId, Expr::value(row.request_id)),
        ];
        let (columns, values): (Vec<Column>, Vec<SimpleExpr>) = columns.into_iter().unzip();
        let mut missing = Query::select();
        missing
            .exprs(values)
            .and_where(Expr::exists(same).not())
            .and_where(all.lt(MOST));
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns(columns)
            .select_from(missing)
            .map_err(|error| sea_orm::DbErr::Custom(error.to_string()))?;
        self.db.execute(&insert).await?;
        Ok(())
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

/// Of the rows of that act's kind that its owner has with its run since a moment ago: an index has them, by the time in their ids.
fn recent(row: &Model, what: SimpleExpr) -> SelectStatement {
    let since = Timestamp::from_millis(row.at).before(LIKE_IT);
    let since = u64::try_from(since.as_millis()).unwrap_or(0);
    let since = Builder::from_unix_timestamp_millis(since, &[0; 10]).into_uuid();
    let mut rows = Query::select();
    rows.expr(what)
        .from(Entity)
        .and_where(Column::RunId.eq(row.run_id))
        .and_where(Column::Id.gt(since))
        .and_where(Column::Act.eq(&row.act))
        .and_where(Column::Owner.eq(&row.owner));
    rows
}

/// Writes an act down. The id of its row.
pub(super) async fn write(
    db: &impl ConnectionTrait,
    run: RunId,
    act: &Act,
    by: &Asker,
    at: Timestamp,
) -> Result<Uuid, StoreError> {
    let row = row(run, act, by, at)?;
    let id = row.id;
    Entity::insert(row.into_active_model())
        .exec_without_returning(db)
        .await?;
    Ok(id)
}

fn row(run: RunId, act: &Act, by: &Asker, at: Timestamp) -> Result<Model, StoreError> {
    let mut detail: Map<String, Value> = read_json(&json(act)?)?;
    detail.remove(ACT);
    Ok(Model {
        id: Uuid::now_v7(),
        run_id: run.as_uuid(),
        at: at.as_millis(),
        act: act.name().to_owned(),
        detail: json(&detail)?,
        owner: by.owner.clone(),
        login: by.login.map(str::to_owned),
        address: by.address.map(|address| address.to_string()),
        request_id: by.request_id.clone(),
    })
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
