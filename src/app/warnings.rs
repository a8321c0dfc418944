//! What is said at boot, once.

use loco_rs::{Error, Result, app::AppContext, environment::Environment};

use super::{boot::works_only, limits, parts::settings_of};
use crate::models::{is_memory, unsynced};

/// Says at boot what an operator must not find out later.
///
/// # Errors
/// When the settings were not read, or the database fails.
pub(super) async fn warn(ctx: &AppContext) -> Result<()> {
    let settings = settings_of(ctx)?;
    if works_only() {
        tracing::info!("this process only drives runs; others answer requests");
        if settings.metrics_binding.is_none() {
            tracing::info!("nobody can read its metrics: set settings.metrics.binding");
        }
    } else if settings.dev_mode {
        tracing::warn!(
            "DEV_MODE is on: NO LOGIN, NO LIMITS. Anybody who reaches this port can start runs."
        );
    } else if settings.auth.lets_nobody_in() {
        tracing::warn!(
            "no login is set, so the API answers 401: set BASIC_AUTH_USER and BASIC_AUTH_PW_HASH (`parley-cli task hash_password`, from the \
             sources `cargo loco task hash_password`), an issuer of tokens (AUTH_MODE=oidc, OIDC_ISSUER, OIDC_AUDIENCE), or DEV_MODE=true on \
             your own machine"
        );
    }
    if let Some(idle) = settings.auth.idle() {
        tracing::warn!("{idle}");
    }
    if let Some(uneven) = settings.auth.uneven_hashes() {
        tracing::warn!("{uneven}");
    }
    if let Some(vain) = settings.vain_files() {
        tracing::warn!("{vain}");
    }
    if !works_only() && !settings.dev_mode && settings.auth.secrets.is_empty() {
        tracing::warn!(
            "PARLEY_SECRET is not set: tickets for streams and logins by a browser end with this process, and no other process takes them"
        );
    }
    let production = ctx.environment == Environment::Production;
    let any_host = limits::any_host(&settings, &ctx.config.server, production);
    if let Some(any_host) = any_host.filter(|_| !works_only()) {
        tracing::warn!("{any_host}");
    }
    if is_memory(&ctx.config.database.uri) {
        tracing::warn!(
            "the database is in memory: all runs are forgotten when this process ends; set DATABASE_URL to keep them"
        );
    }
    for (setting, value) in unsynced(&ctx.db).await.map_err(Error::wrap)? {
        tracing::warn!(
            "the database runs with {setting} = {value}: after a power cut it may have forgotten what was answered with success"
        );
    }
    Ok(())
}
