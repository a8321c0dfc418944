//! `/api/run`: start, list, look, stop, delete.

use axum::{
    Extension, Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{
    controller::Routes,
    prelude::{get, post},
};
use serde::Deserialize;

use super::{
    extract::{Asking, Door, KeyedJsonBody, OptionalJsonBody, RunPath},
    history::HistoryQuery,
};
use crate::{
    conversation::{HistoryCursor, StartRun, StopMode},
    identity::{Claim, Verdict},
    orchestrator::{Once, Started},
    views::{
        problem::Problem,
        run::{HistoryView, RunView, StartedView, StoppedView, next_page},
    },
};

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn start_run(
    door: Door,
    Asking(subject): Asking,
    claim: Option<Extension<Claim>>,
    KeyedJsonBody { body, key }: KeyedJsonBody<StartRun>,
) -> Result<Response, Problem> {
    if let Some(Extension(claim)) = claim {
        if let Some(key) = &key
            && let Some(answer) = door.runs.answered(&subject.0, key).await?
        {
            claim.spare();
            return Ok(started(answer));
        }
        if let Some(Verdict::Refused { .. }) = claim.count() {
            // The layer that has made the claim says how long to wait.
            return Err(Problem::of_status(StatusCode::TOO_MANY_REQUESTS));
        }
    }
    let once = key.map(|key| Once {
        key,
        answer: StartedView::body,
    });
    Ok(started(
        match door.runs.start(body, &subject.0, once).await? {
            Started::Now(run) => StartedView::body(&run),
            Started::Before(answer) => answer,
        },
    ))
}

fn started(answer: String) -> Response {
    let location = StartedView::location(&answer);
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(location) = location {
        headers.insert(header::LOCATION, location);
    }
    response
}

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn get_run(door: Door, RunPath(id): RunPath) -> Result<Json<RunView>, Problem> {
    Ok(Json(door.runs.get(id).await?.into()))
}

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn list_runs(
    door: Door,
    HistoryQuery {
        filter,
        after,
        limit,
        url,
    }: HistoryQuery,
) -> Result<Response, Problem> {
    let page = door.runs.history(&filter, after, limit).await?;
    let next = page
        .more_after
        .map(|run| HistoryCursor(run).to_text(&filter));
    let link = next.as_ref().and_then(|cursor| next_page(&url, cursor));
    let mut response = Json(HistoryView::new(page, next)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

#[axum::debug_handler(state = loco_rs::app::AppContext)]
async fn delete_run(door: Door, RunPath(id): RunPath) -> Result<StatusCode, Problem> {
    door.runs.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
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
        .add("/", post(start_run).get(list_runs))
        .add("/{run_id}", get(get_run).delete(delete_run))
        .add("/{run_id}/stop", post(stop_run))
}
