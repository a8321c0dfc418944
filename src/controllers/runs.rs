//! `/api/run`: start, look, stop.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{
    controller::Routes,
    prelude::{get, post},
};
use serde::Deserialize;

use super::extract::{Asking, Door, JsonBody, OptionalJsonBody, RunPath};
use crate::{
    conversation::{StartRun, StopMode},
    views::{
        problem::Problem,
        run::{RunView, StartedView, StoppedView},
    },
};

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn start_run(
    door: Door,
    Asking(subject): Asking,
    JsonBody(order): JsonBody<StartRun>,
) -> Result<Response, Problem> {
    let run = door.runs.start(order, &subject.0).await?;
    let location = format!("/api/run/{}", run.id);
    let mut response = (StatusCode::CREATED, Json(StartedView::from(run))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn get_run(door: Door, RunPath(id): RunPath) -> Result<Json<RunView>, Problem> {
    Ok(Json(door.runs.get(id).await?.into()))
}

/// The body of a stop; absent means now.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopOrder {
    #[serde(default)]
    mode: StopMode,
}

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn stop_run(
    door: Door,
    RunPath(id): RunPath,
    OptionalJsonBody(order): OptionalJsonBody<StopOrder>,
) -> Result<(StatusCode, Json<StoppedView>), Problem> {
    let answer = door.runs.stop(id, order.mode).await?;
    let status = if answer.pending {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(answer.into())))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/run")
        .add("/", post(start_run))
        .add("/{run_id}", get(get_run))
        .add("/{run_id}/stop", post(stop_run))
}
