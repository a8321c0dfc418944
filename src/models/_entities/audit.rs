//! Table `audit`.

use sea_orm::entity::prelude::*;

/// A row of `audit`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub run_id: Uuid,
    pub at: i64,
    pub act: String,
    #[sea_orm(column_type = "Text")]
    pub detail: String,
    pub owner: String,
    pub login: Option<String>,
    pub address: Option<String>,
    pub request_id: String,
}

/// No relations are declared: a row outlives its run.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
