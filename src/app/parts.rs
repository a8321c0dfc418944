//! The parts of the application, built once and joined.

use std::{sync::Arc, time::Duration};

use loco_rs::{
    Error, Result,
    app::AppContext,
    controller::{
        AppRoutes,
        middleware::{MiddlewareLayer, default_middleware_stack},
    },
    environment::Environment as LocoEnvironment,
};
use migration::{Migrator, MigratorTrait as _};
use tokio_util::sync::CancellationToken;

use super::{
    boot::{explained, pool, works_only},
    limits, login,
    operators::Operators,
    serve::{ConnectionLimits, ServeOptions},
    telemetry::{Sources, Telemetry},
};
use crate::{
    controllers::extract::Door,
    conversation::{Catalogue, Meter, RetryPolicy},
    event_log::EventLog,
    identity::{Authenticator, LoginLimits, Oidc},
    middleware::{Guards, stack},
    models::{DrivingLock, PoolOptions, Store, connect, is_memory},
    orchestrator::{self, Doorbell, Runs, Supervisor},
    providers::{self, Dialect, Kind, ProviderConfig, Registry},
    settings::{self, Settings},
    simulator::{Script, Simulator},
    views::stream::StreamSettings,
    workers::run::RunDoorbell,
};

/// How long tasks may take to end once their streams are closed.
const TASKS_PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than the database gives a statement up we wait for it to say so.
const SPARE: Duration = Duration::from_secs(1);

/// What lives while runs are driven.
#[derive(Clone)]
pub struct Parts {
    /// The door to all runs.
    pub runs: Runs,
    /// Who drives them.
    pub supervisor: Supervisor,
    /// The logs.
    pub log: EventLog,
    /// Cancelled when open streams are to end.
    pub shutdown: CancellationToken,
    /// How long turns in progress may take to end at shutdown.
    drain: Duration,
    /// The stand-in for the providers, where there is one.
    simulator: Option<Arc<Simulator>>,
    telemetry: Telemetry,
    /// Whose tokens are taken.
    oidc: Option<Arc<Oidc>>,
    /// Those who see how this process is, on a port of their own.
    pub(super) operators: Operators,
    door: Door,
}

impl Parts {
    /// Builds the parts and starts what has tasks of its own: the simulator where it is wanted, and the supervisor.
    ///
    /// # Errors
    /// When the settings do not allow a start, or a part cannot be made.
    pub async fn start(ctx: &AppContext) -> Result<Self> {
        let settings = settings_of(ctx)?;
        settings
            .may_start(
                ctx.environment == LocoEnvironment::Production,
                !works_only(),
            )
            .map_err(Error::wrap)?;
        migrated(ctx).await?;
        let simulator = simulator(&settings).await?;
        let catalogue = ctx.shared_store.get::<Arc<Catalogue>>();
        let catalogue = catalogue.ok_or_else(|| Error::string("the facts were not read"))?;
        let telemetry = Telemetry::new(&settings, &catalogue)?;
        let store = store(ctx)?.metered(telemetry.meter.clone());
        let log = EventLog::new(store.clone());
        let providers = provider_config(&settings, simulator.as_deref(), telemetry.meter.clone());
        let registry = Registry::new(providers).map_err(Error::wrap)?;
        let in_memory = is_memory(&ctx.config.database.uri);
        let config = Arc::new(orchestrator_config(
            &settings, in_memory, catalogue, &telemetry,
        ));
        let supervisor = Supervisor::new(
            store.clone(),
            heart(ctx, &store).await?,
            log.clone(),
            registry.clone(),
            Arc::clone(&config),
            DrivingLock::of(&ctx.config.database.uri),
        );
        let doorbell: Arc<dyn Doorbell> = Arc::new(RunDoorbell::new(ctx, supervisor.clone()));
        supervisor.start(&doorbell);
        let sources = Sources {
            store: store.clone(),
            log: log.clone(),
            registry: registry.clone(),
            supervisor: supervisor.clone(),
            max_live_runs: settings.max_live_runs,
        };
        let oidc = login::oidc(ctx, &settings)?;
        let sessions = login::sessions(ctx, &settings, &store, oidc.as_ref());
        let shutdown = CancellationToken::new();
        let places = limits::places(&settings, &store, supervisor.node(), &shutdown);
        let runs = Runs::new(
            store,
            log.clone(),
            registry,
            config,
            supervisor.clone(),
            doorbell,
        );
        let door = Door {
            runs: runs.clone(),
            stream: stream_settings(&settings),
            shutdown: shutdown.clone(),
            bodies: limits::bodies(&settings),
            protected_resource: login::protected_resource(ctx)?,
            tickets: login::tickets(&settings),
            sessions,
            places: places.0,
            shared_places: places.1,
            metrics: telemetry.exposition(sources),
        };
        Ok(Self {
            runs,
            supervisor,
            log,
            shutdown,
            // What is in memory is gone with the process: nobody goes on with it, so nobody waits for it either.
            drain: if in_memory {
                Duration::ZERO
            } else {
                settings.drain
            },
            simulator,
            telemetry,
            oidc,
            operators: Operators::default(),
            door,
        })
    }

