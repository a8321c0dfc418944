//! The inbox: every change to a run from outside is a row, written under the lock of the run's row.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
};

use super::{
    _entities::{
        bots,
        commands::{ActiveModel, Column, Entity, Model},
        runs,
    },
    Store, StoreError, audit,
    changes::{self, Change, Head},
    db::Transaction,
    events::LoggedEvent,
    rows::{db_u32, db_u64, json, read_json, read_u64, unreadable},
    runs::newest_bots,
};
use crate::conversation::{Act, Asker, Bot, BotUpdated, Run, RunError, RunId, StopMode, Timestamp};

/// The kind of the one command that does not wait for the turn's end.
pub(super) const STOP_NOW: &str = "stop";

/// A command that waits for the run's owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its number within the run, from 1.
    pub id: u64,
    /// What is to be done.
    pub kind: CommandKind,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a run has a handful of them for a moment; a box would only be in the way"
)]
pub enum CommandKind {
    /// End the run.
    Stop(StopMode),
    /// A bot has a new version, which is in `bots` already.
    UpdateBot {
        /// The event that tells of it.
        update: BotUpdated,
        /// The bot in that version.
        bot: Bot,
    },
}

impl CommandKind {
    /// What it is to give such an order.
    fn act(&self) -> Act {
        match self {
            Self::Stop(mode) => Act::Stop { mode: *mode },
            Self::UpdateBot { update, .. } => Act::UpdateBot {
                bot_index: update.bot_index,
                bot_version: update.version,
            },
        }
    }

    fn columns(&self) -> Result<(&'static str, String), StoreError> {
        match self {
            Self::Stop(mode @ StopMode::Now) => Ok((STOP_NOW, json(mode)?)),
            Self::Stop(mode @ StopMode::AfterTurn) => Ok(("stop_after_turn", json(mode)?)),
            Self::UpdateBot { update, .. } => Ok(("update_bot", json(update)?)),
        }
    }
}

/// A command that is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The command.
    pub id: u64,
    /// The seq of the event that tells of it; `None` if it came too late to do anything.
    pub seq: Option<u64>,
}

/// A run whose row is locked, as the row says now.
#[derive(Debug)]
pub struct Locked {
    /// The run, its bots in their newest versions.
    pub run: Run,
    /// The part that changes.
    pub head: Head,
    /// Whether a process drives it.
    pub owned: bool,
}

/// What is to be written about a locked run.
#[derive(Debug)]
pub struct Order {
    /// The command.
    pub kind: CommandKind,
    /// What applies it at once, for a run that nobody drives. Its `applied` is filled in by the store.
    pub change: Option<Change>,
}

/// What became of an order.
#[derive(Debug)]
pub struct Ordered {
    /// What was done; `None` if nothing was to be.
    pub act: Option<Act>,
    /// The events that were logged with it.
    pub logged: Vec<LoggedEvent>,
}

impl Store {
    /// Locks the run's row, lets `decide` see what it says, and writes the order, if there is one, with who gave it.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyEnded`, whatever `decide` refuses, and when the database fails. Nothing is written then.
    pub async fn order(
        &self,
        id: RunId,
        by: &Asker,
        at: Timestamp,
        decide: impl FnOnce(&Locked) -> Result<Option<Order>, RunError> + Send,
    ) -> Result<Ordered, RunError> {
        let txn = self.db.begin().await.map_err(StoreError::from)?;
        let taken = changes::take_command(id)
            .exec_with_returning(&txn)
            .await
            .map_err(StoreError::from)?
            .pop();
        let Some(row) = taken else {
            txn.rollback().await.map_err(StoreError::from)?;
            let run = self.run(id).await?.ok_or(RunError::NotFound(id))?;
            return Err(RunError::AlreadyEnded {
                id,
                status: run.status,
            });
        };
        let command = read_u64(row.last_command)?;
        let locked = Locked::read(&txn, row).await?;
        let Some(order) = decide(&locked)? else {
            txn.rollback().await.map_err(StoreError::from)?;
            return Ok(Ordered {
                act: None,
                logged: Vec::new(),
            });
        };
        let act = order.kind.act();
        let logged = write(&txn, id, command, at, &locked, order).await?;
        let noted = audit::write(&txn, id, &act, by, at).await?;
        match txn.commit().await.map_err(StoreError::from) {
            // The commit may have gone through although nobody heard of it.
            Err(error) if !(error.passes() && self.was_noted(noted).await?) => Err(error.into()),
            _ => Ok(Ordered {
                act: Some(act),
                logged,
            }),
        }
    }
}

