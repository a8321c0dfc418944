//! Requests that make something, and may come twice: the answer is kept with the thing itself, in one transaction.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait, QueryFilter as _,
    sea_query::{Expr, ExprTrait as _, OnConflict, Query},
};

use super::{
    _entities::idempotency_keys::{Column, Entity},
    Store, StoreError,
    db::Transaction,
};
use crate::conversation::IdempotencyKey;

/// How long an answer is given again.
const KEPT: Duration = Duration::from_hours(24);

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The hash of the body that it was given to.
    pub body_hash: String,
    /// The answer's body.
    pub answer: String,
}

impl Store {
    /// The answer that was given to that key, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_answer(
        &self,
        subject: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let id = (subject.to_owned(), key.route.clone(), key.key.clone());
        let row = Entity::find_by_id(id)
            .filter(Expr::col(Column::Expires).gt(self.now()))
            .one(&self.db)
            .await?;
        Ok(row.map(|row| KeptAnswer {
            body_hash: row.body_hash,
            answer: row.answer,
        }))
    }

    /// Keeps an answer; false if there is one already. Waits for whoever is about to keep one under the same key.
    pub(super) async fn keep_answer(
        &self,
        txn: &Transaction,
        subject: &str,
        key: &IdempotencyKey,
        answer: &str,
    ) -> Result<bool, StoreError> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns([
                Column::Subject,
                Column::Route,
                Column::Key,
                Column::BodyHash,
                Column::Status,
                Column::Answer,
                Column::Expires,
            ])
            .values_panic([
                Expr::value(subject),
                Expr::value(key.route.as_str()),
                Expr::value(key.key.as_str()),
                Expr::value(key.body_hash.as_str()),
                Expr::value(201),
                Expr::value(answer),
                self.now().add(kept),
            ])
            .on_conflict(
                // One that has expired, and was not taken away yet, is none.
                OnConflict::columns([Column::Subject, Column::Route, Column::Key])
                    .update_columns([
                        Column::BodyHash,
                        Column::Status,
                        Column::Answer,
                        Column::Expires,
                    ])
                    .action_and_where(Expr::col((Entity, Column::Expires)).lte(self.now()))
                    .to_owned(),
            );
        Ok(txn.execute(&insert).await?.rows_affected() == 1)
    }

    /// Takes answers away that are not given again any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_expired_answers(&self) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::Expires.into_expr().lte(self.now()))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}
