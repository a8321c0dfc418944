//! `/api/run/{run_id}/bot/{bot_index}`: change a bot while the run goes on.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{controller::Routes, prelude::patch};
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{BotPath, MergePatch, Writer};
use crate::{
    conversation::{Params, RunId, Target},
    views::{problem::Problem, run::ChangedBotView},
};

/// Change a bot
///
/// A JSON merge patch (RFC 7396): what is named is set, null takes it back. It counts from the bot's first turn that has not begun.
#[utoipa::path(
    patch,
    path = "/api/run/{run_id}/bot/{bot_index}",
    tag = "runs",
    params(
        ("run_id" = RunId, Path, description = "The run"),
        ("bot_index" = u32, Path, description = "The bot's place in the run's list", maximum = 999_999_999),
        ("If-Match" = Option<String>, Header, description = "The version that is to be changed, in quotes, or `*`"),
    ),
    request_body(content(
        (BotPatch = "application/merge-patch+json"),
        (BotPatch = "application/json"),
    )),
    responses(
        (status = 200, description = "The bot as it will be", body = ChangedBotView, headers(
            ("ETag" = String, description = "The bot's version"),
        )),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 412, response = Problem),
        (status = 413, response = Problem),
        (status = 415, response = Problem),
        (status = 422, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn update_bot(
    Writer {
        door,
        caller,
        asker,
    }: Writer,
    BotPath(id, index): BotPath,
    headers: HeaderMap,
    MergePatch(patch): MergePatch,
) -> Result<Response, Problem> {
    let accepted = if_match(&headers)?;
    let (whose, accepted) = (caller.whose(), accepted.as_deref());
    let change = door
        .runs
        .update_bot(&whose, id, index, &patch, accepted, &asker);
    let change = change.await?;
    let tag = format!("\"{}\"", change.bot.version);
    let mut response = Json(ChangedBotView::from(change)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// What may be said in a patch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "a merge patch is read as a map: this is its schema alone"
)]
pub(super) struct BotPatch {
    /// Null: the name that a bot without one has.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    #[schema(nullable = false, min_length = 1, max_length = 64)]
    provider: Option<String>,
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    model: Option<String>,
    #[schema(max_length = 32_768)]
    system_prompt: Option<String>,
    /// Merged: each parameter by itself.
    params: Option<Params>,
    /// Replaced as a whole.
    #[schema(max_items = 4)]
    fallback: Option<Vec<Target>>,
}

/// The versions that `If-Match` (RFC 9110, 13.1.1) accepts; `None`: any. A tag that is none of ours matches nothing, and neither
/// does a weak one.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<u32>>, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let malformed = || {
        let detail = "If-Match takes * or tags in quotes, such as \"3\"";
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-header",
            "Invalid header",
            detail,
        )
    };
    let mut versions = Vec::new();
    for line in headers.get_all(header::IF_MATCH) {
        let line = line.to_str().map_err(|_| malformed())?.trim();
        if line == "*" {
            return Ok(None);
        }
        for tag in line.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = strong
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .ok_or_else(malformed)?;
            versions.extend(inner.parse::<u32>().ok().filter(|_| !tag.starts_with("W/")));
        }
    }
    Ok(Some(versions))
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/run")
        .add("/{run_id}/bot/{bot_index}", patch(update_bot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<Option<Vec<u32>>> {
        let headers = lines
            .iter()
            .map(|line| (header::IF_MATCH, line.parse().unwrap()))
            .collect();
        if_match(&headers).ok()
    }

    #[test]
    fn if_match_is_read_as_the_rfc_says() {
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(&["*"]), Some(None));
        assert_eq!(read(&["\"3\""]), Some(Some(vec![3])));
        assert_eq!(read(&["\"1\", \"2\"", "\"7\""]), Some(Some(vec![1, 2, 7])));
        assert_eq!(read(&["W/\"3\""]), Some(Some(vec![])));
        assert_eq!(read(&["\"abc\""]), Some(Some(vec![])));
        assert_eq!(read(&["3"]), None);
    }
}
