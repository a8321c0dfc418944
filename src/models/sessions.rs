//! Who is logged in by a browser. Ids come here as hashes: nobody who reads the table can take a session over.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    _entities::sessions::{ActiveModel, Column, Entity, Model},
    Store, StoreError,
};
use crate::conversation::Timestamp;

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
    /// When it was last of use.
    pub seen: Timestamp,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
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

impl From<Model> for Session {
    fn from(row: Model) -> Self {
        Self {
            owner: row.owner,
            issuer: row.issuer,
            subject: row.subject,
            issuer_session: row.issuer_session,
            scopes: row.scopes,
            seen: Timestamp::from_millis(row.seen),
            expires: Timestamp::from_millis(row.expires),
        }
    }
}

impl Store {
    /// Keeps a session under that id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        let row = ActiveModel {
            id: Set(id.to_owned()),
            owner: Set(session.owner.clone()),
            issuer: Set(session.issuer.clone()),
            subject: Set(session.subject.clone()),
            issuer_session: Set(session.issuer_session.clone()),
            scopes: Set(session.scopes.clone()),
            seen: Set(session.seen.as_millis()),
            expires: Set(session.expires.as_millis()),
        };
        Entity::insert(row).exec_without_returning(&self.db).await?;
        Ok(())
    }

    /// The session of that id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        Ok(Entity::find_by_id(id)
            .one(&self.db)
            .await?
            .map(Session::from))
    }

    /// Takes note that a session was of use.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn see_session(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::Seen, Expr::value(at.as_millis()))
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
    pub async fn forget_ended_sessions(&self, at: Timestamp) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::Expires.into_expr().lte(at.as_millis()))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}