impl Locked {
    async fn read(txn: &impl ConnectionTrait, row: runs::Model) -> Result<Self, StoreError> {
        let head = row.head()?;
        let owned = row
            .lease_owner
            .as_deref()
            .is_some_and(|owner| !owner.is_empty());
        let bots = newest_bots(txn, RunId::from_uuid(row.id)).await?;
        Ok(Self {
            run: row.into_run(bots)?,
            head,
            owned,
        })
    }
}

async fn write(
    txn: &Transaction,
    run: RunId,
    id: u64,
    at: Timestamp,
    locked: &Locked,
    order: Order,
) -> Result<Vec<LoggedEvent>, StoreError> {
    let (kind, payload) = order.kind.columns()?;
    if let CommandKind::UpdateBot { update, bot } = &order.kind {
        let row = bots::Model::row(run, bot, update.effective_from_turn)?;
        bots::Entity::insert(row)
            .exec_without_returning(txn)
            .await?;
    }
    let applied_seq = order
        .change
        .as_ref()
        .map(|change| db_u64(change.head.last_seq));
    let row = ActiveModel {
        run_id: Set(run.as_uuid()),
        id: Set(db_u64(id)),
        kind: Set(kind.to_owned()),
        payload: Set(payload),
        created_at: Set(at.as_millis()),
        applied_seq: Set(applied_seq),
        outcome: Set(applied_seq.map(|_| "applied".to_owned())),
    };
    Entity::insert(row).exec_without_returning(txn).await?;
    let Some(change) = &order.change else {
        return Ok(Vec::new());
    };
    changes::update(run, change)?.exec(txn).await?;
    changes::write(txn, run, locked.head.last_seq, change).await
}

/// The commands that nobody has dealt with, oldest first.
pub(super) async fn open(
    db: &impl ConnectionTrait,
    run: RunId,
) -> Result<Vec<Command>, StoreError> {
    let rows = Entity::find()
        .filter(Column::RunId.eq(run.as_uuid()))
        .filter(Column::Outcome.is_null())
        .order_by_asc(Column::Id)
        .all(db)
        .await?;
    let mut commands = Vec::with_capacity(rows.len());
    for row in rows {
        commands.push(Command {
            id: read_u64(row.id)?,
            kind: read_kind(db, run, &row).await?,
        });
    }
    Ok(commands)
}

async fn read_kind(
    db: &impl ConnectionTrait,
    run: RunId,
    row: &Model,
) -> Result<CommandKind, StoreError> {
    match row.kind.as_str() {
        STOP_NOW | "stop_after_turn" => Ok(CommandKind::Stop(read_json(&row.payload)?)),
        "update_bot" => {
            let update: BotUpdated = read_json(&row.payload)?;
            let key = (
                run.as_uuid(),
                db_u32(update.bot_index),
                db_u32(update.version),
            );
            let bot = bots::Entity::find_by_id(key).one(db).await?;
            let bot = bot.ok_or_else(|| {
                unreadable(format!("command {} of run {run} without its bot", row.id))
            })?;
            Ok(CommandKind::UpdateBot {
                update,
                bot: bot.into_version()?.bot,
            })
        }
        other => Err(unreadable(format!("a command {other:?}"))),
    }
}

/// Marks commands as done with.
pub(super) async fn close(
    db: &impl ConnectionTrait,
    run: RunId,
    applied: &[Applied],
) -> Result<(), StoreError> {
    for command in applied {
        let row = ActiveModel {
            run_id: Set(run.as_uuid()),
            id: Set(db_u64(command.id)),
            applied_seq: Set(command.seq.map(db_u64)),
            outcome: Set(Some(
                if command.seq.is_some() {
                    "applied"
                } else {
                    "too_late"
                }
                .to_owned(),
            )),
            ..Default::default()
        };
        Entity::update(row).exec(db).await?;
    }
    Ok(())
}
