//! `cargo loco doctor`: what is wrong with a configuration, all of it at once, before anybody starts with it.
//!
//! In place of Loco's own, which stops at the first mistake in the settings and, outside production, asks the network for newer versions.
//! Nothing is changed: no file is made, no migration applied. What it says repeats no secret.

mod database;

use std::time::Duration;

use loco_rs::{
    bgworker,
    config::{Config, QueueConfig, WorkerMode},
    doctor::{Check, CheckStatus},
    environment::Environment as LocoEnvironment,
};

use super::{
    boot::{check_blocks, overrule, typed},
    limits,
    login::check_address,
    models_file::catalogue,
    parts::provider_config,
    reason,
};
use crate::{
    conversation::Meter,
    providers::Registry,
    settings::{self, AuthMode, Environment, ServerOverrides, Settings},
};

/// How long the database, or the queue, may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process may open fewer files than this where nobody has raised the limit.
const FEW_FILES: u64 = 4_096;

fn ok(message: impl Into<String>) -> Check {
    Check {
        status: CheckStatus::Ok,
        message: message.into(),
        description: None,
    }
}

/// What may be meant so.
fn warning(message: impl Into<String>, why: impl Into<String>) -> Check {
    Check {
        status: CheckStatus::NotConfigure,
        message: message.into(),
        description: Some(why.into()),
    }
}

/// What stops the start, or the work.
fn wrong(message: impl Into<String>, why: impl Into<String>) -> Check {
    Check {
        status: CheckStatus::NotOk,
        message: message.into(),
        description: Some(why.into().replace('\n', "\n   ")),
    }
}

/// Looks at everything that a start in that environment would need.
pub async fn examine(environment: &LocoEnvironment) -> Vec<Check> {
    let mut config = match environment.load() {
        Ok(config) => config,
        Err(error) => {
            let what = format!("configuration of the environment {environment}");
            return vec![wrong(what, error.to_string())];
        }
    };
    let mut checks = vec![ok(format!(
        "configuration of the environment {environment}: read"
    ))];
    let env = match Environment::from_process() {
        Ok(env) => env,
        Err(error) => {
            checks.push(wrong(".env", error.to_string()));
            Environment::default()
        }
    };
    let (settings, overrides) = match typed(&config, &env, environment) {
        Ok(settings) => {
            let overrides = settings.server.clone();
            (Some(settings), overrides)
        }
        Err(error) => {
            checks.push(wrong("settings", error.to_string()));
            // The database can be looked at all the same.
            let named = |name| env.secret_if_right(name);
            let overrides = ServerOverrides {
                database_url: named("DATABASE_URL"),
                redis_url: named("REDIS_URL"),
                ..ServerOverrides::default()
            };
            (None, overrides)
        }
    };
    let mistakes = overrule(&mut config, overrides);
    let addresses_are_right = mistakes.is_empty();
    checks.extend(
        mistakes
            .iter()
            .map(|mistake| wrong("configuration", reason(mistake))),
    );
    if let Some(settings) = &settings {
        checks.push(ok(
            "settings: every key is known and every value within its bounds",
        ));
        checks.extend(of_settings(settings, environment, &config));
    }
    // With mistakes among the settings, by the defaults.
    let settings = settings.or_else(|| {
        let mut bare = config.clone();
        bare.settings = None;
        typed(&bare, &Environment::default(), environment).ok()
    });
    if let (Some(settings), true) = (settings, addresses_are_right) {
        checks.push(database::check(&config, &settings).await);
        checks.extend(queue(&config).await);
    }
    checks.extend(files());
    checks
}

/// What the settings say together, with the environment and the rest of the configuration.
fn of_settings(settings: &Settings, environment: &LocoEnvironment, config: &Config) -> Vec<Check> {
    let production = *environment == LocoEnvironment::Production;
    let mut checks = Vec::new();
    match settings.may_start(production, true) {
        Err(error) => checks.push(wrong("login", error.to_string())),
        Ok(()) if settings.dev_mode => checks.push(warning(
            "login: DEV_MODE is on",
            "no login and no limits: anybody who reaches the port can start runs",
        )),
        Ok(()) if settings.auth.lets_nobody_in() => checks.push(warning(
            "login: none",
            "the API answers 401: set BASIC_AUTH_USER and BASIC_AUTH_PW_HASH (`parley-cli task hash_password`), an issuer of tokens (AUTH_MODE=oidc, \
             OIDC_ISSUER, OIDC_AUDIENCE), or DEV_MODE=true on your own machine",
        )),
        Ok(()) => checks.push(ok(match settings.auth.mode {
            AuthMode::Oidc => "login: tokens",
            AuthMode::Both => "login: Basic auth and tokens",
            AuthMode::Basic | AuthMode::Off => "login: Basic auth",
        })),
    }
    if !settings.secret_files.is_empty() {
        let variables = settings.secret_files.join(", ");
        checks.push(ok(format!("secrets from files: {variables}")));
    }
    if let Some(vain) = settings.vain_files() {
        checks.push(warning("variables that name files in vain", vain));
    }
    if let Some(idle) = settings.auth.idle() {
        checks.push(warning("login: something is set in vain", idle));
    }
    if let Some(uneven) = settings.auth.uneven_hashes() {
        checks.push(warning("login: hashes of several costs", uneven));
    }
    if let Err(why) = check_address(settings, &config.server, production) {
        checks.push(wrong("HOST", why));
    }
    checks.push(providers(settings, production));
    match catalogue(settings) {
        Ok(_) => checks.push(ok("facts about models: read")),
        Err(error) => checks.push(wrong("facts about models", error)),
    }
    checks.extend(secret(settings, production));
    checks.extend(proxies(settings, production));
    checks.extend(host(settings, config, production));
    if let Err(error) = check_blocks(config) {
        checks.push(wrong("workers", error.to_string()));
    }
    let database = &config.database;
    if database.dangerously_truncate || database.dangerously_recreate {
        checks.push(wrong(
            "database.dangerously_truncate, database.dangerously_recreate",
            "every start would remove all runs",
        ));
    }
    checks
}

