//! Whether the database can be used as it is.

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use loco_rs::{config::Config, doctor::Check};
use migration::{Migrator, MigratorTrait as _};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DbBackend, Statement,
    sqlx::sqlite::SqliteConnectOptions,
};

use super::{PATIENCE, ok, warning, wrong};
use crate::{
    app::{
        boot::{explained, own_schema, pool},
        reason,
    },
    models::{connect, explain, is_memory, unsynced},
    settings::{self, Settings},
};

/// What PostgreSQL keeps back for its administrators, usually.
const RESERVED: u64 = 3;

/// Opens the database, if it is there, and looks at it.
pub(super) async fn check(config: &Config, settings: &Settings) -> Check {
    let uri = &config.database.uri;
    let what = format!("database {}", settings::without_secrets(uri));
    if is_memory(uri) {
        let why = "all runs are forgotten when the process ends: set DATABASE_URL to keep them";
        return warning("database: in memory", why);
    }
    if let Some(path) = absent(uri) {
        return new_file(&what, uri, &path, config.database.auto_migrate);
    }
    match tokio::time::timeout(PATIENCE, opened(config, settings)).await {
        Ok(Ok(warnings)) if warnings.is_empty() => ok(format!("{what}: can be used")),
        Ok(Ok(warnings)) => warning(what, warnings.join("\n   ")),
        Ok(Err(why)) => wrong(what, why),
        Err(_) => wrong(what, "it does not answer"),
    }
}

/// The SQLite file that the address names, if it is not there.
fn absent(uri: &str) -> Option<PathBuf> {
    let options = SqliteConnectOptions::from_str(uri).ok();
    let options = options.filter(|_| uri.starts_with("sqlite:"))?;
    let path = options.get_filename().to_owned();
    (!path.exists()).then_some(path)
}

/// A file that is still to be made.
fn new_file(what: &str, uri: &str, path: &Path, auto_migrate: bool) -> Check {
    if !uri.contains("mode=rwc") {
        return wrong(
            what,
            "there is no such file, and without ?mode=rwc none is made",
        );
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let probe = folder.join(format!(".parley-doctor-{}", std::process::id()));
    let made = File::options().write(true).create_new(true).open(&probe);
    if let Err(error) = made.and_then(|_| std::fs::remove_file(&probe)) {
        return wrong(
            what,
            format!("no file can be made in {}: {error}", folder.display()),
        );
    }
    if auto_migrate {
        ok(format!("{what}: will be made"))
    } else {
        wrong(what, "it is still to be made: run `parley-cli db migrate`")
    }
}

/// What can be said of a database that is there.
///
/// # Errors
/// Why it cannot be used.
async fn opened(config: &Config, settings: &Settings) -> Result<Vec<String>, String> {
    let mut options = pool(config, settings);
    options.min_connections = 1;
    options.max_connections = 1;
    options.timeout = options.timeout.min(PATIENCE / 2);
    let db = connect(&options)
        .await
        .map_err(|error| reason(&explained(error)))?;
    let found = examined(&db, config).await;
    // SQLite's helping files go with the last connection.
    let closed = db.close().await.map_err(|error| explain(&error));
    closed.and(found)
}

async fn examined(db: &DatabaseConnection, config: &Config) -> Result<Vec<String>, String> {
    own_schema(db).await.map_err(|error| reason(&error))?;
    let mut warnings = Vec::new();
    let pending = Migrator::get_pending_migrations_read_only(db).await;
    let pending = pending.map_err(|error| explain(&error))?;
    let names: Vec<&str> = pending.iter().map(|migration| migration.name()).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        if !config.database.auto_migrate {
            return Err(format!(
                "it lacks migrations ({names}): run `parley-cli db migrate`"
            ));
        }
        warnings.push(format!("the next start applies migrations: {names}"));
    }
    for (setting, value) in unsynced(db)
        .await
        .map_err(|error| reason(&explained(error)))?
    {
        warnings.push(format!(
            "it runs with {setting} = {value}: after a power cut it may have forgotten what was answered with success"
        ));
    }
    if db.get_database_backend() == DbBackend::Postgres {
        warnings.extend(too_many_connections(db, config).await?);
    } else {
        // Something is written and taken back: the lock alone is given to those, too, who may only read.
        db.execute_unprepared("BEGIN IMMEDIATE; CREATE TABLE parley_doctor (x); ROLLBACK")
            .await
            .map_err(|error| explain(&error))?;
    }
    Ok(warnings)
}

/// A pool that the server cannot serve; one connection more is for the process's sign of life.
async fn too_many_connections(
    db: &DatabaseConnection,
    config: &Config,
) -> Result<Option<String>, String> {
    let query = Statement::from_string(DbBackend::Postgres, "SHOW max_connections");
    let row = db.query_one_raw(query).await;
    let row = row.map_err(|error| explain(&error))?;
    let most: Option<String> = row.and_then(|row| row.try_get_by_index(0).ok());
    let most: Option<u64> = most.and_then(|most| most.parse().ok());
    let wanted = u64::from(config.database.max_connections) + 1;
    Ok(most.filter(|most| wanted + RESERVED > *most).map(|most| {
        format!("a process may want {wanted} connections (database.max_connections and one), and the server has {most} for all")
    }))
}
