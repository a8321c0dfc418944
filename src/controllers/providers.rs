//! `/api/providers`: what runs may name.

use axum::Json;
use loco_rs::{controller::Routes, prelude::get};

use super::extract::Door;
use crate::views::providers::ProvidersView;

/// List providers
///
/// With their models, the parameters that each takes, and what it costs.
#[utoipa::path(
    get,
    path = "/api/providers",
    tag = "providers",
    responses(
        (status = 200, description = "What runs may name", body = ProvidersView),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn list_providers(door: Door) -> Json<ProvidersView> {
    let (offers, at) = door.runs.offers();
    Json(ProvidersView::new(offers, at))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api")
        .add("/providers", get(list_providers))
}
