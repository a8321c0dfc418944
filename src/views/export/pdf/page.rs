//! Lines onto pages: what stands on a page is gathered and then drawn, with the mark that ties each line to its paragraph in the tree by
//! which a reader that speaks goes through the document.

use std::{num::NonZeroU16, rc::Rc};

use krilla::{
    Document,
    color::rgb,
    destination::XyzDestination,
    geom::{PathBuilder, Point, Rect},
    outline::{Outline, OutlineNode},
    page::PageSettings,
    paint::{Fill, Stroke},
    surface::Surface,
    tagging::{Artifact, ArtifactType, ContentTag, SpanTag, Tag, TagGroup, TagKind, TagTree},
    text::{Glyph as _, KrillaGlyph},
};

use super::{
    PdfError,
    fonts::{BOLD, FaceId, TEXT, loaded},
    lines::{Line, Paragraph, lay_out},
    shape::{NUMBER_SIZE, Piece, Shape, Shaper, number, shaped},
};

/// A4, in points.
const PAGE: (f32, f32) = (595.276, 841.89);
const MARGIN: f32 = 54.0;
const BOTTOM: f32 = PAGE.1 - 60.0;
const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;

/// The most pages. Who has a longer talk takes another form.
pub(in super::super) const MAX_PAGES: usize = 5_000;

const INK: (u8, u8, u8) = (0x1b, 0x1b, 0x1f);
const SOFT: (u8, u8, u8) = (0x5a, 0x5a, 0x66);
const MARK: (u8, u8, u8) = (0x8a, 0x3b, 0x00);
const RULE: (u8, u8, u8) = (0xc4, 0xc4, 0xce);

