//! A run as a file: JSON, Markdown, HTML or PDF.
//!
//! **Invariant:** in every form the messages stand as they were said. Nothing of them is rendered, nothing is dropped, and nothing in them
//! can end the place where they stand.
//!
//! All but the PDF are written page by page as the transcript is read: what is in memory does not grow with the talk. An export that cannot
//! be finished ends as a broken connection, never as a file that looks whole.

mod html;
mod json;
mod markdown;
mod pdf;
mod text;

use std::{future::Future, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use utoipa::ToSchema;

pub use self::{
    json::ExportView,
    pdf::{MAX_TEXT_BYTES as MAX_PDF_TEXT_BYTES, PdfError},
};
use super::problem::{Problem, with_causes};
use crate::conversation::{RunError, RunId, Said, TranscriptHead};

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = ExportFormat)]
pub enum Format {
    /// The data, as the API has it.
    #[schema(rename = "json")]
    Json,
    /// For readers and for other programs that show text.
    #[schema(rename = "md")]
    Markdown,
    /// One page for a browser.
    #[schema(rename = "html")]
    Html,
    /// For paper, and to be handed on.
    #[schema(rename = "pdf")]
    Pdf,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Markdown, Self::Html, Self::Pdf];

    /// How a file's name ends, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Pdf => "pdf",
        }
    }

    /// The format of a file whose name ends so.
    #[must_use]
    pub fn of(extension: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.extension() == extension)
    }

    /// How it is written as the transcript is read; `None` for the one that is not.
    #[must_use]
    pub fn streamed(self) -> Option<Streamed> {
        match self {
            Self::Json => Some(Streamed::Json),
            Self::Markdown => Some(Streamed::Markdown),
            Self::Html => Some(Streamed::Html),
            Self::Pdf => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Pdf => "application/pdf",
        }
    }
}

/// Where the transcript comes from.
pub trait Pages: Send + 'static {
    /// The next messages; `None` after the last. An error means that the rest cannot be had.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Said>>, RunError>> + Send;
}

/// Writes a file piece by piece, in this order: once its head, each message, once its end.
trait Writer: Send + 'static {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), RunError>;
    fn said(&mut self, said: Said, out: &mut Vec<u8>) -> Result<(), RunError>;
    fn end(&mut self, out: &mut Vec<u8>);
}

/// The entity tag of a run's file: only where the run is over, because nothing changes it then. It names the version of this program, too,
/// which decides how the file looks; and it is weak where the same file may go out packed, as other bytes (RFC 9110, section 8.8.3).
#[must_use]
pub fn etag(head: &TranscriptHead, format: Format) -> Option<String> {
    let run = &head.run;
    run.status.is_final().then(|| {
        let weak = if format == Format::Pdf { "" } else { "W/" };
        let (form, version) = (format.extension(), env!("CARGO_PKG_VERSION"));
        format!("{weak}\"{form}-{}-{version}\"", run.last_event_id)
    })
}

/// A form that is written as the transcript is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streamed {
    /// See [`Format::Json`].
    Json,
    /// See [`Format::Markdown`].
    Markdown,
    /// See [`Format::Html`].
    Html,
}

impl From<Streamed> for Format {
    fn from(format: Streamed) -> Self {
        match format {
            Streamed::Json => Self::Json,
            Streamed::Markdown => Self::Markdown,
            Streamed::Html => Self::Html,
        }
    }
}

/// The answer that carries the file. `first`: what [`Pages::next`] has given already, so that a database that is away is told by a status.
pub fn response(
    format: Streamed,
    head: &Arc<TranscriptHead>,
    first: Option<Vec<Said>>,
    pages: impl Pages,
) -> Response {
    let head = Arc::clone(head);
    let body = match format {
        Streamed::Json => streamed(json::Json::new(head), first, pages),
        Streamed::Markdown => streamed(markdown::Markdown::new(head), first, pages),
        Streamed::Html => streamed(html::Html::new(head), first, pages),
    };
    typed(format.into(), body)
}

/// The answer that carries a PDF.
#[must_use]
pub fn pdf_response(file: Body) -> Response {
    typed(Format::Pdf, file)
}

/// Makes a PDF of a whole transcript. Takes a while, so it has no place among the async threads; `go_on` is asked now and then whether
/// anybody still waits for it. The same transcript makes the same file.
///
/// # Errors
/// `TooLong`; `GivenUp`; when the file cannot be put together.
pub fn pdf(
    head: &TranscriptHead,
    said: &[Said],
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<u8>, PdfError> {
    let about = pdf::About {
        created: head.run.created_at.as_millis(),
        id: format!("{}/{}", head.run.id, head.run.last_event_id),
    };
    let mut pdf = pdf::Pdf::new(&text::cover(head), &about, go_on)?;
    for said in said {
        if let Some(entry) = text::entry(said, head) {
            pdf.entry(&entry)?;
        }
    }
    pdf.finish()
}

impl From<PdfError> for Problem {
    fn from(error: PdfError) -> Self {
        match error {
            PdfError::TooLong => Self::new(
                StatusCode::CONFLICT,
                "too-long-for-pdf",
                "Too long for a PDF",
                format!(
                    "a PDF has at most {MAX_PDF_TEXT_BYTES} bytes of text and {} pages: take .html, .md or .json",
                    pdf::MAX_PAGES
                ),
            ),
            PdfError::GivenUp => Self::busy("the PDF was not made in time"),
            error @ (PdfError::Writing(_) | PdfError::Internal) => {
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR).caused_by(Box::new(error))
            }
        }
    }
}