fn providers(settings: &Settings, production: bool) -> Check {
    let simulated = |provider: &&settings::Provider| provider.simulate;
    let names = |of: Vec<&settings::Provider>| -> String {
        let names: Vec<&str> = of.iter().map(|provider| provider.name.as_str()).collect();
        names.join(", ")
    };
    let registry = match Registry::new(provider_config(settings, None, Meter::default())) {
        Ok(registry) => registry,
        Err(error) => return wrong("providers", error.to_string()),
    };
    let all = settings.providers.iter();
    let real: Vec<_> = all
        .clone()
        .filter(|provider| !provider.simulate && registry.check(&provider.name).is_ok())
        .collect();
    let simulated: Vec<_> = all.filter(simulated).collect();
    match (real.is_empty(), simulated.is_empty()) {
        (false, true) => ok(format!("providers: {}", names(real))),
        (false, false) => warning(
            format!("providers: {}", names(real)),
            format!("the simulator answers for {}", names(simulated)),
        ),
        (true, false) if production => warning(
            "providers: only the simulator",
            format!("it answers for {}", names(simulated)),
        ),
        (true, false) => ok(format!(
            "providers: the simulator, for {}",
            names(simulated)
        )),
        (true, true) => wrong(
            "providers: none",
            "no run can name one: set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or the address of a server of your own",
        ),
    }
}

fn secret(settings: &Settings, production: bool) -> Option<Check> {
    let wanted = production && !settings.dev_mode && settings.auth.secrets.is_empty();
    wanted.then(|| {
        warning(
            "PARLEY_SECRET: none",
            "tickets for streams end with the process that has made them, and no other one takes them, nor a login that was begun elsewhere: \
             `openssl rand -base64 48` makes one",
        )
    })
}

fn proxies(settings: &Settings, production: bool) -> Option<Check> {
    let trusted = &settings.http.trusted_proxies;
    if let Some(everybody) = trusted.iter().find(|net| net.prefix_len() == 0) {
        return Some(warning(
            format!("settings.http.trusted_proxies: {everybody}"),
            "whoever reaches the port can make up an address in X-Forwarded-For, and with it passes all limits: name the proxies alone",
        ));
    }
    match (trusted.is_empty(), production) {
        (false, _) => {
            let nets: Vec<String> = trusted.iter().map(ToString::to_string).collect();
            Some(ok(format!("trusted proxies: {}", nets.join(", "))))
        }
        (true, true) if !settings.dev_mode => Some(warning(
            "trusted proxies: none",
            "behind a proxy all clients count as one, and share its limits: name the proxy in settings.http.trusted_proxies",
        )),
        (true, _) => None,
    }
}

fn host(settings: &Settings, config: &Config, production: bool) -> Option<Check> {
    let why = limits::any_host(settings, &config.server, production);
    why.map(|why| warning("names of this server: none", why))
}

/// Whether the queue answers, where there is one.
async fn queue(config: &Config) -> Option<Check> {
    let shown = config.queue.as_ref().map(|queue| match queue {
        QueueConfig::Redis(queue) => settings::without_secrets(&queue.uri),
        QueueConfig::Postgres(queue) => settings::without_secrets(&queue.uri),
        QueueConfig::Sqlite(queue) => settings::without_secrets(&queue.uri),
        _ => settings::HIDDEN.to_owned(),
    });
    if config.workers.mode != WorkerMode::BackgroundQueue {
        let why = "workers.mode is not BackgroundQueue";
        return shown.map(|uri| warning(format!("job queue {uri}: not used"), why));
    }
    let Some(uri) = shown else {
        let why = "workers.mode is BackgroundQueue: say where the queue is (`queue:`)";
        return Some(wrong("job queue: none", why));
    };
    // A file is made by whoever comes first, and that is not for us.
    if matches!(config.queue, Some(QueueConfig::Sqlite(_))) {
        return Some(ok(format!("job queue: {uri}")));
    }
    let answers = async {
        match bgworker::create_queue_provider(config).await? {
            Some(queue) => queue.ping().await,
            None => Ok(()),
        }
    };
    Some(match tokio::time::timeout(PATIENCE, answers).await {
        Ok(Ok(())) => ok(format!("job queue: {uri} answers")),
        Ok(Err(error)) => wrong(format!("job queue: {uri}"), error.to_string()),
        Err(_) => wrong(format!("job queue: {uri}"), "it does not answer"),
    })
}

/// How many files a process may open, where the system says so.
fn files() -> Option<Check> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let soft: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    let said = format!("open files: at most {soft}");
    Some(if soft < FEW_FILES {
        warning(
            said,
            "each stream takes one, and each request to a provider: raise it (ulimit -n, LimitNOFILE=)",
        )
    } else {
        ok(said)
    })
}