/// How a paragraph looks.
#[derive(Clone, Copy)]
pub(super) struct Look {
    face: FaceId,
    size: f32,
    color: (u8, u8, u8),
    /// From one base line to the next, in points.
    leading: f32,
    indent: f32,
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
pub(super) struct Flow {
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
}

impl Flow {
    pub(super) fn new(document: Document, footer: String) -> Self {
        Self {
            document,
            shaper: Shaper::default(),
            outline: Outline::new(),
            sections: Vec::new(),
            page: Vec::new(),
            pages: 0,
            y: MARGIN,
            footer,
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

    fn next_page(&mut self) -> Result<(), PdfError> {
        self.draw_page()?;
        self.y = MARGIN;
        Ok(())
    }

    fn draw_page(&mut self) -> Result<(), PdfError> {
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

/// A heading of that level in the tree of the document.
pub(super) fn heading(level: NonZeroU16, text: &str) -> TagKind {
    Tag::Hn(level, Some(text.to_owned())).into()
}

fn rectangle(surface: &mut Surface<'_>, rect: Option<Rect>, color: (u8, u8, u8)) {
    let mut path = PathBuilder::new();
    if let Some(rect) = rect {
        path.push_rect(rect);
    }
    if let Some(path) = path.finish() {
        surface.set_stroke(None);
        surface.set_fill(Some(fill(color)));
        surface.draw_path(&path);
    }
}

fn fill((red, green, blue): (u8, u8, u8)) -> Fill {
    Fill {
        paint: rgb::Color::new(red, green, blue).into(),
        ..Fill::default()
    }
}

/// Draws a line and ties it to its paragraph.
fn draw_line(
    surface: &mut Surface<'_>,
    text: &str,
    line: &Line,
    look: Look,
    baseline: f32,
    group: &mut TagGroup,
) {
    let mut open = false;
    draw_pieces(
        surface,
        text,
        line,
        look,
        baseline,
        &mut |surface, actual| {
            if std::mem::take(&mut open) {
                surface.end_tagged();
            }
            if let Some(actual) = actual {
                let tag = SpanTag::empty().with_actual_text(actual.text());
                group.push(surface.start_tagged(ContentTag::Span(tag)));
                open = true;
            }
        },
    );
}

/// What the next part of a line is in the text of the document.
enum Part<'a> {
    /// What its glyphs show.
    Shown,
    /// This, whatever is seen.
    Is(&'a str),
}

impl Part<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Shown => None,
            Self::Is(text) => Some(text),
        }
    }
}

/// Draws pieces from left to right. `mark` is called before each part, and with nothing after the last.
fn draw_pieces(
    surface: &mut Surface<'_>,
    text: &str,
    line: &Line,
    look: Look,
    baseline: f32,
    mark: &mut dyn FnMut(&mut Surface<'_>, Option<Part<'_>>),
) {
    let mut x = MARGIN + look.indent + line.start * look.size;
    let mut marked = false;
    let mut at = 0;
    while let Some(piece) = line.pieces.get(at) {
        match &piece.shape {
            Shape::Number(c) => {
                let said = &text[piece.range.clone()];
                mark(surface, Some(Part::Is(said)));
                marked = false;
                draw_number(surface, *c, piece.width * look.size, (x, baseline), look);
                x += piece.width * look.size;
                at += 1;
            }
            Shape::Glyphs(face, _) => {
                if !std::mem::replace(&mut marked, true) {
                    mark(surface, Some(Part::Shown));
                }
                let same = |other: &&Piece| {
                    matches!(&other.shape, Shape::Glyphs(of, _) if of == face)
                        && other.level == piece.level
                };
                let run: Vec<&Piece> = line.pieces[at..].iter().take_while(same).collect();
                x += draw_run(surface, text, *face, &run, (x, baseline), look);
                at += run.len();
            }
        }
    }
    mark(surface, None);
}

/// Draws pieces of one face. How wide they are.
fn draw_run(
    surface: &mut Surface<'_>,
    text: &str,
    face: FaceId,
    run: &[&Piece],
    (x, y): (f32, f32),
    look: Look,
) -> f32 {
    let Some(loaded) = loaded(face) else {
        return 0.0;
    };
    let glyphs: Vec<KrillaGlyph> = run
        .iter()
        .flat_map(|piece| {
            let shapes: &[_] = match &piece.shape {
                Shape::Glyphs(_, glyphs) => glyphs,
                Shape::Number(_) => &[],
            };
            shapes.iter().map(|glyph| {
                let range =
                    piece.range.start + glyph.range.start..piece.range.start + glyph.range.end;
                KrillaGlyph::new(
                    glyph.id,
                    glyph.advance,
                    glyph.offset.0,
                    glyph.offset.1,
                    0.0,
                    range,
                    None,
                )
            })
        })
        .collect();
    surface.set_stroke(None);
    surface.set_fill(Some(fill(look.color)));
    surface.draw_glyphs(
        Point::from_xy(x, y),
        &glyphs,
        loaded.font.clone(),
        text,
        look.size,
        false,
    );
    glyphs.iter().map(|glyph| glyph.x_advance(look.size)).sum()
}

/// A box with the number of a character that no face has.
fn draw_number(surface: &mut Surface<'_>, c: char, width: f32, (x, y): (f32, f32), look: Look) {
    let Some(loaded) = loaded(TEXT) else { return };
    let mut path = PathBuilder::new();
    let inner = Rect::from_ltrb(
        x + 0.8,
        y - look.size * 0.72,
        x + width - 0.8,
        y + look.size * 0.14,
    );
    if let Some(rect) = inner {
        path.push_rect(rect);
    }
    if let Some(path) = path.finish() {
        let (red, green, blue) = look.color;
        surface.set_fill(None);
        surface.set_stroke(Some(Stroke {
            paint: rgb::Color::new(red, green, blue).into(),
            width: 0.5,
            ..Stroke::default()
        }));
        surface.draw_path(&path);
    }
    surface.set_stroke(None);
    surface.set_fill(Some(fill(look.color)));
    let digits = number(c);
    let glyphs: Vec<KrillaGlyph> = shaped(TEXT, false, &digits)
        .into_iter()
        .map(|glyph| {
            KrillaGlyph::new(
                glyph.id,
                glyph.advance,
                glyph.offset.0,
                glyph.offset.1,
                0.0,
                glyph.range,
                None,
            )
        })
        .collect();
    let size = look.size * NUMBER_SIZE;
    let start = Point::from_xy(x + look.size * 0.15, y - look.size * 0.12);
    surface.draw_glyphs(start, &glyphs, loaded.font.clone(), &digits, size, false);
}
