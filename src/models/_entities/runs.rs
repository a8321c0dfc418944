//! Table `runs`.

use sea_orm::entity::prelude::*;

/// A row of `runs`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runs")]
#[expect(
    missing_docs,
    reason = "the columns are documented where the table is made: migration/src"
)]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub owner: String,
    pub status: String,
    pub reason: Option<String>,
    pub error_code: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_message: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub topic: String,
    pub bot_count: i32,
    pub max_turns: i32,
    pub show_reasoning: bool,
    pub context_policy: String,
    pub turns: i32,
    pub open_seq: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub usage: String,
    pub cost: i64,
    pub cost_complete: bool,
    #[sea_orm(column_type = "Text")]
    pub spent: String,
    pub last_seq: i64,
    pub last_command: i64,
    pub lease_owner: Option<String>,
    pub lease_epoch: i64,
    pub takeovers: i32,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
}

/// No relations are declared: rows are read by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
