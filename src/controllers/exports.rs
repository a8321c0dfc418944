//! `/api/export/{run_id}.{format}`: a run as a file.

use std::time::{Duration, Instant};

use axum::{
    extract::{
        Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use loco_rs::{controller::Routes, prelude::get};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::extract::{Reader, run_id, undecodable};
use crate::{
    conversation::{RunError, RunId, Said},
    orchestrator::TranscriptReader,
    views::{
        export::{
            self, ExportView, Format, MAX_PDF_TEXT_BYTES, Pages, PdfError, disposition, etag,
        },
        problem::Problem,
    },
};

/// The kinds of files.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of a file's last name")]
pub(super) enum ExportFormat {
    Json,
    Md,
    Html,
    Pdf,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Display {
    inline: Option<String>,
}

/// How long a file that has begun waits for a database that is away, and how long it leaves it alone in between.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

impl Pages for TranscriptReader {
    /// The status has been sent by now, so what passes soon is waited for.
    async fn next(&mut self) -> Result<Option<Vec<Said>>, RunError> {
        let begun = Instant::now();
        loop {
            match Self::next(self).await {
                Err(RunError::Unavailable(_)) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                page => return page,
            }
        }
    }
}

/// Export a run
///
/// With all that was said in it up to now, as a file: as data, or for readers as Markdown, HTML or PDF. What was said stands in each as it
/// was said, with no markup of its own in effect. In those for readers, messages without text are left out, and a run that is not over
/// says so.
///
/// A PDF has at most 1 MiB of text and 5,000 pages; a longer talk is a 409, and has its other forms. Two are made at a time; who finds no
/// place for 10 s gets a 503.
///
/// A file that cannot be read to its end, because the run is deleted meanwhile or the database fails, ends as a broken connection.
#[utoipa::path(
    get,
    path = "/api/export/{run_id}.{format}",
    tag = "runs",
    params(
        ("run_id" = RunId, Path, description = "The run"),
        ("format" = ExportFormat, Path, description = "The kind of file"),
        ("inline" = Option<String>, Query, description = "`1` or `true`: to look at in a browser, not to keep"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a file that the client has"),
    ),
    responses(
        (status = 200, description = "The run as a file", content(
            (ExportView = "application/json"),
            (String = "text/markdown"),
            (String = "text/html"),
            ("application/pdf"),
        ), headers(
            ("Content-Disposition" = String, description = "The file's name"),
            ("ETag" = String, description = "Of a run that is over: its file does not change any more"),
        )),
        (status = 304, description = "The client has that file, and the run is over", headers(
            ("ETag" = String, description = "The same"),
        )),
        (status = 400, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 500, response = Problem),
        (status = 503, response = Problem),
    ),
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn export_run(
    Reader { door, caller }: Reader,
    file: Result<Path<String>, PathRejection>,
    display: Result<Query<Display>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The router knows no suffix after a parameter: the file's name is split here, at its last dot.
    let Path(file) = file.map_err(|_| undecodable())?;
    let (id, extension) = file.rsplit_once('.').unwrap_or((&file, ""));
    let id = run_id(id)?;
    let format = Format::of(extension).ok_or_else(unknown_format)?;
    let mut transcript = door.runs.transcript(&caller.whose(), id).await?;
    let head = transcript.head();
    let tag = etag(&head, format);
    if let Some(tag) = tag.as_deref().filter(|tag| has(&headers, tag)) {
        let not_modified = StatusCode::NOT_MODIFIED.into_response();
        return Ok(with_headers(not_modified, Some(tag), None));
    }
    let response = match format.streamed() {
        Some(streamed) => {
            let first = transcript.next().await?;
            export::response(streamed, &head, first, transcript)
        }
        None => pdf(transcript).await?,
    };
    let name = disposition(id, format, is_inline(display));
    Ok(with_headers(response, tag.as_deref(), Some(&name)))
}

/// How many PDFs are made at a time: each takes a core, and memory (some 100 MB for the longest). A static one, because it is the machine's.
static PDF_PLACES: Semaphore = Semaphore::const_new(2);

/// How long a request waits for its place.
const PDF_PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take; the longest that is taken on needs a part of it.
const PDF_TIME: Duration = Duration::from_secs(30);

/// The transcript as a PDF, made beside the async threads.
async fn pdf(mut transcript: TranscriptReader) -> Result<Response, Problem> {
    let busy = || Problem::busy("too many PDFs are being made");
    let place = tokio::time::timeout(PDF_PATIENCE, PDF_PLACES.acquire()).await;
    let place = place.ok().and_then(Result::ok).ok_or_else(busy)?;
    let (mut said, mut bytes) = (Vec::new(), 0);
    while let Some(page) = transcript.next().await? {
        bytes += page
            .iter()
            .map(|said| said.message.text.len())
            .sum::<usize>();
        if bytes > MAX_PDF_TEXT_BYTES {
            return Err(PdfError::TooLong.into());
        }
        said.extend(page);
    }
    let head = transcript.head();
    let gone = CancellationToken::new();
    // Who leaves, leaves the place to others soon.
    let waiting = gone.clone().drop_guard();
    let made = tokio::task::spawn_blocking(move || {
        let _place = place;
        let begun = Instant::now();
        let go_on = || !gone.is_cancelled() && begun.elapsed() < PDF_TIME;
        export::pdf(&head, &said, &go_on)
    });
    let made = made.await.map_err(|panicked| {
        Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).caused_by(Box::new(panicked))
    })?;
    drop(waiting);
    Ok(export::pdf_response(made?))
}

fn unknown_format() -> Problem {
    let names: Vec<String> = Format::ALL
        .iter()
        .map(|format| format!(".{}", format.extension()))
        .collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-format",
        "Unknown format",
        format!("a run is exported as {}", names.join(", ")),
    )
}

fn is_inline(display: Result<Query<Display>, QueryRejection>) -> bool {
    let inline = display.ok().and_then(|Query(display)| display.inline);
    inline.is_some_and(|value| value == "1" || value == "true")
}

/// Whether the client says that it has the file of that tag (RFC 9110, 13.1.2): compared weakly, and what is no tag is passed over.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(',').map(str::trim));
    tags.any(|sent| sent == "*" || sent.strip_prefix("W/").unwrap_or(sent) == tag)
}

fn with_headers(mut response: Response, tag: Option<&str>, name: Option<&str>) -> Response {
    // With a tag it may be kept, and asked for again by it; without one it is another file each time.
    let caching = if tag.is_some() {
        "private, no-cache"
    } else {
        "no-store"
    };
    let given = [
        (header::CACHE_CONTROL, Some(caching)),
        (header::ETAG, tag),
        (header::CONTENT_DISPOSITION, name),
    ];
    for (header, value) in given {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(header, value);
        }
    }
    response
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .prefix("api/export")
        .add("/{file}", get(export_run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_is_read_as_the_rfc_says() {
        let sent = |lines: &[&str]| {
            let lines = lines
                .iter()
                .map(|line| (header::IF_NONE_MATCH, line.parse().unwrap()));
            has(&lines.collect(), "\"a-1\"")
        };
        for has_it in [
            &["*"][..],
            &["\"a-1\""],
            &["W/\"a-1\""],
            &["\"x\", \"a-1\""],
            &["\"x\"", "\"a-1\""],
        ] {
            assert!(sent(has_it), "{has_it:?}");
        }
        for has_not in [&[][..], &[""], &["a-1"], &["\"a-2\""], &["W/\"\""]] {
            assert!(!sent(has_not), "{has_not:?}");
        }
    }
}
