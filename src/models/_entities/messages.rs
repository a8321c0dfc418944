//! Table `messages`.

use sea_orm::entity::prelude::*;

/// A row of `messages`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub pos: i64,
    pub kind: String,
    pub turn: Option<i32>,
    pub bot_index: Option<i32>,
    pub bot_version: Option<i32>,
    pub author: String,
    #[sea_orm(column_type = "Text")]
    pub text: String,
    pub status: String,
    pub stop_reason: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub usage: String,
    pub cost: Option<i64>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub at: i64,
    pub kept_from_turn: Option<i32>,
    pub after_attempt: Option<i32>,
}

/// No relations are declared: rows are read by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
