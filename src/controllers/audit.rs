//! `/api/run/{run_id}/audit`: who did what with a run, for those who answer for it.

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
    response::Response,
};
use loco_rs::{controller::Routes, prelude::get};
use utoipa::IntoParams;

use super::{
    extract::{Admin, RunPath, invalid_query},
    history::{self, limit, pairs},
};
use crate::{
    conversation::{AuditCursor, RunId, Violation},
    views::{audit::AuditView, problem::Problem},
};

/// How many acts are listed where the request does not say.
const LIMIT: u64 = 100;

/// The query as the document of the API has it; it is read by hand, so that every mistake is told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of the query alone")]
pub(super) struct AuditParams {
    /// How many acts; 100 where it is absent.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u64>,
    /// Where the page begins: `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// The query, read but for its cursor, which belongs to a run.
pub(super) struct AuditQuery {
    limit: u64,
    cursor: Option<String>,
    /// What was asked, for the link to the next page.
    url: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for AuditQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (mut asked, mut given, mut mistakes) = (None, None, Vec::new());
        for (name, value) in pairs(parts, state).await? {
            let read = match name.as_str() {
                "limit" if asked.is_none() => limit(&value).map(|limit| asked = Some(limit)),
                "cursor" if given.is_none() => {
                    given = Some(value);
                    Ok(())
                }
                "limit" | "cursor" => Err("is there twice".to_owned()),
                _ => Err("is no parameter of this list".to_owned()),
            };
            if let Err(reason) = read {
                mistakes.push(Violation::new(format!("/{name}"), reason));
            }
        }
        if !mistakes.is_empty() {
            return Err(invalid_query(mistakes));
        }
        Ok(Self {
            limit: asked.unwrap_or(LIMIT),
            cursor: given,
            url: parts.uri.clone(),
        })
    }
}

/// See who did what with a run
///
/// Who started it, changed its bots, stopped, exported and deleted it, when, and from where; oldest first. Needs the scope `runs:admin`.
/// What was done with a run that was deleted is still here, until the time is over for which it is kept.
#[utoipa::path(
    get,
    path = "/api/run/{run_id}/audit",
    tag = "runs",
    params(("run_id" = RunId, Path, description = "The run"), AuditParams),
    responses(
        (status = 200, description = "A page of what was done", body = AuditView, headers(
            ("Link" = String, description = "The next page, as `rel=\"next\"`; absent on the last one"),
        )),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn list_acts(
    Admin { door }: Admin,
    RunPath(id): RunPath,
    AuditQuery { limit, cursor, url }: AuditQuery,
) -> Result<Response, Problem> {
    let after = cursor.map(|text| AuditCursor::read(&text, id)).transpose();
    let after =
        after.map_err(|error| invalid_query(vec![Violation::new("/cursor", error.to_string())]))?;
    let page = door.runs.audit(id, after, limit).await?;
    let next = page.more_after.map(|last| AuditCursor(last).to_text(id));
    let view = AuditView::new(page, next.clone());
    Ok(history::page(view, &url, next.as_deref()))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/run")
        .add("/{run_id}/audit", get(list_acts))
}
