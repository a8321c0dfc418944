//! `/api/export/{run_id}.{format}`: a run as a file.

mod press;

use std::{
    convert::Infallible,
    sync::LazyLock,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{
        Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use loco_rs::{controller::Routes, prelude::get};
use serde::Deserialize;

use self::press::Press;
use super::extract::{By, Reader, invalid_query, run_id, undecodable};
use crate::{
    conversation::{RunError, RunId, Said, Violation},
    orchestrator::TranscriptReader,
    views::{
        export::{
            self, ExportView, Format, MAX_PDF_TEXT_BYTES, Pages, PdfError, disposition, etag,
        },
        problem::Problem,
    },
};

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
/// A PDF has at most 1 MiB of text and 2,000 pages; a longer talk is a 409, and has its other forms. Two are made at a time; who finds no
/// place for 10 s gets a 503.
///
/// A file that cannot be read to its end, because the run is deleted meanwhile or the database fails, ends as a broken connection.
#[utoipa::path(
    get,
    path = "/api/export/{run_id}.{format}",
    tag = "runs",
    params(
        ("run_id" = RunId, Path, description = "The run"),
        ("format" = Format, Path, description = "The kind of file"),
        ("inline" = Option<String>, Query, description = "`1` or `true`: to look at in a browser, not to keep", pattern = "^(1|true|0|false)$"),
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
    Reader { door, caller, .. }: Reader,
    By(asker): By,
    method: Method,
    file: Result<Path<String>, PathRejection>,
    display: Result<Query<Display>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The router knows no suffix after a parameter: the file's name is split here, at its last dot.
    let Path(file) = file.map_err(|_| undecodable())?;
    let (id, extension) = file.rsplit_once('.').unwrap_or((&file, ""));
    let id = run_id(id)?;
    let format = Format::of(extension).ok_or_else(unknown_format)?;
    let inline = is_inline(display)?;
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
        // The headers are all that is asked for.
        None if method == Method::HEAD => export::pdf_response(without_length()),
        None => pdf(transcript).await?,
    };
    // From here on the file goes out, and not before it is written down to whom.
    if method != Method::HEAD {
        let kind = format.extension();
        door.runs.exported(id, kind, &asker).await?;
    }
    let name = disposition(id, format, inline);
    Ok(with_headers(response, tag.as_deref(), Some(&name)))
}

/// Where PDFs are made: each takes a core, and memory (some 100 MB for the longest). A static one, because it is the machine's. The
/// longest that is taken on needs a part of its 30 s.
static PDFS: LazyLock<Press> =
    LazyLock::new(|| Press::new(2, Duration::from_secs(10), Duration::from_secs(30)));

/// The transcript as a PDF.
async fn pdf(mut transcript: TranscriptReader) -> Result<Response, Problem> {
    let place = PDFS.place().await?;
    let (mut said, mut bytes) = (Vec::new(), 0);
    while let Some(page) = transcript.next().await? {
        let texts = page.iter().map(|said| said.message.text.len());
        bytes += texts.sum::<usize>();
        if bytes > MAX_PDF_TEXT_BYTES {
            return Err(PdfError::TooLong.into());
        }
        said.extend(page);
    }
    let head = transcript.head();
    let made = PDFS.work(place, move |go_on| export::pdf(&head, &said, go_on));
    Ok(export::pdf_response(made.await??.into()))
}

/// How long a file is that is not made, nobody knows.
fn without_length() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
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

fn is_inline(display: Result<Query<Display>, QueryRejection>) -> Result<bool, Problem> {
    let inline = display.map(|Query(display)| display.inline);
    match inline.as_ref().map(Option::as_deref) {
        Ok(None | Some("0" | "false")) => Ok(false),
        Ok(Some("1" | "true")) => Ok(true),
        _ => {
            let reason = "must be 1, true, 0 or false, and be there once";
            Err(invalid_query(vec![Violation::new("/inline", reason)]))
        }
    }
}

/// Whether the client says that it has the file of that tag (RFC 9110, 13.1.2): compared weakly, and what is no tag is passed over.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(',').map(str::trim));
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    tags.any(|sent| sent == "*" || opaque(sent) == opaque(tag))
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
