//! The composition root: the only place where the rooms meet.
//!
//! Loco calls the hooks in this order: `load_config`, `after_context` (for every command, twice for `start`), `before_run` (only
//! for a server or worker), `connect_workers` (only with a queue, where jobs are taken), `routes` and `middlewares`, `serve` (or,
//! where nothing is served, `on_shutdown`). So `after_context` only reads settings and opens the database;
//! what has tasks of its own is started by `before_run`.

mod boot;
mod command_line;
mod doctor;
mod leftover;
mod limits;
mod login;
mod models_file;
mod operators;
mod parts;
mod serve;
mod telemetry;
mod warnings;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use axum::Router as AxumRouter;
use loco_rs::{
    Error, Result,
    app::{AppContext, Hooks},
    bgworker::{BackgroundWorker, Queue},
    boot::{BootResult, ServeParams, StartMode, create_app, shutdown_signal},
    config::{Config, WorkerMode},
    controller::{AppRoutes, middleware::MiddlewareLayer},
    environment::Environment,
    task::Tasks,
};
use migration::Migrator;

pub use boot::reason;
pub use command_line::Own;
pub use doctor::examine;
pub use parts::{Parts, audit_retention, provider_config, serve_options, stored};
pub use serve::{ConnectionLimits, ServeOptions, serve};

use crate::{controllers, middleware, models, settings, tasks, workers};

/// Parley as a Loco application.
#[derive(Debug)]
pub struct App;