fn typed(format: Format, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(format.content_type());
    headers.insert(header::CONTENT_TYPE, kind);
    // Model output under this server's own origin: a browser must take it for nothing but what it is said to be.
    let sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, sniff);
    if format == Format::Html
        && let Ok(policy) = HeaderValue::from_str(html::header_policy())
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What is between the pages that were read and the bytes that were sent.
struct Sending<W, P> {
    writer: W,
    pages: P,
    /// Read before the answer began.
    first: Option<Option<Vec<Said>>>,
    begun: bool,
    over: bool,
    /// The request that it answers.
    span: tracing::Span,
}

fn streamed<W: Writer, P: Pages>(writer: W, first: Option<Vec<Said>>, pages: P) -> Body {
    let sending = Sending {
        writer,
        pages,
        first: Some(first),
        begun: false,
        over: false,
        span: tracing::Span::current(),
    };
    let pieces = stream::unfold(sending, |mut sending| async {
        if sending.over {
            return None;
        }
        let bytes = sending.next().await;
        if let Err(error) = &bytes {
            // The body ends without its last chunk, so the client knows that it lacks something.
            sending.tell(error);
            sending.over = true;
        }
        Some((bytes, sending))
    });
    // What compresses a body asks once more after its end.
    Body::from_stream(pieces.fuse())
}

impl<W: Writer, P: Pages> Sending<W, P> {
    fn tell(&self, error: &RunError) {
        let (parent, cause) = (&self.span, with_causes(error));
        match error {
            RunError::Internal(_) => tracing::error!(parent: parent, cause, "an export broke off"),
            _ => tracing::warn!(parent: parent, cause, "an export broke off"),
        }
    }

    /// The bytes of one page.
    async fn next(&mut self) -> Result<Bytes, RunError> {
        let page = match self.first.take() {
            Some(first) => first,
            None => self.pages.next().await?,
        };
        let mut out = Vec::new();
        if !self.begun {
            self.begun = true;
            self.writer.head(&mut out)?;
        }
        match page {
            Some(page) => {
                for said in page {
                    self.writer.said(said, &mut out)?;
                }
            }
            None => {
                self.over = true;
                self.writer.end(&mut out);
            }
        }
        Ok(out.into())
    }
}

/// `Content-Disposition` (RFC 6266) for a run's file. The name is ASCII, so that the plain form says all; the extended one
/// (RFC 8187) is for clients that look for it first.
#[must_use]
pub fn disposition(id: RunId, format: Format, inline: bool) -> String {
    let kind = if inline { "inline" } else { "attachment" };
    let name = format!("parley-{id}.{}", format.extension());
    format!("{kind}; filename=\"{name}\"; filename*=UTF-8''{name}")
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use tracing::Instrument as _;

    use super::*;

    struct Nothing;

    impl Writer for Nothing {
        fn head(&mut self, _out: &mut Vec<u8>) -> Result<(), RunError> {
            Ok(())
        }

        fn said(&mut self, _said: Said, _out: &mut Vec<u8>) -> Result<(), RunError> {
            Ok(())
        }

        fn end(&mut self, _out: &mut Vec<u8>) {}
    }

    struct Broken;

    impl Pages for Broken {
        async fn next(&mut self) -> Result<Option<Vec<Said>>, RunError> {
            Err(RunError::Unavailable("the cable is cut".into()))
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Its body is read when the request's span is over.
    #[tokio::test]
    async fn an_export_that_breaks_off_names_its_request_and_the_cause() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        // A process's only subscriber is not asked about a callsite that another thread comes upon first, and then never hears of it
        // (tracing-core 0.1, `Rebuilder::JustOne`); of two, each is.
        let _other = tracing::Dispatch::new(tracing_subscriber::registry());
        let told = tracing::subscriber::set_default(subscriber);
        let span = tracing::error_span!("request", request_id = "mine");
        let body = async { streamed(Nothing, Some(Vec::new()), Broken) };
        let body = body.instrument(span).await;
        let read = axum::body::to_bytes(body, usize::MAX).await;
        assert!(read.is_err(), "it must not look whole");
        drop(told);
        let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = String::from_utf8_lossy(&log);
        assert!(log.contains("request_id=\"mine\""), "{log}");
        assert!(log.contains("the cable is cut"), "{log}");
    }
}
