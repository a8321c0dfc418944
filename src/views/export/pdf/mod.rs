//! PDF: real text in faces that the program carries, shaped and in the order of its script; tagged, with a bookmark for each message.
//!
//! A character that no face has stands as a box with its number, and is in the file's text as itself. What a talk needs in memory is bounded
//! by [`MAX_TEXT_BYTES`] and the number of pages: who asks for more is told to take another form.

mod draw;
mod fonts;
mod lines;
mod page;
mod shape;

use std::num::NonZeroU16;

use chrono::{DateTime as Moment, Datelike as _, Timelike as _};
use krilla::{
    Document, SerializeSettings,
    metadata::{DateTime, Metadata},
    tagging::Tag,
};

pub(super) use self::page::MAX_PAGES;
use self::page::{BODY, DETAILS, Flow, HEADING, NOTICE, TITLE, heading};
use super::text::{Cover, Entry};

/// The most bytes of messages in a PDF.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Why there is no PDF.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// It would have too many pages.
    #[error("the talk is too long for a PDF")]
    TooLong,
    /// Nobody waits for it any more, or it took too long.
    #[error("the PDF was given up")]
    GivenUp,
    /// The file could not be put together.
    #[error("the PDF could not be written")]
    Writing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something that does not happen: a page without a size.
    #[error("the PDF has no page")]
    Internal,
}

/// What the file says of itself.
pub(super) struct About {
    /// When the run was accepted, in milliseconds since 1970.
    pub(super) created: i64,
    /// What tells this file from all others.
    pub(super) id: String,
}

/// Writes entries as they come.
pub(super) struct Pdf<'a> {
    flow: Flow<'a>,
}

impl<'a> Pdf<'a> {
    /// `go_on` is asked at each paragraph and page.
    pub(super) fn new(
        cover: &Cover,
        about: &About,
        go_on: &'a dyn Fn() -> bool,
    ) -> Result<Self, PdfError> {
        let settings = SerializeSettings {
            enable_tagging: true,
            ..SerializeSettings::default()
        };
        let mut document = Document::new_with(settings);
        document.set_metadata(metadata(cover, about));
        let mut flow = Flow::new(document, cover.title.clone(), go_on);
        flow.section(None)?;
        flow.paragraph(heading(NonZeroU16::MIN), &cover.title, TITLE)?;
        if let Some(notice) = &cover.notice {
            flow.space(4.0);
            flow.paragraph(Tag::P, notice, NOTICE)?;
        }
        flow.space(4.0);
        for (name, value) in &cover.facts {
            flow.paragraph(Tag::P, &format!("{name}: {value}"), DETAILS)?;
        }
        Ok(Self { flow })
    }

    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), PdfError> {
        let Entry {
            heading: above,
            text,
        } = entry;
        let flow = &mut self.flow;
        flow.space(16.0);
        flow.section(Some(&above.title))?;
        let level = NonZeroU16::MIN.saturating_add(1);
        flow.paragraph(heading(level), &above.title, HEADING)?;
        flow.paragraph(Tag::P, &above.details, DETAILS)?;
        if let Some(mark) = &above.mark {
            flow.paragraph(Tag::P, mark, NOTICE)?;
        }
        let Some(text) = text else {
            return Ok(());
        };
        flow.space(3.0);
        for line in paragraphs(text) {
            flow.paragraph(Tag::P, line, BODY)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, PdfError> {
        self.flow.finish()
    }
}

/// The text at its line ends, those of all systems: what Unicode calls mandatory breaks, and what its algorithm for directions takes for
/// the end of a paragraph.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let ends = |c: char| {
            matches!(
                c,
                '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{1C}'
                    ..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        };
        let Some((at, end)) = text.char_indices().find(|(_, c)| ends(*c)) else {
            rest = None;
            return Some(text);
        };
        let after = &text[at + end.len_utf8()..];
        // The two of them are one.
        let after = after
            .strip_prefix('\n')
            .filter(|_| end == '\r')
            .unwrap_or(after);
        rest = Some(after);
        Some(&text[..at])
    })
}

fn metadata(cover: &Cover, about: &About) -> Metadata {
    let program = concat!("Parley ", env!("CARGO_PKG_VERSION"));
    let metadata = Metadata::new()
        .title(cover.title.clone())
        .creator("Parley".to_owned())
        .producer(program.to_owned())
        .language("en".to_owned())
        .document_id(about.id.clone());
    match Moment::from_timestamp_millis(about.created) {
        Some(at) => metadata.creation_date(date(at)),
        None => metadata,
    }
}

fn date(at: Moment<chrono::Utc>) -> DateTime {
    let small = |n: u32| u8::try_from(n).unwrap_or_default();
    DateTime::new(u16::try_from(at.year()).unwrap_or_default())
        .month(small(at.month()))
        .day(small(at.day()))
        .hour(small(at.hour()))
        .minute(small(at.minute()))
        .second(small(at.second()))
        .utc_offset_hour(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_ends_a_line() {
        let lines = |text| paragraphs(text).collect::<Vec<_>>();
        assert_eq!(lines("a\nb\r\nc\rd\u{2029}e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(lines("\n\n"), ["", "", ""]);
        assert_eq!(lines(""), [""]);
    }
}
