//! What happens before the parts are built: configuration, logging, the database.

use std::time::Duration;

use loco_rs::{
    Error, Result,
    app::AppContext,
    config::{Config, QueueConfig, WorkerMode},
    environment::Environment as LocoEnvironment,
    logger,
};
use migration::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::{App, models_file::catalogue};
use crate::{
    models::{
        PoolOptions, PostgresOptions, SchemaError, StoreError, TABLES, check_schema, connect,
        explain, is_memory,
    },
    providers::KINDS,
    settings::{self, ApiKind, Environment, ServerOverrides, Settings},
    telemetry::log::{Cut, JsonLines, tell_panics},
};

/// Stands in the `settings:` block of a configuration that the command line has loaded: the process's environment counts there.
/// A test's configuration has no such mark, so that it is what the test says and nothing else.
const MARK: &str = "(environment)";

/// Loco's configuration, with what the usual names of the environment say. They work in every environment, without templates in
/// the YAML, and an empty value is none.
pub(super) fn load_config(environment: &LocoEnvironment) -> Result<Config> {
    let mut config = environment.load()?;
    let env = Environment::from_process().map_err(Error::wrap)?;
    let settings = typed(&config, &env, environment)?;
    if let Some(mistake) = overrule(&mut config, settings.server).into_iter().next() {
        return Err(mistake);
    }
    if works_only() && is_memory(&config.database.uri) {
        return Err(nobody_finds("a process of its own for workers (--worker)"));
    }
    match config.settings.get_or_insert_with(|| json!({})) {
        Value::Object(members) => members.insert(MARK.to_owned(), Value::Bool(true)),
        _ => None,
    };
    Ok(config)
}

/// Puts what the environment says into Loco's configuration. What is wrong with either is returned.
pub(super) fn overrule(config: &mut Config, overrides: ServerOverrides) -> Vec<Error> {
    let mut mistakes = Vec::new();
    let ServerOverrides {
        port,
        binding,
        host,
        log_level,
        database_url,
        redis_url,
    } = overrides;
    let written = i64::from(config.server.port);
    match port.map_or_else(|| settings::port("server.port", written), Ok) {
        Ok(port) => config.server.port = i32::from(port),
        Err(error) => mistakes.push(Error::wrap(error)),
    }
    let server = &mut config.server;
    server.binding = binding.unwrap_or(std::mem::take(&mut server.binding));
    server.host = host.unwrap_or(std::mem::take(&mut server.host));
    let (place, address) = match &database_url {
        Some(address) => (address.variable.as_str(), address.expose()),
        None => (
            "database.uri of the configuration",
            config.database.uri.as_str(),
        ),
    };
    match settings::database_url(address) {
        Ok(address) => config.database.uri = address,
        Err(reason) => mistakes.push(Error::string(&format!("{place} {reason}"))),
    }
    if let Some(QueueConfig::Redis(queue)) = &mut config.queue {
        let place = match &redis_url {
            Some(address) => {
                address.expose().clone_into(&mut queue.uri);
                &address.variable
            }
            None => "queue.uri of the configuration",
        };
        if let Err(reason) = settings::check_redis_url(&queue.uri) {
            mistakes.push(Error::string(&format!("{place} {reason}")));
        }
    }
    if let Some(level) = log_level {
        match serde_json::from_value(Value::from(level)) {
            Ok(level) => config.logger.level = level,
            Err(error) => mistakes.push(error.into()),
        }
    }
    mistakes
}

/// Whether the command line asks for a process that works and answers no requests: `start --worker`. Loco tells no hook of it.
pub(super) fn works_only() -> bool {
    let mut words = std::env::args().skip(1);
    let starts = words.any(|word| word == "start" || word == "s");
    starts
        && words.any(|word| {
            let short = word
                .strip_prefix('-')
                .map(|flags| flags.trim_start_matches('n'));
            word == "--worker"
                || word.starts_with("--worker=")
                || short.is_some_and(|flags| flags.starts_with('w'))
        })
}

