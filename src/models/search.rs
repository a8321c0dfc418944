//! The index of what was said: PostgreSQL's full text search, and a table of words in SQLite. What a word is, is the conversation's
//! to say, so both find the same.

use sea_orm::{
    ConnectionTrait, DbBackend, Statement,
    sea_query::{Alias, Expr, ExprTrait as _},
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

/// That a row of the table says that the word occurs in its run.
pub(super) fn occurs(backend: DbBackend, word: &str) -> Expr {
    match backend {
        // The word stands in the statement, so that PostgreSQL plans with how common this very word is, and not once for all words.
        // Letters and digits only: it is one word in quotes, whatever it is.
        DbBackend::Postgres => {
            let word: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
            Expr::cust(format!("words @@ CAST('''{word}''' AS tsquery)"))
        }
        _ => Expr::col(Alias::new("word")).eq(word),
    }
}
