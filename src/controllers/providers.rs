//! `/api/providers`: what runs may name.

use axum::Json;
use loco_rs::{controller::Routes, prelude::get};

use super::extract::Door;
use crate::views::providers::ProvidersView;

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn list_providers(door: Door) -> Json<ProvidersView> {
    let (offers, at) = door.runs.offers();
    Json(ProvidersView::new(offers, at))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api")
        .add("/providers", get(list_providers))
}
