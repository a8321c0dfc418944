//! `/_ping`, `/_health`, `/_readiness`: for load balancers and supervisors. Open to everybody, so they say no more than what fails.

use axum::Json;
use loco_rs::{controller::Routes, prelude::get};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Door;
use crate::views::problem::Problem;

/// All is well.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    ok: bool,
}

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/_health",
    tag = "health",
    responses(
        (status = 200, description = "It answers", body = Health),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn health() -> Json<Health> {
    Json(Health { ok: true })
}

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/_ping",
    tag = "health",
    responses(
        (status = 200, description = "It answers", body = Health),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn ping() -> Json<Health> {
    Json(Health { ok: true })
}

/// Whether the process can do its work
///
/// And will go on doing it: it is not about to end.
#[utoipa::path(
    get,
    path = "/_readiness",
    tag = "health",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn readiness(door: Door) -> Result<Json<Health>, Problem> {
    let failing = door.runs.failing().await;
    if failing.is_empty() {
        Ok(Json(Health { ok: true }))
    } else {
        Err(Problem::not_ready(&failing))
    }
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add("/_ping", get(ping))
        .add("/_health", get(health))
        .add("/_readiness", get(readiness))
}