/// Makes sure that what stands in Loco's own blocks suits: the worker mode the database, and nothing is set that is not used.
///
/// # Errors
/// When it does not.
pub(super) fn check_blocks(config: &Config) -> Result<()> {
    let set = &config.server.middlewares;
    let unused = [
        (
            "cors",
            set.cors.as_ref().is_some_and(|it| it.enable),
            "list the origins in settings.http.allowed_origins",
        ),
        (
            "remote_ip",
            set.remote_ip.as_ref().is_some_and(|it| it.enable),
            "list the proxies in settings.http.trusted_proxies",
        ),
        (
            "limit_payload",
            set.limit_payload.is_some(),
            "set settings.http.body_limit_bytes",
        ),
        (
            "etag",
            set.etag.as_ref().is_some_and(|it| it.enable),
            "answers that can be kept have their own",
        ),
        (
            "fallback",
            set.fallback.as_ref().is_some_and(|it| it.enable),
            "what there is no route for is a problem like others",
        ),
    ];
    for (name, is_set, instead) in unused {
        if is_set {
            let reason = format!("server.middlewares.{name} is not used: {instead}");
            return Err(Error::string(&reason));
        }
    }
    if config.workers.mode == WorkerMode::BackgroundQueue && is_memory(&config.database.uri) {
        return Err(nobody_finds("a job queue (workers.mode: BackgroundQueue)"));
    }
    Ok(())
}

fn nobody_finds(what: &str) -> Error {
    Error::string(&format!(
        "the database is in memory, where no other process finds a run, so {what} makes no sense: set DATABASE_URL"
    ))
}

/// The settings of the configuration and the environment.
///
/// # Errors
/// All mistakes at once.
pub(super) fn typed(
    config: &Config,
    env: &Environment,
    environment: &LocoEnvironment,
) -> Result<Settings> {
    let mut yaml = config.settings.clone();
    if let Some(Value::Object(members)) = &mut yaml {
        members.remove(MARK);
    }
    let development = *environment == LocoEnvironment::Development;
    let kinds = KINDS.map(|kind| ApiKind {
        name: kind.name,
        vendor_url: kind.vendor_url,
        models: kind.models,
    });
    Settings::load(yaml.as_ref(), env, &kinds, development)
        .map_err(|errors| Error::string(&errors.to_string()))
}

/// Reads the settings and opens the database, for every command.
pub(super) async fn prepare(mut ctx: AppContext) -> Result<AppContext> {
    let marked = ctx
        .config
        .settings
        .as_ref()
        .is_some_and(|yaml| yaml.get(MARK).is_some());
    let env = if marked {
        Environment::from_process().map_err(Error::wrap)?
    } else {
        Environment::default()
    };
    let settings = Arc::new(typed(&ctx.config, &env, &ctx.environment)?);
    let catalogue = catalogue(&settings).map_err(|reason| Error::string(&reason))?;
    ctx.shared_store.insert(Arc::new(catalogue));
    ctx.shared_store.insert(Arc::clone(&settings));
    let options = pool(&ctx.config, &settings);
    // In place of Loco's pool, whose connections are retired after a time: a memory database would be gone with them.
    let locos = std::mem::replace(&mut ctx.db, connect(&options).await.map_err(explained)?);
    locos.close().await?;
    own_schema(&ctx.db).await?;
    if prints_configuration() {
        hide_secrets(&mut ctx.config);
    }
    Ok(ctx)
}

/// Makes sure that the database is ours, or empty.
pub(super) async fn own_schema(db: &DatabaseConnection) -> Result<()> {
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let checked = check_schema(db, &known).await;
    checked.map_err(|error| match error {
        SchemaError::Store(error) => explained(error),
        error => Error::string(&error.to_string()),
    })
}

