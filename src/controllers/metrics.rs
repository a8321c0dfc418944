//! `/metrics`: for Prometheus.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use super::{extract::Door, health};
use crate::views::problem::Problem;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process
///
/// In Prometheus' text format. Open to everybody where `settings.metrics.public` says so.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn show_metrics(door: Door) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], (door.metrics)()).into_response()
}

/// The routes of a port that only the operators reach. Nothing stands before them, no login either.
pub fn for_operators() -> Router<AppContext> {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/_ping", get(health::ping))
        .route("/_readiness", get(health::readiness))
        .method_not_allowed_fallback(|| async {
            Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response()
        })
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add("/metrics", get(show_metrics))
}
