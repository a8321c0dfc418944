//! `/metrics`: for Prometheus.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use loco_rs::{controller::Routes, prelude::get};

use super::extract::Door;

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

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add("/metrics", get(show_metrics))
}
