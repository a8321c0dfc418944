//! The connection pool and its transactions, with an end to every wait: a server that does not answer (a frozen machine, a network
//! that swallows packets) fails the statement instead of holding its caller for ever.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, ExecResult, QueryResult, RuntimeErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait as _, UpdateMany,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{connect::BUSY_TIMEOUT, trouble::passes};
use crate::conversation::{DatabaseCall, DatabaseTrouble, Happening, Meter};

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Db {
    pool: DatabaseConnection,
    /// The one place for whoever writes, where the database has but one: SQLite's own wait for its lock is no queue, and some would
    /// come too late again and again.
    writer: Option<Arc<Semaphore>>,
    calls: Calls,
}

/// How the database is asked.
#[derive(Debug, Clone)]
struct Calls {
    /// How long a statement may take; `None`: as long as it takes, for a database in this very process.
    patience: Option<Duration>,
    /// Whom to tell how long it took.
    meter: Meter,
}

/// A transaction on one of the pool's connections; rolled back when it is dropped.
#[derive(Debug)]
pub(super) struct Transaction {
    inner: DatabaseTransaction,
    calls: Calls,
    /// Given back after the end.
    _writer: Option<OwnedSemaphorePermit>,
}

impl Db {
    pub(super) fn new(pool: DatabaseConnection, patience: Option<Duration>) -> Self {
        let one_writer = pool.get_database_backend() == DbBackend::Sqlite;
        Self {
            pool,
            writer: one_writer.then(|| Arc::new(Semaphore::new(1))),
            calls: Calls {
                patience,
                meter: Meter::default(),
            },
        }
    }

    /// The same, telling how long its calls take.
    pub(super) fn metered(mut self, meter: Meter) -> Self {
        self.calls.meter = meter;
        self
    }

    pub(super) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DbErr> {
        // Who begins one will write. One that begins with a read has seen a state that another process may have changed before the first
        // write, and SQLite does not wait then: it refuses (SQLITE_BUSY_SNAPSHOT).
        let as_writer = || TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = async {
            let writer = self.writing().await?;
            let inner = match &writer {
                Some(_) => self.pool.begin_with_options(as_writer()).await?,
                None => self.pool.begin().await?,
            };
            Ok((writer, inner))
        };
        let (writer, inner) = self.calls.answer(DatabaseCall::Begin, begun).await?;
        Ok(Transaction {
            inner,
            calls: self.calls.clone(),
            _writer: writer,
        })
    }

    /// Waits for the place of whoever writes, in turn, and as long as SQLite itself would wait.
    async fn writing(&self) -> Result<Option<OwnedSemaphorePermit>, DbErr> {
        let Some(writer) = &self.writer else {
            return Ok(None);
        };
        match tokio::time::timeout(BUSY_TIMEOUT, Arc::clone(writer).acquire_owned()).await {
            // Never closed.
            Ok(place) => Ok(place.ok()),
            Err(_) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        }
    }

    /// Carries an update out, and gives the rows as they are now.
    pub(super) async fn update<E: EntityTrait>(
        &self,
        update: UpdateMany<E>,
    ) -> Result<Vec<E::Model>, DbErr> {
        let updated = async {
            let _writer = self.writing().await?;
            update.exec_with_returning(&self.pool).await
        };
        self.calls.answer(DatabaseCall::Statement, updated).await
    }

    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        self.calls
            .answer(DatabaseCall::Statement, self.pool.ping())
            .await
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let commit = self.inner.commit();
        self.calls.answer(DatabaseCall::Commit, commit).await
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        let rollback = self.inner.rollback();
        self.calls.answer(DatabaseCall::Rollback, rollback).await
    }
}

impl Calls {
    /// The answer to a call, in time or not at all; told of to whom it may concern. A call that is given up by its caller is not told.
    async fn answer<T>(
        &self,
        what: DatabaseCall,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let asked = Instant::now();
        let answer = bounded(self.patience, answer).await;
        self.meter.tell(Happening::DatabaseAsked {
            what,
            took: asked.elapsed(),
            trouble: answer.as_ref().err().map(|error| match passes(error) {
                true => DatabaseTrouble::Passing,
                false => DatabaseTrouble::Refused,
            }),
        });
        answer
    }
}

async fn bounded<T>(
    patience: Option<Duration>,
    answer: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let Some(patience) = patience else {
        return answer.await;
    };
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let reason = format!("no answer within {} ms", patience.as_millis());
            Err(DbErr::Conn(RuntimeErr::Internal(reason)))
        }
    }
}

impl Transaction {
    /// It has the place already.
    #[expect(clippy::unused_async, reason = "as the pool's")]
    async fn writing(&self) -> Result<(), DbErr> {
        Ok(())
    }
}

macro_rules! connection {
    ($name:ident, $inner:ident) => {
        #[async_trait::async_trait]
        impl ConnectionTrait for $name {
            fn get_database_backend(&self) -> DbBackend {
                self.$inner.get_database_backend()
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                let executed = async {
                    let _writer = self.writing().await?;
                    self.$inner.execute_raw(statement).await
                };
                self.calls.answer(DatabaseCall::Statement, executed).await
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                let executed = async {
                    let _writer = self.writing().await?;
                    self.$inner.execute_unprepared(sql).await
                };
                self.calls.answer(DatabaseCall::Statement, executed).await
            }

            async fn query_one_raw(
                &self,
                statement: Statement,
            ) -> Result<Option<QueryResult>, DbErr> {
                self.calls
                    .answer(
                        DatabaseCall::Statement,
                        self.$inner.query_one_raw(statement),
                    )
                    .await
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                self.calls
                    .answer(
                        DatabaseCall::Statement,
                        self.$inner.query_all_raw(statement),
                    )
                    .await
            }
        }
    };
}

connection!(Db, pool);
connection!(Transaction, inner);

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes on one file: who has read waits for nobody, for nobody can have written meanwhile.
    #[tokio::test]
    async fn a_transaction_that_begins_with_a_read_is_not_refused_its_write() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!(
            "sqlite://{}?mode=rwc",
            folder.path().join("parley.sqlite").display()
        );
        let open = async || Db::new(sea_orm::Database::connect(&address).await.unwrap(), None);
        let (one, two) = (open().await, open().await);
        let run = async |db: &Db, sql: &str| db.execute_unprepared(sql).await.map(drop);
        run(&one, "PRAGMA journal_mode = WAL").await.unwrap();
        run(&one, "CREATE TABLE t (n INTEGER)").await.unwrap();
        let txn = one.begin().await.unwrap();
        let read = Statement::from_string(DbBackend::Sqlite, "SELECT count(*) FROM t");
        txn.query_one_raw(read).await.unwrap();
        // Where it may write at once, it has done so long before that.
        let mut other = Box::pin(run(&two, "INSERT INTO t VALUES (2)"));
        let soon = tokio::time::timeout(Duration::from_millis(500), &mut other).await;
        let mine = async {
            txn.execute_unprepared("INSERT INTO t VALUES (1)").await?;
            txn.commit().await
        };
        mine.await.unwrap();
        assert!(soon.is_err(), "it waits for whoever began before it");
        other.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_has_failed() {
        let patience = Some(Duration::from_secs(10));
        let answer: Result<(), _> = bounded(patience, std::future::pending()).await;
        let error = super::super::StoreError::from(answer.unwrap_err());
        assert!(
            error.passes() && error.cause().contains("10000 ms"),
            "{error:?}"
        );
    }
}
