//! Who is logged in by a browser. Ids come here as hashes: nobody who reads the table can take a session over. When one ends the database's
//! clock says, whichever process asks.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, Query},
};

use super::{
    _entities::sessions::{Column, Entity},
    Store, StoreError,
};

/// A login by a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// To whom belongs what it makes.
    pub owner: String,
    /// Who has said who it is.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// The issuer's own session, if it has said one.
    pub issuer_session: Option<String>,
    /// What it may do, by the names that tokens have, with spaces between.
    pub scopes: String,
}

/// A login whose time is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSession {
    /// It.
    pub session: Session,
    /// How long it has been of no use.
    pub idle: Duration,
}

/// Which sessions of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionsOf {
    /// All of a subject.
    Subject(String),
    /// The one that the issuer knows by that name; and of the subject, those of which the issuer has said no name.
    IssuerSession {
        /// The issuer's name for it.
        session: String,
        /// Whose it is, if that was said.
        subject: Option<String>,
    },
}

/// A row, and how long it has been of no use.
type Found = (String, String, String, Option<String>, String, i64);

impl Store {
    /// Keeps a session under that id, for so long at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_session(
        &self,
        id: &str,
        session: &Session,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX / 2);
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns([
                Column::Id,
                Column::Owner,
                Column::Issuer,
                Column::Subject,
                Column::IssuerSession,
                Column::Scopes,
                Column::Seen,
                Column::Expires,
            ])
            .values_panic([
                Expr::value(id),
                Expr::value(session.owner.as_str()),
                Expr::value(session.issuer.as_str()),
                Expr::value(session.subject.as_str()),
                Expr::value(session.issuer_session.clone()),
                Expr::value(session.scopes.as_str()),
                self.now(),
                self.now().add(lifetime),
            ]);
        self.db.execute(&insert).await?;
        Ok(())
    }

    /// The session of that id, if its time is not over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, id: &str) -> Result<Option<LiveSession>, StoreError> {
        let found: Option<Found> = Entity::find_by_id(id)
            .filter(Column::Expires.into_expr().gt(self.now()))
            .select_only()
            .columns([
                Column::Owner,
                Column::Issuer,
                Column::Subject,
                Column::IssuerSession,
                Column::Scopes,
            ])
            .expr_as(self.now().sub(Expr::col(Column::Seen)), "idle")
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(
            found.map(|(owner, issuer, subject, issuer_session, scopes, idle)| {
                let session = Session {
                    owner,
                    issuer,
                    subject,
                    issuer_session,
                    scopes,
                };
                // What was of use later than now, another clock has written.
                let idle = Duration::from_millis(u64::try_from(idle).unwrap_or(0));
                LiveSession { session, idle }
            }),
        )
    }

    /// Takes note that a session was of use.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn see_session(&self, id: &str) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::Seen, self.now())
            .filter(Column::Id.eq(id))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// Ends the session of that id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, id: &str) -> Result<(), StoreError> {
        Entity::delete_by_id(id).exec(&self.db).await?;
        Ok(())
    }

    /// Ends sessions of an issuer. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_sessions(&self, issuer: &str, of: &SessionsOf) -> Result<u64, StoreError> {
        let of = match of {
            SessionsOf::Subject(subject) => Column::Subject.eq(subject),
            SessionsOf::IssuerSession {
                session,
                subject: None,
            } => Column::IssuerSession.eq(session),
            SessionsOf::IssuerSession {
                session,
                subject: Some(subject),
            } => Column::IssuerSession.eq(session).or(Column::IssuerSession
                .is_null()
                .and(Column::Subject.eq(subject))),
        };
        let ended = Entity::delete_many()
            .filter(Column::Issuer.eq(issuer))
            .filter(of)
            .exec(&self.db)
            .await?;
        Ok(ended.rows_affected)
    }

    /// Takes away sessions that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_ended_sessions(&self) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::Expires.into_expr().lte(self.now()))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}
