//! Lines onto pages: what stands on a page is gathered and then drawn, with the mark that ties each line to its paragraph in the tree by
//! which a reader that speaks goes through the document.

use std::{num::NonZeroU16, rc::Rc};

use krilla::{
    Document,
    destination::XyzDestination,
    geom::{Point, Rect},
    outline::{Outline, OutlineNode},
    page::PageSettings,
    tagging::{Artifact, ArtifactType, ContentTag, Tag, TagGroup, TagKind, TagTree},
};

use super::{
    PdfError,
    draw::{draw_line, draw_pieces, rectangle},
    fonts::{BOLD, FaceId, TEXT},
    lines::{Line, Paragraph, lay_out},
    shape::Shaper,
};

/// A4, in points.
const PAGE: (f32, f32) = (595.276, 841.89);
pub(super) const MARGIN: f32 = 54.0;
const BOTTOM: f32 = PAGE.1 - 60.0;
const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;

/// The most pages. Who has a longer talk takes another form.
pub(in super::super) const MAX_PAGES: usize = 2_000;

/// Red, green and blue.
pub(super) type Color = (u8, u8, u8);

const INK: Color = (0x1b, 0x1b, 0x1f);
const SOFT: Color = (0x5a, 0x5a, 0x66);
const MARK: Color = (0x8a, 0x3b, 0x00);
const RULE: Color = (0xc4, 0xc4, 0xce);

/// How a paragraph looks.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) face: FaceId,
    pub(super) size: f32,
    pub(super) color: Color,
    /// From one base line to the next, in points.
    pub(super) leading: f32,
    pub(super) indent: f32,
}

pub(super) const TITLE: Look = Look {
    face: BOLD,
    size: 18.0,
    color: INK,
    leading: 24.0,
    indent: 0.0,
};
pub(super) const HEADING: Look = Look {
    face: BOLD,
    size: 11.5,
    color: INK,
    leading: 16.0,
    indent: 0.0,
};
pub(super) const DETAILS: Look = Look {
    face: TEXT,
    size: 8.5,
    color: SOFT,
    leading: 13.0,
    indent: 0.0,
};
pub(super) const NOTICE: Look = Look {
    face: BOLD,
    size: 9.5,
    color: MARK,
    leading: 14.0,
    indent: 0.0,
};
pub(super) const BODY: Look = Look {
    face: TEXT,
    size: 10.5,
    color: INK,
    leading: 15.5,
    indent: 10.0,
};

/// Something on the page being filled.
enum Drawn {
    Text {
        paragraph: (usize, usize),
        text: Rc<str>,
        line: Line,
        look: Look,
        baseline: f32,
    },
    /// The line at the left of a message.
    Bar { from: f32, to: f32 },
}

/// A document in the making.
pub(super) struct Flow<'a> {
    document: Document,
    shaper: Shaper,
    outline: Outline,
    /// The paragraphs of each section.
    sections: Vec<Vec<TagGroup>>,
    page: Vec<Drawn>,
    pages: usize,
    /// Where the last line stands.
    y: f32,
    footer: String,
    go_on: &'a dyn Fn() -> bool,
}

impl<'a> Flow<'a> {
    pub(super) fn new(document: Document, footer: String, go_on: &'a dyn Fn() -> bool) -> Self {
        Self {
            document,
            shaper: Shaper::default(),
            outline: Outline::new(),
            sections: Vec::new(),
            page: Vec::new(),
            pages: 0,
            y: MARGIN,
            footer,
            go_on,
        }
    }

    /// Opens a section; what follows belongs to it. `bookmark`: how it is called in the list of contents.
    pub(super) fn section(&mut self, bookmark: Option<&str>) -> Result<(), PdfError> {
        // A heading is not left alone at the bottom.
        if self.y + 72.0 > BOTTOM {
            self.next_page()?;
        }
        if let Some(name) = bookmark {
            let at = Point::from_xy(MARGIN, self.y.max(MARGIN));
            let here = XyzDestination::new(self.pages, at);
            self.outline
                .push_child(OutlineNode::new(name.to_owned(), here));
        }
        self.sections.push(Vec::new());
        Ok(())
    }

    pub(super) fn space(&mut self, points: f32) {
        if self.y > MARGIN {
            self.y += points;
        }
    }

