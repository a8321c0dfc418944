//! `/_ping`, `/_health`, `/_readiness`: for load balancers and supervisors. Open to everybody, so they say no more than what fails.

use axum::Json;
use loco_rs::{controller::Routes, prelude::get};
use serde::Serialize;

use super::extract::Door;
use crate::views::problem::Problem;

/// All is well.
#[derive(Serialize)]
struct Health {
    ok: bool,
}

/// The process answers.
#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn alive() -> Json<Health> {
    Json(Health { ok: true })
}

/// The process can do its work, and will go on doing it.
#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn ready(door: Door) -> Result<Json<Health>, Problem> {
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
        .add("/_ping", get(alive))
        .add("/_health", get(alive))
        .add("/_readiness", get(ready))
}
