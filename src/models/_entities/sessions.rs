//! Table `sessions`.

use sea_orm::entity::prelude::*;

/// A row of `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub owner: String,
    pub issuer: String,
    pub subject: String,
    pub issuer_session: Option<String>,
    pub scopes: String,
    pub seen: i64,
    pub expires: i64,
}

/// No relations are declared: rows are read by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
