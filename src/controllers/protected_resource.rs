//! `/.well-known/oauth-protected-resource`: where clients get a token (RFC 9728). Open to everybody: who needs it has none yet.

use axum::{Json, http::StatusCode};
use loco_rs::{controller::Routes, prelude::get};

use super::extract::Door;
use crate::views::{problem::Problem, protected_resource::ProtectedResource};

/// Where to get a token
///
/// The metadata of this API as a protected resource (RFC 9728). There is none where no tokens are taken.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-protected-resource",
    tag = "login",
    responses(
        (status = 200, description = "Whose tokens are taken, and how", body = ProtectedResource),
        (status = 404, response = Problem),
    ),
    security(()),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn show_protected_resource(
    door: Door,
) -> Result<Json<ProtectedResource>, Problem> {
    let resource = door.protected_resource.as_deref().cloned();
    let none = || Problem::of_status(StatusCode::NOT_FOUND);
    resource.map(Json).ok_or_else(none)
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add(
        "/.well-known/oauth-protected-resource",
        get(show_protected_resource),
    )
}
