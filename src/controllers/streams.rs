//! `/api/stream/{run_id}`: the talk, live.

use axum::{
    Json,
    extract::{Query, RawQuery},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use bytes::Bytes;
use loco_rs::{
    controller::Routes,
    prelude::{get, post},
};
use serde::Deserialize;

use super::extract::{Door, Reader, RunPath};
use crate::{
    conversation::{EventId, RunError, RunId},
    identity::{ClientKey, NoPlace, SharedPlace},
    orchestrator::{Streaming, Subscription},
    views::{
        event::Frame,
        problem::Problem,
        run::TicketView,
        stream::{self, Blocks},
    },
};

impl Blocks for Subscription {
    async fn next(&mut self) -> Result<Option<Bytes>, RunError> {
        Self::next(self).await
    }

    fn is_reading(&self) -> bool {
        Self::is_reading(self)
    }
}

/// Watch a run
///
/// Everything after the cursor: first what has happened, then what happens. The server ends the stream after the run's final event; any
/// other end means: come back with the last event's id.
///
/// Each event is one JSON object as `data`, with `type` for its name. Append the `text` of each `turn.delta` that has no `kind`;
/// `turn.completed`, `turn.interrupted` and `turn.failed` set the turn's text; `turn.restarted` empties it; no other event touches it.
#[utoipa::path(
    get,
    path = "/api/stream/{run_id}",
    tag = "runs",
    params(
        ("run_id" = RunId, Path, description = "The run"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that the client has; it wins over the query", pattern = "^((0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17}))?$"),
        ("ticket" = Option<String>, Query, description = "In place of a login, for clients that cannot set a header: see `POST /api/stream/{run_id}/ticket`"),
        ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot set a header", pattern = "^((0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17}))?$"),
    ),
    responses(
        (status = 200, description = "Server-Sent Events; the schema is that of one of them", body = Frame, content_type = "text/event-stream"),
        (status = 204, description = "The run is over, and the client has all of it"),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn stream_run(
    Reader {
        door,
        caller,
        client,
        ..
    }: Reader,
    method: Method,
    RunPath(id): RunPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let cursor = cursor(&headers, query.as_deref())?;
    match door.runs.stream(&caller.whose(), id, cursor).await {
        Ok(Streaming::Over) => Ok(stream::over()),
        // The headers are all that is asked for.
        Ok(Streaming::Open(_)) if method == Method::HEAD => Ok(stream::head()),
        Ok(Streaming::Open(subscription)) => {
            // Who comes by a ticket is the run's owner's guest.
            let owner = match caller.only {
                Some(_) => door.runs.owner(&caller.whose(), id).await?,
                None => caller.owner.as_str().into(),
            };
            let place = match take_place(&door, client, &owner).await {
                Ok(Ok(place)) => place,
                Ok(Err(full)) => return no_place(&headers, &door, full),
                Err(_) if stream::is_of_a_page(&headers) => {
                    return Ok(stream::come_back(door.stream));
                }
                Err(error) => return Err(error.into()),
            };
            let (left, shutdown) = (door.runs.left(id), door.shutdown);
            let leave = async move {
                tokio::select! {
                    () = left => {}
                    () = shutdown.cancelled() => {}
                }
                drop(place);
            };
            Ok(stream::response(*subscription, door.stream, leave))
        }
        Err(RunError::Unavailable(_) | RunError::Leaving) if stream::is_of_a_page(&headers) => {
            Ok(stream::come_back(door.stream))
        }
        Err(error) => Err(error.into()),
    }
}

/// A place here, and where it is counted so, one among those of the owner at all processes.
async fn take_place(
    door: &Door,
    client: ClientKey,
    owner: &str,
) -> Result<Result<SharedPlace, NoPlace>, RunError> {
    let place = match door.places.take(Some(client), owner) {
        Ok(place) => place,
        Err(full) => return Ok(Err(full)),
    };
    match &door.shared_places {
        Some(shared) => shared.share(place, owner).await,
        None => Ok(Ok(SharedPlace::alone(place))),
    }
}

fn no_place(headers: &HeaderMap, door: &Door, full: NoPlace) -> Result<Response, Problem> {
    if stream::is_of_a_page(headers) {
        return Ok(stream::come_back(door.stream));
    }
    Err(match full {
        NoPlace::InAll(most) => Problem::busy(&format!(
            "{most} streams are open here, and there may be no more"
        )),
        NoPlace::OfClient(most) => {
            let detail = format!(
                "{most} streams are open to this client, and it may have no more: close one"
            );
            Problem::too_many_streams("streams-of-client", most, detail)
        }
        NoPlace::OfOwner(most) => {
            let detail =
                format!("{most} streams of yours are open, and you may have no more: close one");
            Problem::too_many_streams("streams-of-owner", most, detail)
        }
    })
}

/// The last event that the client has: by `Last-Event-ID`, or else by the query, for clients that cannot set the header. The
/// header wins: a browser reconnects to the same address, old query and all.
fn cursor(headers: &HeaderMap, query: Option<&str>) -> Result<EventId, Problem> {
    #[derive(Default, Deserialize)]
    struct Cursor {
        last_event_id: Option<String>,
    }
    let invalid = |detail: String| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-cursor",
            "Invalid cursor",
            detail,
        )
    };
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?").trim().to_owned());
    let header = header.filter(|text| !text.is_empty());
    let unreadable = || invalid("the query cannot be read".to_owned());
    let uri = format!("/?{}", query.unwrap_or_default());
    let uri = uri.parse().map_err(|_| unreadable())?;
    let Query(Cursor { last_event_id }) = Query::try_from_uri(&uri).map_err(|_| unreadable())?;
    let read = |text: String| {
        text.parse()
            .map_err(|error: crate::conversation::InvalidEventId| invalid(error.to_string()))
    };
    // Also what does not count must be a cursor: it was one when the client first came.
    let header = header.map(read).transpose()?;
    let query = last_event_id.filter(|text| !text.is_empty());
    let query = query.map(read).transpose()?;
    Ok(header.or(query).unwrap_or(EventId::START))
}