    /// A paragraph of that kind: text without a line end.
    pub(super) fn paragraph(
        &mut self,
        tag: impl Into<TagKind>,
        text: &str,
        look: Look,
    ) -> Result<(), PdfError> {
        self.still_wanted()?;
        let width = (WIDTH - look.indent) / look.size;
        let Paragraph { text, lines } = lay_out(&mut self.shaper, text, look.face, width);
        let Some(section) = self.sections.last_mut() else {
            return Ok(());
        };
        section.push(TagGroup::new(tag));
        let paragraph = (
            self.sections.len() - 1,
            self.sections.last().map_or(0, Vec::len) - 1,
        );
        // An empty line is a line.
        if lines.is_empty() {
            self.line(look)?;
        }
        for line in lines {
            let baseline = self.line(look)?;
            self.page.push(Drawn::Text {
                paragraph,
                text: Rc::clone(&text),
                line,
                look,
                baseline,
            });
        }
        Ok(())
    }

    /// Makes room for a line. Its base line.
    fn line(&mut self, look: Look) -> Result<f32, PdfError> {
        if self.y + look.leading > BOTTOM {
            self.next_page()?;
        }
        let from = self.y;
        self.y += look.leading;
        if look.indent > 0.0 {
            match self
                .page
                .iter_mut()
                .rev()
                .find(|drawn| matches!(drawn, Drawn::Bar { .. }))
            {
                // The same bar goes on.
                Some(Drawn::Bar { to, .. }) if (*to - from).abs() < 0.01 => *to = self.y,
                _ => self.page.push(Drawn::Bar { from, to: self.y }),
            }
        }
        Ok(from + look.leading * 0.74)
    }

    fn still_wanted(&self) -> Result<(), PdfError> {
        if (self.go_on)() {
            Ok(())
        } else {
            Err(PdfError::GivenUp)
        }
    }

    fn next_page(&mut self) -> Result<(), PdfError> {
        self.draw_page()?;
        self.y = MARGIN;
        Ok(())
    }

    fn draw_page(&mut self) -> Result<(), PdfError> {
        self.still_wanted()?;
        if self.pages >= MAX_PAGES {
            return Err(PdfError::TooLong);
        }
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or(PdfError::Internal)?;
        let mut page = self.document.start_page_with(settings);
        let mut surface = page.surface();
        for drawn in std::mem::take(&mut self.page) {
            match drawn {
                Drawn::Bar { from, to } => {
                    surface.start_tagged(ContentTag::Artifact(Artifact::with_kind(
                        ArtifactType::Layout,
                    )));
                    rectangle(
                        &mut surface,
                        Rect::from_ltrb(MARGIN, from, MARGIN + 1.5, to),
                        RULE,
                    );
                    surface.end_tagged();
                }
                Drawn::Text {
                    paragraph,
                    text,
                    line,
                    look,
                    baseline,
                } => {
                    let group = self
                        .sections
                        .get_mut(paragraph.0)
                        .and_then(|section| section.get_mut(paragraph.1));
                    let Some(group) = group else { continue };
                    draw_line(&mut surface, &text, &line, look, baseline, group);
                }
            }
        }
        self.pages += 1;
        surface.start_tagged(ContentTag::Artifact(Artifact::with_kind(
            ArtifactType::Footer,
        )));
        let footer = format!("{} · {}", self.footer, self.pages);
        let Paragraph { text, lines } =
            lay_out(&mut self.shaper, &footer, TEXT, WIDTH / DETAILS.size);
        // A longer one would be cut off: its end has the number.
        if let Some(line) = lines.last() {
            draw_pieces(
                &mut surface,
                &text,
                line,
                DETAILS,
                PAGE.1 - 34.0,
                &mut |_, _| {},
            );
        }
        surface.end_tagged();
        surface.finish();
        page.finish();
        Ok(())
    }

    /// The whole document.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, PdfError> {
        self.draw_page()?;
        let mut tree = TagTree::new().with_lang(Some("en".to_owned()));
        for paragraphs in self.sections {
            let mut section = TagGroup::new(Tag::Section);
            for paragraph in paragraphs
                .into_iter()
                .filter(|paragraph| !paragraph.children.is_empty())
            {
                section.push(paragraph);
            }
            if !section.children.is_empty() {
                tree.push(section);
            }
        }
        self.document.set_tag_tree(tree);
        self.document.set_outline(self.outline);
        self.document
            .finish()
            .map_err(|error| PdfError::Writing(Box::new(error)))
    }
}

/// A heading of that level in the tree of the document. Its text is in the page already.
pub(super) fn heading(level: NonZeroU16) -> TagKind {
    Tag::Hn(level, None).into()
}
