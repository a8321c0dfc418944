//! The index of what was said: PostgreSQL's full text search, and a table of words in SQLite. What a word is, is the conversation's
//! to say, so both find the same.

use sea_orm::{
    ConnectionTrait, DbBackend, Statement,
    sea_query::{Alias, Expr, ExprTrait as _, Query, SelectStatement},
};

use super::{
    StoreError,
    rows::{db_u64, json},
};
use crate::conversation::{RunId, words};

/// The table; its columns differ between the databases.
pub(super) const TABLE: &str = "message_words";

/// Adds the words of a message.
pub(super) async fn index(
    db: &impl ConnectionTrait,
    run: RunId,
    pos: u64,
    text: &str,
) -> Result<(), StoreError> {
    let words = words(text);
    if words.is_empty() {
        return Ok(());
    }
    let words = json(&words)?;
    let statement = match db.get_database_backend() {
        backend @ DbBackend::Postgres => Statement::from_sql_and_values(
            backend,
            "INSERT INTO message_words (run_id, pos, words) \
             VALUES ($1, $2, array_to_tsvector(ARRAY(SELECT jsonb_array_elements_text(CAST($3 AS jsonb)))))",
            [run.as_uuid().into(), db_u64(pos).into(), words.into()],
        ),
        backend => Statement::from_sql_and_values(
            backend,
            "INSERT OR IGNORE INTO message_words (word, run_id) SELECT value, ?1 FROM json_each(?2)",
            [run.as_uuid().into(), words.into()],
        ),
    };
    db.execute_raw(statement).await?;
    Ok(())
}

/// The runs in which that word occurs.
pub(super) fn runs_with(backend: DbBackend, word: &str) -> SelectStatement {
    let occurs = match backend {
        // Letters and digits only: in quotes it is one word, whatever the word.
        DbBackend::Postgres => {
            Expr::cust_with_values("words @@ CAST($1 AS tsquery)", [format!("'{word}'")])
        }
        _ => Expr::col(Alias::new("word")).eq(word),
    };
    Query::select()
        .column(Alias::new("run_id"))
        .from(Alias::new(TABLE))
        .and_where(occurs)
        .to_owned()
}
