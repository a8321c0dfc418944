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

use super::extract::{Asking, Door, KeyedJsonBody, OptionalJsonBody, RunPath};
use crate::{
    conversation::{StartRun, StopMode},
    orchestrator::{Once, Started},
    views::{
        problem::Problem,
        run::{RunView, StartedView, StoppedView},
    },
};

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn start_run(
    door: Door,
    Asking(subject): Asking,
    KeyedJsonBody { body, key }: KeyedJsonBody<StartRun>,
) -> Result<Response, Problem> {
    let once = key.map(|key| Once {
        key,
        answer: StartedView::body,
    });
    let answer = match door.runs.start(body, &subject.0, once).await? {
        Started::Now(run) => StartedView::body(&run),
        Started::Before(answer) => answer,
    };
    let mut response = (StatusCode::CREATED, answer.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(location) = StartedView::location(&answer) {
        headers.insert(header::LOCATION, location);
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
