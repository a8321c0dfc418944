//! Whose tables are in the database: ours, of this version or an older one; anything else is left alone.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::StoreError;

/// A table that no other application is likely to have together with our migrations; every version of Parley has it.
const OURS: &str = "runs";

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
    if !has_table(db, "seaql_migrations").await? {
        return match has_table(db, OURS).await? {
            true => Err(SchemaError::Foreign(format!(
                "it has a table {OURS:?} but no list of migrations"
            ))),
            false => Ok(()),
        };
    }
    let query = "SELECT version FROM seaql_migrations ORDER BY version";
    let applied: Vec<String> = strings(db, query).await?;
    let is_known = |name: &String| known.contains(name);
    let ours = applied.iter().any(is_known);
    match applied.into_iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) if ours => Err(SchemaError::Newer(name)),
        Some(name) => Err(SchemaError::Foreign(format!("it has a migration {name}"))),
    }
}

async fn has_table(db: &DatabaseConnection, name: &str) -> Result<bool, StoreError> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
        }
        _ => "SELECT name FROM sqlite_master WHERE type = 'table'",
    };
    Ok(strings(db, query).await?.iter().any(|table| table == name))
}

async fn strings(db: &DatabaseConnection, query: &str) -> Result<Vec<String>, StoreError> {
    let statement = Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(statement).await?;
    let first = rows.iter().map(|row| row.try_get_by_index(0));
    Ok(first.collect::<Result<_, _>>()?)
}