    /// Puts the parts where handlers and workers look for them.
    pub fn install(self, ctx: &AppContext) {
        ctx.shared_store.insert(self.door.clone());
        ctx.shared_store.insert(self.supervisor.clone());
        ctx.shared_store.insert(self);
    }

    /// Takes note of the routes that are served.
    pub(super) fn expect(&self, routes: &AppRoutes) {
        self.telemetry.expect(routes);
    }

    /// Leaves the runs to other processes. HTTP goes on meanwhile; a stream ends by itself once its run is left.
    pub async fn drain(&self) {
        self.supervisor.drain(self.drain, TASKS_PATIENCE).await;
    }

    /// Leaves the runs to other processes at once, and ends everything.
    pub async fn leave(self) {
        self.supervisor.drain(Duration::ZERO, TASKS_PATIENCE).await;
        self.shut_down().await;
    }

    /// Waits for nothing more: the process ends at once.
    pub(super) fn abandon(&self) {
        self.telemetry.forget();
    }

    /// Ends everything: open streams first, then the runs' tasks, then the simulator.
    pub async fn shut_down(self) {
        self.shutdown.cancel();
        self.supervisor.shut_down(TASKS_PATIENCE).await;
        if let Some(oidc) = &self.oidc {
            oidc.end().await;
        }
        self.telemetry.end().await;
        self.operators.end().await;
        drop(self.simulator);
    }
}

/// The store on the application's database.
fn store(ctx: &AppContext) -> Result<Store> {
    let patience = settings_of(ctx)?.database.statement_timeout + SPARE;
    Ok(Store::new(ctx.db.clone(), patience))
}

/// The store by which this process says that it is alive. Where others would take its runs over it has a connection of its own, so
/// that it never waits behind the runs themselves.
async fn heart(ctx: &AppContext, store: &Store) -> Result<Store> {
    if !store.is_shared() {
        return Ok(store.clone());
    }
    let settings = settings_of(ctx)?;
    let options = PoolOptions {
        min_connections: 1,
        max_connections: 1,
        ..pool(&ctx.config, &settings)
    };
    let own = connect(&options).await.map_err(explained)?;
    Ok(Store::new(own, settings.database.statement_timeout + SPARE))
}

/// The store, for a task that drives nothing.
///
/// # Errors
/// When the database is in memory, where there is nothing to work on, or its schema is not the one of this version.
pub async fn stored(ctx: &AppContext) -> Result<Store> {
    if is_memory(&ctx.config.database.uri) {
        return Err(Error::string(
            "the database is in memory, so this process would find an empty one: set DATABASE_URL",
        ));
    }
    migrated(ctx).await?;
    store(ctx)
}

