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
use utoipa::ToSchema;

use super::{
    extract::{Door, KeyedJsonBody, OptionalJsonBody, Reader, RunPath, Traced, Writer},
    history::{self, HistoryParams, HistoryQuery},
};
use crate::{
    conversation::{HistoryCursor, RunId, StartRun, StopMode},
    identity::{Caller, Claim, Scope, Verdict},
    orchestrator::{Once, Started},
    views::{
        problem::Problem,
        rate_limit::Item,
        run::{HistoryView, RunView, StartedView, StoppedView},
    },
};

/// Start a run
///
/// Two to eight bots talk, beginning with the topic. Watch them at `stream_url`. With an `Idempotency-Key`, the same request makes one
/// run however often it comes.
#[utoipa::path(
    post,
    path = "/api/run",
    tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for 24 hours", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = StartRun),
    responses(
        (status = 201, description = "The run is accepted", body = StartedView, headers(
            ("Location" = String, description = "Where the run is"),
        )),
        (status = 400, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 422, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn start_run(
    Writer {
        door,
        caller,
        asker,
    }: Writer,
    Traced(trace): Traced,
    claim: Option<Extension<Claim>>,
    KeyedJsonBody { body, key }: KeyedJsonBody<StartRun>,
) -> Result<Response, Problem> {
    if let Some(Extension(claim)) = claim {
        if let Some(key) = &key
            && let Some(answer) = door.runs.answered(&caller.owner, key).await?
        {
            claim.spare();
            return Ok(started(&door, &caller, answer));
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
    let outcome = door.runs.start(body, &asker, once, trace).await?;
    let (answer, standings) = match outcome {
        Started::Now(run, standings) => (StartedView::body(&run), standings),
        Started::Before(answer) => (answer, Vec::new()),
    };
    let mut answer = started(&door, &caller, answer);
    for standing in &standings {
        Item::from(standing).tell(answer.headers_mut());
    }
    Ok(answer)
}

/// The answer; the same also where it is given again. Who may not read gets no ticket to read by.
fn started(door: &Door, caller: &Caller, mut answer: String) -> Response {
    let run = StartedView::read(&answer);
    let reads = caller.scopes.allow(Scope::Read);
    if let (Some(run), Some(tickets), true) = (run, &door.tickets, reads) {
        let (ticket, expires) = tickets.issue(run.run_id, run.created_at);
        StartedView::add_ticket(&mut answer, &ticket, expires);
    }
    let location = run.map(|run| format!("/api/run/{}", run.run_id));
    let location = location.and_then(|location| HeaderValue::from_str(&location).ok());
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

/// Look at a run
#[utoipa::path(
    get,
    path = "/api/run/{run_id}",
    tag = "runs",
    params(("run_id" = RunId, Path, description = "The run")),
    responses(
        (status = 200, description = "The run as it stands", body = RunView),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn get_run(
    Reader { door, caller, .. }: Reader,
    RunPath(id): RunPath,
) -> Result<Json<RunView>, Problem> {
    Ok(Json(door.runs.get(&caller.whose(), id).await?.into()))
}

/// List runs
///
/// Newest first. The list says where its next page begins: in `next_cursor`, and as a whole address in `Link`. A cursor goes with the
/// filters of its list.
#[utoipa::path(
    get,
    path = "/api/run",
    tag = "runs",
    params(HistoryParams),
    responses(
        (status = 200, description = "A page of runs", body = HistoryView, headers(
            ("Link" = String, description = "The next page, as `rel=\"next\"`; absent on the last one"),
        )),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn list_runs(
    Reader { door, caller, .. }: Reader,
    HistoryQuery {
        filter,
        after,
        limit,
        url,
    }: HistoryQuery,
) -> Result<Response, Problem> {
    let page = door
        .runs
        .history(&caller.whose(), &filter, after, limit)
        .await?;
    let next = page
        .more_after
        .map(|run| HistoryCursor(run).to_text(&filter));
    let view = HistoryView::new(page, next.clone());
    Ok(history::page(view, &url, next.as_deref()))
}

/// Delete a run
///
/// With all that was said in it. Only a run that is over can be deleted.
#[utoipa::path(
    delete,
    path = "/api/run/{run_id}",
    tag = "runs",
    params(("run_id" = RunId, Path, description = "The run")),
    responses(
        (status = 204, description = "The run is gone"),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn delete_run(
    Writer {
        door,
        caller,
        asker,
    }: Writer,
    RunPath(id): RunPath,
) -> Result<StatusCode, Problem> {
    door.runs.delete(&caller.whose(), id, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of a stop; absent means now.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopOrder {
    #[serde(default)]
    mode: StopMode,
}

/// Stop a run
///
/// When this has answered 200, no provider request of the run is open. A run that is over is answered as it is.
#[utoipa::path(
    post,
    path = "/api/run/{run_id}/stop",
    tag = "runs",
    params(("run_id" = RunId, Path, description = "The run")),
    request_body(content = Option<StopOrder>),
    responses(
        (status = 200, description = "The run has stopped, or was over", body = StoppedView),
        (status = 202, description = "The run will stop: when its turn ends, or when its owner hears of it", body = StoppedView),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 422, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn stop_run(
    Writer {
        door,
        caller,
        asker,
    }: Writer,
    RunPath(id): RunPath,
    OptionalJsonBody(order): OptionalJsonBody<StopOrder>,
) -> Result<(StatusCode, Json<StoppedView>), Problem> {
    let whose = caller.whose();
    let answer = door.runs.stop(&whose, id, order.mode, &asker).await?;
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