#[async_trait]
impl Hooks for App {
    fn app_name() -> &'static str {
        env!("CARGO_CRATE_NAME")
    }

    fn app_version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    async fn boot(
        mode: StartMode,
        environment: &Environment,
        config: Config,
    ) -> Result<BootResult> {
        create_app::<Self, Migrator>(mode, environment, config).await
    }

    async fn load_config(environment: &Environment) -> Result<Config> {
        boot::load_config(environment)
    }

    /// Logs go to standard error: standard output belongs to what tasks print.
    fn init_logger(ctx: &AppContext) -> Result<bool> {
        boot::init_logger(&ctx.config.logger)
    }

    async fn after_context(ctx: AppContext) -> Result<AppContext> {
        boot::prepare(ctx).await
    }

    async fn before_routes(_ctx: &AppContext) -> Result<AxumRouter<AppContext>> {
        middleware::not_found(AxumRouter::new())
    }

    async fn before_run(ctx: &AppContext) -> Result<()> {
        boot::check_blocks(&ctx.config)?;
        let settings = parts::settings_of(ctx)?;
        let operators = match settings.metrics_binding {
            Some(binding) => Some(operators::listen(binding).await?),
            None => None,
        };
        let parts = Parts::start(ctx).await?;
        parts.expect(&Self::routes(ctx));
        warnings::warn(ctx).await?;
        // With a queue, only processes that take jobs drive runs: `connect_workers`.
        if ctx.config.workers.mode != WorkerMode::BackgroundQueue {
            parts.supervisor.drive();
        }
        parts.clone().install(ctx);
        if let Some(listener) = operators {
            // Nobody is refused there: who looks after a full process must reach it.
            let options = ServeOptions {
                limits: ConnectionLimits::default(),
                ..parts::serve_options(ctx)?
            };
            parts.operators.serve(listener, ctx, options)?;
        }
        Ok(())
    }

    fn routes(_ctx: &AppContext) -> AppRoutes {
        AppRoutes::empty() // controller routes below
            .add_route(controllers::health::routes())
            .add_route(controllers::runs::routes())
            .add_route(controllers::bots::routes())
            .add_route(controllers::audit::routes())
            .add_route(controllers::streams::routes())
            .add_route(controllers::exports::routes())
            .add_route(controllers::providers::routes())
            .add_route(controllers::openapi::routes())
            .add_route(controllers::docs::routes())
            .add_route(controllers::metrics::routes())
            .add_route(controllers::protected_resource::routes())
            .add_route(controllers::login::routes())
    }

    fn middlewares(ctx: &AppContext) -> Vec<Box<dyn MiddlewareLayer>> {
        parts::middlewares(ctx)
    }

    async fn connect_workers(ctx: &AppContext, queue: &Queue) -> Result<()> {
        queue.register(workers::run::RunWorker::build(ctx)).await?;
        if let Some(parts) = ctx.shared_store.get::<Parts>() {
            parts.supervisor.drive();
        }
        Ok(())
    }

    fn register_tasks(tasks: &mut Tasks) {
        tasks.register(tasks::converse::Converse);
        tasks.register(tasks::hash_password::HashPassword);
        tasks.register(tasks::healthcheck::Healthcheck);
        tasks.register(tasks::prune::Prune);
        tasks.register(tasks::simulate::Simulate);
        // tasks-inject (do not remove)
    }

    async fn serve(router: AxumRouter, ctx: &AppContext, params: &ServeParams) -> Result<()> {
        let parts = ctx.shared_store.get::<Parts>();
        let listener = match listen(params).await {
            Ok(listener) => listener,
            Err(error) => {
                // What this process has taken already is for others to go on with.
                if let Some(parts) = parts {
                    parts.leave().await;
                }
                return Err(error);
            }
        };
        if parts
            .as_ref()
            .is_some_and(|parts| !parts.supervisor.is_driving())
        {
            tracing::info!(
                "this process only serves; runs are driven by those started with --worker"
            );
        }
        let options = parts::serve_options(ctx)?;
        // HTTP goes on until the runs are left: a load balancer sees that this process is not ready, streams show the last turns.
        let told_to_end = async {
            shutdown_signal().await;
            tracing::info!("shutting down; a second signal ends at once");
            take_no_jobs(ctx);
            if let Some(parts) = &parts {
                parts.drain().await;
            }
        };
        let ending = async {
            serve(listener, router, options, told_to_end).await;
            if let Some(parts) = parts.clone() {
                parts.shut_down().await;
            }
            close_database(ctx).await;
        };
        tokio::select! {
            () = ending => Ok(()),
            () = second_signal() => {
                if let Some(parts) = &parts {
                    parts.abandon();
                }
                Err(Error::string("ended at once by a second signal"))
            }
        }
    }

    /// The end of a process that serves nothing: `--worker`.
    async fn on_shutdown(ctx: &AppContext) {
        let Some(parts) = ctx.shared_store.get::<Parts>() else {
            return;
        };
        tracing::info!("shutting down; a second signal ends at once");
        take_no_jobs(ctx);
        let ending = async {
            parts.drain().await;
            parts.clone().shut_down().await;
            close_database(ctx).await;
        };
        tokio::select! {
            () = ending => {}
            () = shutdown_signal() => {
                parts.abandon();
                tracing::warn!("ended at once by a second signal");
            }
        }
    }

    async fn truncate(ctx: &AppContext) -> Result<()> {
        boot::truncate(ctx).await
    }

    async fn seed(_ctx: &AppContext, _base: &Path) -> Result<()> {
        Ok(())
    }
}

async fn listen(params: &ServeParams) -> Result<tokio::net::TcpListener> {
    let ServeParams { port, binding } = params;
    let port = settings::port("--port", i64::from(*port)).map_err(Error::wrap)?;
    let listener = tokio::net::TcpListener::bind((binding.as_str(), port)).await;
    listener.map_err(|error| Error::string(&format!("cannot listen on {binding}:{port}: {error}")))
}

/// How long the database may take to let go.
const CLOSING: Duration = Duration::from_secs(5);

/// Lets go of the database.
async fn close_database(ctx: &AppContext) {
    match tokio::time::timeout(CLOSING, models::close(ctx.db.clone())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, cause = error.cause(), "the database was not closed");
        }
        Err(_) => tracing::warn!("the database was not closed in time"),
    }
}

/// A process that is to end would take the job and not the run.
fn take_no_jobs(ctx: &AppContext) {
    if let Some(queue) = &ctx.queue_provider
        && let Err(error) = queue.shutdown()
    {
        tracing::warn!(%error, "the queue goes on giving out jobs");
    }
}

/// Signals that follow each other so closely are one.
const ONE_BREATH: Duration = Duration::from_millis(50);

/// Waits for a second signal to end.
async fn second_signal() {
    shutdown_signal().await;
    // Some supervisors tell the process and its group, in one breath: that is one signal.
    tokio::time::sleep(ONE_BREATH).await;
    shutdown_signal().await;
}