/// How long it is kept who did what with which run.
///
/// # Errors
/// When the settings were not read.
pub fn audit_retention(ctx: &AppContext) -> Result<Duration> {
    Ok(settings_of(ctx)?.audit_retention)
}

/// What bounds the connections of whoever comes.
///
/// # Errors
/// When the settings were not read.
pub fn serve_options(ctx: &AppContext) -> Result<ServeOptions> {
    let settings = settings_of(ctx)?;
    let parts = ctx.shared_store.get::<Parts>();
    let meter = parts.map(|parts| parts.telemetry.meter);
    Ok(ServeOptions {
        header_timeout: settings.http.header_timeout,
        keep_alive: settings.http.keep_alive,
        write_timeout: settings.http.write_timeout,
        grace: settings.http.shutdown_grace,
        limits: ConnectionLimits {
            all: settings.connections,
            per_client: settings.connections_per_client,
            trusted_proxies: settings.http.trusted_proxies.clone().into(),
        },
        stream: stream_settings(&settings),
        origins: Arc::new(limits::origins(&settings)),
        meter: meter.unwrap_or_default(),
    })
}

fn stream_settings(settings: &Settings) -> StreamSettings {
    StreamSettings {
        heartbeat: settings.stream.heartbeat,
        retry: settings.stream.retry,
    }
}

/// The settings, as `after_context` has left them.
pub(super) fn settings_of(ctx: &AppContext) -> Result<Arc<Settings>> {
    ctx.shared_store
        .get::<Arc<Settings>>()
        .ok_or_else(|| Error::string("the settings were not read"))
}

/// The middleware layers by the settings; Loco's own where there are none.
pub(super) fn middlewares(ctx: &AppContext) -> Vec<Box<dyn MiddlewareLayer>> {
    let layers = default_middleware_stack(ctx);
    let Ok(settings) = settings_of(ctx) else {
        return layers;
    };
    // Nothing is counted and no key is looked for where nothing is served: `cargo loco middleware`.
    let parts = ctx.shared_store.get::<Parts>();
    let oidc = parts.as_ref().and_then(|parts| parts.oidc.clone());
    let tickets = parts.as_ref().and_then(|parts| parts.door.tickets.clone());
    let sessions = parts.as_ref().and_then(|parts| parts.door.sessions.clone());
    let tickets = tickets.or_else(|| login::tickets(&settings));
    let told = parts.map(|parts| (parts.telemetry.meter, parts.telemetry.tracing));
    let (meter, tracing) = told.unwrap_or_default();
    let guarded = !settings.dev_mode;
    let authenticator = |tickets| {
        let users = login::users(&settings.auth);
        let limits = LoginLimits {
            failures_per_minute: settings.failed_logins_per_minute,
            hash_threads: settings.auth.hash_threads,
        };
        Arc::new(Authenticator::new(users, oidc, tickets, limits))
    };
    let guards = Guards {
        authenticator: tickets.map(authenticator),
        sessions,
        stream: stream_settings(&settings),
        resource_metadata: login::metadata_address(&ctx.config.server).into(),
        creations_per_minute: guarded.then_some(settings.run_creations_per_minute),
        trusted_proxies: settings.http.trusted_proxies.clone().into(),
        forwarded: limits::forwarded(&settings),
        hosts: Arc::new(limits::hosts(&settings, &ctx.config.server)),
        origins: Arc::new(limits::origins(&settings)),
        public_metrics: settings.public_metrics,
        meter,
        tracing,
    };
    stack(layers, guards)
}

/// Makes sure that the schema is there. Tasks come here without Loco's own migration; and a database that begins empty leaves
/// nothing to decide.
async fn migrated(ctx: &AppContext) -> Result<()> {
    let database = &ctx.config.database;
    if database.auto_migrate || is_memory(&database.uri) {
        return Ok(Migrator::up(&ctx.db, None).await?);
    }
    let pending = Migrator::get_pending_migrations_read_only(&ctx.db).await?;
    if pending.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = pending.iter().map(|migration| migration.name()).collect();
    Err(Error::string(&format!(
        "the database lacks migrations ({}): run `parley-cli db migrate` first (from the sources: `cargo loco db migrate`)",
        names.join(", ")
    )))
}

