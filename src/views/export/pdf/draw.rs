//! A line onto a page, from left to right.

use krilla::{
    color::rgb,
    geom::{PathBuilder, Point, Rect},
    paint::{Fill, Stroke},
    surface::Surface,
    tagging::{ContentTag, SpanTag, TagGroup},
    text::KrillaGlyph,
};

use super::{
    fonts::{FaceId, TEXT, loaded},
    lines::Line,
    page::{Color, Look, MARGIN},
    shape::{Glyph, NUMBER_SIZE, Piece, Shape},
};

pub(super) fn rectangle(surface: &mut Surface<'_>, rect: Option<Rect>, color: Color) {
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

fn fill((red, green, blue): Color) -> Fill {
    Fill {
        paint: rgb::Color::new(red, green, blue).into(),
        ..Fill::default()
    }
}

/// Draws a line and ties it to its paragraph.
pub(super) fn draw_line(
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
pub(super) enum Part<'a> {
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
pub(super) fn draw_pieces(
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
            Shape::Number(..) => {
                // Many of them are marked together: a mark for each would be most of the file.
                let numbers = line.pieces[at..]
                    .iter()
                    .map_while(|piece| match &piece.shape {
                        Shape::Number(number, digits) => Some((piece, number, digits)),
                        Shape::Glyphs(..) => None,
                    });
                let run: Vec<_> = numbers.collect();
                let said: String = run
                    .iter()
                    .map(|(piece, ..)| &text[piece.range.clone()])
                    .collect();
                mark(surface, Some(Part::Is(&said)));
                marked = false;
                for (piece, number, digits) in &run {
                    draw_number(
                        surface,
                        (number, digits),
                        piece.width * look.size,
                        (x, baseline),
                        look,
                    );
                    x += piece.width * look.size;
                }
                at += run.len();
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
    let mut glyphs = Vec::new();
    for piece in run {
        if let Shape::Glyphs(_, shapes) = &piece.shape {
            let placed = shapes.iter().map(|glyph| placed(glyph, piece.range.start));
            glyphs.extend(placed);
        }
    }
    surface.set_stroke(None);
    surface.set_fill(Some(fill(look.color)));
    let start = Point::from_xy(x, y);
    surface.draw_glyphs(start, &glyphs, loaded.font.clone(), text, look.size, false);
    run.iter().map(|piece| piece.width * look.size).sum()
}

/// A glyph of a piece that begins there in the text.
fn placed(glyph: &Glyph, start: usize) -> KrillaGlyph {
    let range = start + glyph.range.start..start + glyph.range.end;
    let (right, up) = glyph.offset;
    KrillaGlyph::new(glyph.id, glyph.advance, right, up, 0.0, range, None)
}

/// A box with the number of a character that no face has.
fn draw_number(
    surface: &mut Surface<'_>,
    (number, digits): (&str, &[Glyph]),
    width: f32,
    (x, y): (f32, f32),
    look: Look,
) {
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
    let glyphs: Vec<KrillaGlyph> = digits.iter().map(|glyph| placed(glyph, 0)).collect();
    let size = look.size * NUMBER_SIZE;
    let start = Point::from_xy(x + look.size * 0.15, y - look.size * 0.12);
    surface.draw_glyphs(start, &glyphs, loaded.font.clone(), number, size, false);
}
