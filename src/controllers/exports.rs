//! `/api/export/{run_id}.{format}`: a run as a file.

use axum::{
    Json,
    extract::{
        Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{controller::Routes, prelude::get};
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Door, run_id, undecodable};
use crate::{
    conversation::RunId,
    views::{
        export::{ExportView, disposition},
        problem::Problem,
    },
};

/// The kinds of files.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of a file's last name")]
pub(super) enum ExportFormat {
    Json,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Display {
    inline: Option<String>,
}

/// Export a run
///
/// With all that was said in it up to now, as a file.
#[utoipa::path(
    get,
    path = "/api/export/{run_id}.{format}",
    tag = "runs",
    params(
        ("run_id" = RunId, Path, description = "The run"),
        ("format" = ExportFormat, Path, description = "The kind of file"),
        ("inline" = Option<String>, Query, description = "`1` or `true`: to look at in a browser, not to keep"),
    ),
    responses(
        (status = 200, description = "The run as a file", body = ExportView, headers(
            ("Content-Disposition" = String, description = "The file's name"),
        )),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn export_run(
    door: Door,
    file: Result<Path<String>, PathRejection>,
    display: Result<Query<Display>, QueryRejection>,
) -> Result<Response, Problem> {
    // The router knows no suffix after a parameter: the file's name is split here, at its last dot.
    let Path(file) = file.map_err(|_| undecodable())?;
    let (id, extension) = file.rsplit_once('.').unwrap_or((&file, ""));
    let id = run_id(id)?;
    if extension != "json" {
        let detail = "a run is exported as .json";
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-format",
            "Unknown format",
            detail,
        ));
    }
    let inline = display
        .ok()
        .and_then(|Query(display)| display.inline)
        .is_some_and(|value| value == "1" || value == "true");
    let mut response = Json(ExportView::from(door.runs.transcript(id).await?)).into_response();
    if let Ok(value) = HeaderValue::from_str(&disposition(id, extension, inline)) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/export")
        .add("/{file}", get(export_run))
}
