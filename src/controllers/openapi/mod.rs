//! `/openapi.json`: the document of the API (OpenAPI 3.1), made from the code.
//!
//! Each handler carries its own part; what goes for many of them stands in `common`, and `examples.json` has answers that the tests
//! have got. Loco's `Routes` keep the router's own methods, so the parts are named once more below instead of being collected by
//! `utoipa-axum`: the tests walk the router and fail on what is missing here.
//!
//! The document and its viewer want a login like the API that they describe: only the health routes are open.

mod common;
mod examples;

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use loco_rs::{controller::Routes, prelude::get};
use utoipa::OpenApi;

use self::{common::Common, examples::Examples};
use super::{
    audit, bots, docs, exports, health, login, metrics, protected_resource, providers, runs,
    streams,
};
use crate::views::{export::Format, problem::Problem, run::RunBotView};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parley",
        description = "Lets AI bots talk to each other, and streams the talk live.\n\nEvery error is a problem (RFC 9457). A method that \
                       an address does not take is answered with 405 and `Allow`; where there is a GET, there is a HEAD."
    ),
    paths(
        runs::start_run,
        runs::list_runs,
        runs::get_run,
        runs::delete_run,
        runs::stop_run,
        audit::list_acts,
        bots::update_bot,
        streams::stream_run,
        streams::make_ticket,
        exports::export_run,
        providers::list_providers,
        get_document,
        docs::show_docs,
        docs::show_docs_file,
        health::ping,
        health::health,
        health::readiness,
        metrics::show_metrics,
        protected_resource::show_protected_resource,
        login::begin_login,
        login::complete_login,
        login::log_out,
        login::end_logins,
        // openapi-paths-inject (do not remove: generated handlers are named above it)
    ),
    components(schemas(Problem, RunBotView, Format)),
    servers((url = "/", description = "Where this document is from")),
    security(("basic" = []), ("bearer" = []), ("session" = [])),
    tags(
        (name = "runs", description = "Conversations of bots: start, watch, change, stop, export"),
        (name = "providers", description = "Who can be asked"),
        (name = "documentation", description = "This document"),
        (name = "health", description = "For load balancers and supervisors; open to everybody"),
        (name = "metrics", description = "For Prometheus"),
        (name = "login", description = "How to come in"),
        // openapi-tags-inject (do not remove: what generated handlers are about)
    ),
    modifiers(&Common, &Examples),
)]
struct Document;

/// The document, as JSON.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // What was built of text and numbers can be written.
        Document::openapi().to_pretty_json().unwrap_or_default()
    });
    &TEXT
}

/// The document of the API
///
/// OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    responses((status = 200, description = "This document", body = serde_json::Value, content_type = "application/json"))
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn get_document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add("/openapi.json", get(get_document))
}
