//! Whose tables are in the database: ours, of this version or an older one; anything else is left alone.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::StoreError;

/// All tables of ours; the one that the others speak of is the last.
pub const TABLES: &[&str] = &[
    // tables-inject (do not remove: generated tables are named below it)
    "sessions",
    "audit",
    "spending",
    "creation_rates",
    "idempotency_keys",
    "nodes",
    "open_streams",
    "message_words",
    "commands",
    "events",
    "attempts",
    "messages",
    "bots",
    "runs",
];

/// Why the database's tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// They were made by a newer version.
    #[error(
        "the database was migrated by a newer version of Parley ({0} is not known here): start that version, or use another database"
    )]
    Newer(String),
    /// They were made by another application.
    #[error(
        "the database belongs to another application ({0}): give Parley one of its own by DATABASE_URL"
    )]
    Foreign(String),
    /// They cannot be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes sure that the database is empty, or has tables of ours of a version that is not newer than this one. `known`: the names
/// of this version's migrations, in order.
///
/// # Errors
/// What was found instead.
pub async fn check_schema(db: &DatabaseConnection, known: &[String]) -> Result<(), SchemaError> {
    let tables = tables(db).await?;
    let mut applied = Vec::new();
    if tables.iter().any(|table| table == "seaql_migrations") {
        let query = "SELECT version FROM seaql_migrations ORDER BY version";
        applied = strings(db, query).await?;
    }
    let is_known = |name: &String| known.contains(name);
    let ours = applied.iter().any(is_known);
    // A table that bears a name of ours, and that nothing says we have made.
    let lookalike = tables.iter().find(|table| TABLES.contains(&table.as_str()));
    match (applied.iter().find(|name| !is_known(name)), lookalike) {
        (Some(name), _) if ours => Err(SchemaError::Newer(name.clone())),
        (Some(name), _) => Err(SchemaError::Foreign(format!("it has a migration {name}"))),
        (None, Some(table)) if !ours => Err(SchemaError::Foreign(format!(
            "it has a table {table:?}, but none of Parley's migrations was applied"
        ))),
        (None, _) => Ok(()),
    }
}

/// The names of all tables and views, as the database tells names apart.
async fn tables(db: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
        }
        _ => "SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')",
    };
    strings(db, query).await
}

async fn strings(db: &DatabaseConnection, query: &str) -> Result<Vec<String>, StoreError> {
    let statement = Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(statement).await?;
    let first = rows.iter().map(|row| row.try_get_by_index(0));
    Ok(first.collect::<Result<_, _>>()?)
}