/// Get a ticket
///
/// For clients that can send no login along, such as `EventSource` on a page of another origin: whoever has the ticket may watch this run,
/// and nothing else, until it ends or the run is deleted. It is a password in an address: hand it to nobody else.
#[utoipa::path(
    post,
    path = "/api/stream/{run_id}/ticket",
    tag = "runs",
    params(("run_id" = RunId, Path, description = "The run")),
    responses(
        (status = 200, description = "The ticket, and the address to watch the run at", body = TicketView),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn make_ticket(
    Reader { door, caller, .. }: Reader,
    RunPath(id): RunPath,
) -> Result<Json<TicketView>, Problem> {
    let run = door.runs.get(&caller.whose(), id).await?.id;
    let ticket = door.tickets.map(|tickets| tickets.issue_now(run));
    Ok(Json(TicketView::new(run, ticket)))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/stream")
        .add("/{run_id}", get(stream_run))
        .add("/{run_id}/ticket", post(make_ticket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Option<&'static str>, query: Option<&str>) -> Option<String> {
        let headers = header
            .map(|value| ("last-event-id".parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        cursor(&headers, query).ok().map(|id| id.to_string())
    }

    #[test]
    fn the_cursor_comes_from_the_header_or_the_query() {
        assert_eq!(read(None, None).as_deref(), Some("0-0"));
        assert_eq!(
            read(Some(""), Some("last_event_id=")).as_deref(),
            Some("0-0")
        );
        assert_eq!(
            read(None, Some("a=b&last_event_id=3-4")).as_deref(),
            Some("3-4")
        );
        assert_eq!(
            read(Some("5-6"), Some("last_event_id=3-4")).as_deref(),
            Some("5-6")
        );
        for bad in ["x", "1", "01-0", "1-0,2-0", "-1-0"] {
            assert_eq!(read(Some(bad), None), None, "{bad}");
            assert_eq!(
                read(None, Some(&format!("last_event_id={bad}"))),
                None,
                "{bad}"
            );
            let both = format!("last_event_id={bad}");
            assert_eq!(read(Some("5-6"), Some(&both)), None, "{bad}");
        }
    }
}