async fn simulator(settings: &Settings) -> Result<Option<Arc<Simulator>>> {
    if !settings.providers.iter().any(|provider| provider.simulate) {
        return Ok(None);
    }
    let simulator = Simulator::start(
        ([127, 0, 0, 1], 0).into(),
        Script::dialogue(settings.simulator_pace),
    )
    .await?;
    tracing::info!(address = %simulator.address(), "the built-in simulator answers in place of the providers");
    Ok(Some(Arc::new(simulator)))
}

/// The providers of the settings, as their room takes them; `simulator` answers for those that it stands in for.
#[must_use]
pub fn provider_config(
    settings: &Settings,
    simulator: Option<&Simulator>,
    meter: Meter,
) -> providers::Config {
    let provider = |from: &settings::Provider| {
        let kind = Kind::named(from.kind)?;
        let simulator = simulator.filter(|_| from.simulate);
        let simulated =
            simulator.map(|simulator| format!("http://{}{}", simulator.address(), kind.path));
        Some(ProviderConfig {
            name: from.name.clone(),
            kind,
            api: match from.api {
                settings::Api::Auto => providers::Api::Auto,
                settings::Api::ChatCompletions => providers::Api::ChatCompletions,
                settings::Api::Responses => providers::Api::Responses,
            },
            query: from.query.clone(),
            headers: from.headers.clone(),
            key_header: from.key_header.clone(),
            dialect: Dialect {
                max_tokens_field: from.max_tokens_field.map(|field| match field {
                    settings::MaxTokensField::MaxTokens => "max_tokens",
                    settings::MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
                }),
                system_role: match from.system_role {
                    settings::SystemRole::System => "system",
                    settings::SystemRole::Developer => "developer",
                },
                include_usage: from.include_usage,
            },
            think_tags: from.think_tags,
            max_concurrent: from.max_concurrent,
            requests_per_minute: from.requests_per_minute,
            simulated: simulated.is_some(),
            // A key never goes to the simulator.
            api_key: from.api_key.clone().filter(|_| simulated.is_none()),
            base_url: simulated.or_else(|| from.base_url.clone()),
            api_key_env: from.api_key_env.clone(),
            models: from.models.clone(),
        })
    };
    let settings::Timeouts {
        connect,
        first_delta,
        idle,
        usage,
    } = settings.timeouts;
    providers::Config {
        providers: settings.providers.iter().filter_map(provider).collect(),
        timeouts: providers::Timeouts {
            connect,
            first_delta,
            idle,
            usage,
        },
        max_event_bytes: settings.provider_event_bytes,
        breaker: providers::BreakerConfig {
            failures: settings.breaker.failures,
            window: settings.breaker.window,
            open: settings.breaker.open,
        },
        meter,
    }
}

fn orchestrator_config(
    settings: &Settings,
    in_memory: bool,
    catalogue: Arc<Catalogue>,
    telemetry: &Telemetry,
) -> orchestrator::Config {
    let settings::Retry {
        max_attempts,
        base,
        cap,
        retry_after_cap,
    } = settings.retry;
    orchestrator::Config {
        max_turns: settings.run_max_turns,
        max_live_runs: settings.max_live_runs,
        max_text_bytes: settings.turn_text_bytes,
        quotas: limits::quotas(settings),
        retry: RetryPolicy {
            max_attempts,
            base,
            cap,
            retry_after_cap,
        },
        node_lifetime: settings.node_lifetime,
        max_takeovers: settings.max_takeovers,
        max_ended_runs: in_memory.then_some(settings.ended_runs),
        audit_retention: settings.audit_retention,
        stop_patience: settings.stop_patience,
        catalogue,
        meter: telemetry.meter.clone(),
        tracing: telemetry.tracing.clone(),
    }
}
