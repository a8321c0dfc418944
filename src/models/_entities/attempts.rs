//! Table `attempts`.

use sea_orm::entity::prelude::*;

/// A row of `attempts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub turn: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub attempt: i32,
    pub provider: String,
    pub model: String,
    pub outcome: String,
    #[sea_orm(column_type = "Text")]
    pub usage: String,
    pub cost: Option<i64>,
    pub duration_ms: i64,
    pub first_delta_ms: Option<i64>,
    pub at: i64,
    pub settled: bool,
}

/// No relations are declared: rows are read by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