/// Whether the command line asks for what Loco prints of the configuration: `doctor --config`.
fn prints_configuration() -> bool {
    let mut words = std::env::args().skip(1);
    words.any(|word| word == "doctor")
        && words.any(|word| {
            let short = word
                .strip_prefix('-')
                .map(|flags| flags.trim_start_matches('p'));
            word == "--config" || short.is_some_and(|flags| flags.starts_with('c'))
        })
}

/// Takes out what nobody should read over somebody's shoulder.
fn hide_secrets(config: &mut Config) {
    let hide = |address: &mut String| *address = settings::without_secrets(address);
    hide(&mut config.database.uri);
    match &mut config.queue {
        Some(QueueConfig::Redis(queue)) => hide(&mut queue.uri),
        Some(QueueConfig::Postgres(queue)) => hide(&mut queue.uri),
        Some(QueueConfig::Sqlite(queue)) => hide(&mut queue.uri),
        _ => {}
    }
    let hash = "/auth/basic/password_hash";
    if let Some(hash) = config
        .settings
        .as_mut()
        .and_then(|yaml| yaml.pointer_mut(hash))
    {
        *hash = Value::from(settings::HIDDEN);
    }
}

/// How the database is opened.
pub(super) fn pool(config: &Config, settings: &Settings) -> PoolOptions {
    let database = &config.database;
    let told = settings.database.clone();
    PoolOptions {
        uri: database.uri.as_str().into(),
        min_connections: database.min_connections,
        max_connections: database.max_connections,
        timeout: Duration::from_millis(
            database.acquire_timeout.unwrap_or(database.connect_timeout),
        ),
        postgres: PostgresOptions {
            statement_timeout: told.statement_timeout,
            lock_timeout: told.lock_timeout,
            idle_in_transaction_timeout: told.idle_in_transaction_timeout,
            synchronous_commit: told.synchronous_commit,
        },
    }
}

/// What a command that could not be carried out says.
#[must_use]
pub fn reason(error: &Error) -> String {
    match error {
        Error::DB(error) => explain(error),
        error => error.to_string(),
    }
}

pub(super) fn explained(error: StoreError) -> Error {
    match error {
        StoreError::Database(error) => Error::string(&explain(&error)),
        error => Error::wrap(error),
    }
}

/// What is told of. Loco's own filter knows the program by its name alone: who did what has a target of its own, for whoever keeps it
/// apart. A filter that somebody has written says all.
fn filter(config: &loco_rs::config::Logger, level: &logger::LogLevel) -> Result<EnvFilter> {
    let filter = logger::init_env_filter::<App>(config.override_filter.as_ref(), level);
    if config.override_filter.is_some() || EnvFilter::try_from_default_env().is_ok() {
        return Ok(filter);
    }
    let audit = format!("audit={level}").parse().map_err(Error::wrap)?;
    Ok(filter.add_directive(audit))
}

/// Logs go to standard error: standard output belongs to what tasks print.
pub(super) fn init_logger(config: &loco_rs::config::Logger) -> Result<bool> {
    if config.enable {
        // What a task prints is for people; between its lines only warnings have a place.
        let is_task = std::env::args()
            .skip(1)
            .any(|word| word == "task" || word == "t");
        let level = if is_task {
            &logger::LogLevel::Warn
        } else {
            &config.level
        };
        let filter = filter(config, level)?;
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let layer = match config.format {
            logger::Format::Json => {
                tell_panics();
                JsonLines::new(std::io::stderr).boxed()
            }
            _ => logger::init_layer(Cut(std::io::stderr), &config.format, colours),
        };
        tracing_subscriber::registry()
            .with(layer)
            .with(filter)
            .try_init()
            .map_err(Error::wrap)?;
    }
    Ok(true)
}

/// Empties all tables.
pub(super) async fn truncate(ctx: &AppContext) -> Result<()> {
    for table in TABLES {
        ctx.db
            .execute_unprepared(&format!("DELETE FROM {table}"))
            .await?;
    }
    Ok(())
}
