//! The query of `GET /api/run`: every mistake in it is told, with the parameter's name.

use std::collections::HashSet;

use axum::{
    Json,
    extract::{FromRequestParts, Query},
    http::{Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::IntoParams;

use super::extract::invalid_query;
use crate::{
    conversation::{HistoryCursor, HistoryFilter, RunId, RunStatus, Timestamp, Violation, words},
    views::{problem::Problem, run::next_page},
};

/// How many runs are listed where the request does not say, and at most.
const LIMIT: u64 = 20;
const MAX_LIMIT: u64 = 10_000;

/// What a search text and a name may measure.
const MAX_SEARCH_BYTES: usize = 1_000;
const MAX_SEARCH_WORDS: usize = 20;
const MAX_NAME_BYTES: usize = 256;

/// The query as the document of the API has it; it is read by hand, so that every mistake is told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of the query alone")]
pub(super) struct HistoryParams {
    /// How many runs; 20 where it is absent.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u64>,
    /// Where the page begins: `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// Only runs with that status.
    status: Option<RunStatus>,
    /// Only runs with a bot of that provider.
    #[param(min_length = 1, max_length = 256)]
    provider: Option<String>,
    /// Only runs with a bot of that model.
    #[param(min_length = 1, max_length = 256)]
    model: Option<String>,
    /// Only runs that were created then or later.
    #[param(value_type = Option<Timestamp>)]
    created_after: Option<Timestamp>,
    /// Only runs that were created before.
    #[param(value_type = Option<Timestamp>)]
    created_before: Option<Timestamp>,
    /// Only runs in which all these words were said.
    #[param(min_length = 1, max_length = 1_000)]
    q: Option<String>,
}

/// Which runs are asked for.
pub(super) struct HistoryQuery {
    pub(super) filter: HistoryFilter,
    /// The run after which the page begins.
    pub(super) after: Option<RunId>,
    pub(super) limit: u64,
    /// What was asked, for the link to the next page.
    pub(super) url: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for HistoryQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = pairs(parts, state).await?;
        read(&pairs, parts.uri.clone()).map_err(invalid_query)
    }
}

fn read(pairs: &[(String, String)], url: Uri) -> Result<HistoryQuery, Vec<Violation>> {
    let mut filter = HistoryFilter::default();
    let (mut limit, mut cursor) = (LIMIT, None);
    let mut mistakes = Vec::new();
    let mut seen = HashSet::new();
    for (name, value) in pairs {
        let read = match name.as_str() {
            _ if !seen.insert(name) => Err("is there twice".to_owned()),
            "limit" => self::limit(value).map(|number| limit = number),
            "cursor" => {
                cursor = Some(value);
                Ok(())
            }
            "status" => match value.parse() {
                Ok(status) => {
                    filter.status = Some(status);
                    Ok(())
                }
                Err(_) => {
                    Err("must be one of queued, running, completed, stopped, failed".to_owned())
                }
            },
            "provider" => named(value).map(|name| filter.provider = Some(name)),
            "model" => named(value).map(|name| filter.model = Some(name)),
            "created_after" => moment(value).map(|at| filter.created_after = Some(at)),
            "created_before" => moment(value).map(|at| filter.created_before = Some(at)),
            "q" => searched(value).map(|words| filter.words = words),
            _ => Err("is no parameter of this list".to_owned()),
        };
        if let Err(reason) = read {
            mistakes.push(Violation::new(format!("/{name}"), reason));
        }
    }
    let after = cursor.map(|text| HistoryCursor::read(text, &filter));
    let after = match after.transpose() {
        // With a filter that cannot be read, no cursor can belong to it.
        Err(error) if mistakes.is_empty() => {
            mistakes.push(Violation::new("/cursor", error.to_string()));
            None
        }
        after => after.ok().flatten(),
    };
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(HistoryQuery {
        filter,
        after: after.map(|HistoryCursor(run)| run),
        limit,
        url,
    })
}

/// The names and values of a query.
pub(super) async fn pairs<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, Problem> {
    let pairs = Query::from_request_parts(parts, state).await;
    let Query(pairs) = pairs
        .map_err(|_| invalid_query(vec![Violation::new("", "is not UTF-8 after decoding")]))?;
    Ok(pairs)
}

/// The answer with a page of a list, and where the next one begins: as a whole address in `Link`.
pub(super) fn page(view: impl Serialize, url: &Uri, next: Option<&str>) -> Response {
    let mut response = Json(view).into_response();
    if let Some(link) = next.and_then(|cursor| next_page(url, cursor)) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// How many of a list.
pub(super) fn limit(value: &str) -> Result<u64, String> {
    let number = value.parse().ok();
    number
        .filter(|number| (1..=MAX_LIMIT).contains(number))
        .ok_or_else(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))
}

fn named(value: &str) -> Result<String, String> {
    if value.is_empty() || value.len() > MAX_NAME_BYTES || value.contains('\0') {
        return Err(format!(
            "must have 1 to {MAX_NAME_BYTES} bytes, and no U+0000"
        ));
    }
    Ok(value.to_owned())
}

fn moment(value: &str) -> Result<crate::conversation::Timestamp, String> {
    value
        .parse()
        .map_err(|error: crate::conversation::InvalidTimestamp| error.to_string())
}

/// The words that are searched for. Everything that is neither a letter nor a digit only separates them.
fn searched(value: &str) -> Result<Vec<String>, String> {
    if value.len() > MAX_SEARCH_BYTES {
        return Err(format!("must have at most {MAX_SEARCH_BYTES} bytes"));
    }
    let words: Vec<String> = words(value).into_iter().collect();
    match words.len() {
        0 => Err("holds no word: letters or digits are searched for".to_owned()),
        count if count > MAX_SEARCH_WORDS => {
            Err(format!("must have at most {MAX_SEARCH_WORDS} words"))
        }
        _ => Ok(words),
    }
}
