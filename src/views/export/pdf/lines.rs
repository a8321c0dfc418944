//! Pieces into lines: as many as fit, put into the order in which they are seen.

use std::rc::Rc;

use unicode_bidi::{BidiInfo, Level};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    fonts::FaceId,
    shape::{Piece, Shape, Shaped, Shaper},
};

/// A line: its pieces from left to right, and where they begin, in em.
pub(super) struct Line {
    pub(super) pieces: Vec<Piece>,
    pub(super) start: f32,
}

/// A paragraph in lines of at most that width, in em.
pub(super) struct Paragraph {
    pub(super) text: Rc<str>,
    pub(super) lines: Vec<Line>,
}

/// Lays a paragraph out: text without a line end.
pub(super) fn lay_out(shaper: &mut Shaper, text: &str, face: FaceId, width: f32) -> Paragraph {
    let Shaped { pieces, level } = shaper.shape(text, face);
    let mut lines = Vec::new();
    let mut filling = Filling::default();
    // What stands up to the next place where a line may end.
    let mut word: Vec<Piece> = Vec::new();
    for piece in pieces {
        let ends = piece.breaks;
        word.push(piece);
        // Without such a place for long, one is made.
        if ends || word.len() >= 64 {
            place(shaper, text, &mut word, width, &mut filling, &mut |full| {
                lines.push(line(full, level, width));
            });
        }
    }
    place(shaper, text, &mut word, width, &mut filling, &mut |full| {
        lines.push(line(full, level, width));
    });
    if !filling.pieces.is_empty() {
        lines.push(line(filling.pieces, level, width));
    }
    Paragraph {
        text: text.into(),
        lines,
    }
}

/// A line in the making.
#[derive(Default)]
struct Filling {
    pieces: Vec<Piece>,
    width: f32,
}

impl Filling {
    fn add(&mut self, piece: Piece) {
        self.width += piece.width;
        self.pieces.push(piece);
    }
}

/// Puts a word on the line, or on a new one if it does not fit; one that is longer than a line is cut.
fn place(
    shaper: &mut Shaper,
    text: &str,
    word: &mut Vec<Piece>,
    width: f32,
    filling: &mut Filling,
    full: &mut dyn FnMut(Vec<Piece>),
) {
    // Blanks at a line's end hang over.
    let seen = word
        .iter()
        .rposition(|piece| !piece.blank)
        .map_or(0, |last| last + 1);
    let needed: f32 = word[..seen].iter().map(|piece| piece.width).sum();
    if filling.width + needed > width && !filling.pieces.is_empty() && seen > 0 {
        full(std::mem::take(filling).pieces);
    }
    for piece in word.drain(..) {
        if piece.blank || filling.width + piece.width <= width {
            filling.add(piece);
            continue;
        }
        for part in cut(shaper, text, &piece, width - filling.width, width) {
            if filling.width + part.width > width && !filling.pieces.is_empty() {
                full(std::mem::take(filling).pieces);
            }
            filling.add(part);
        }
    }
}

/// A piece in parts of at most that width, the first of at most `first`; each has one character for readers at least.
fn cut(shaper: &mut Shaper, text: &str, piece: &Piece, first: f32, width: f32) -> Vec<Piece> {
    let Shape::Glyphs(_, glyphs) = &piece.shape else {
        return vec![piece.clone()];
    };
    let part = &text[piece.range.clone()];
    // What is shown from each byte on, so that no glyph is looked at for every character.
    let mut wide_at = vec![0.0; part.len()];
    for glyph in glyphs.iter() {
        if let Some(wide) = wide_at.get_mut(glyph.range.start) {
            *wide += glyph.advance;
        }
    }
    let (mut room, mut used, mut from) = (first, 0.0, 0);
    let mut parts = Vec::new();
    for (at, cluster) in part.grapheme_indices(true) {
        let end = at + cluster.len();
        let wide: f32 = wide_at[at..end].iter().sum();
        if used + wide > room && at > from {
            parts.push(from..at);
            (from, used, room) = (at, 0.0, width);
        } else if at == 0 && wide > room {
            room = width;
        }
        used += wide;
    }
    parts.push(from..part.len());
    let start = piece.range.start;
    let shape = |part: std::ops::Range<usize>| {
        let range = start + part.start..start + part.end;
        shaper.part(text, piece, range)
    };
    parts.into_iter().map(shape).collect()
}

/// The line as it is seen.
fn line(pieces: Vec<Piece>, level: Level, width: f32) -> Line {
    let seen = pieces
        .iter()
        .rposition(|piece| !piece.blank)
        .map_or(0, |last| last + 1);
    let used: f32 = pieces[..seen].iter().map(|piece| piece.width).sum();
    // Blanks at the end belong to the paragraph's own direction.
    let levels: Vec<Level> = pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| if at < seen { piece.level } else { level })
        .collect();
    let hanging: f32 = pieces[seen..].iter().map(|piece| piece.width).sum();
    let order = BidiInfo::reorder_visual(&levels);
    let start = if level.is_rtl() {
        width - used - hanging
    } else {
        0.0
    };
    let mut slots: Vec<Option<Piece>> = pieces.into_iter().map(Some).collect();
    let pieces = order.into_iter().filter_map(|at| slots.get_mut(at)?.take());
    Line {
        pieces: pieces.collect(),
        start,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::views::export::pdf::fonts::TEXT;

    /// The pieces in the order of the text.
    fn read(paragraph: &Paragraph) -> String {
        let mut text = String::new();
        for line in &paragraph.lines {
            let mut pieces: Vec<&Piece> = line.pieces.iter().collect();
            pieces.sort_by_key(|piece| piece.range.start);
            text.extend(
                pieces
                    .iter()
                    .map(|piece| &paragraph.text[piece.range.clone()]),
            );
        }
        text
    }

    fn widest(paragraph: &Paragraph) -> f32 {
        let width = |line: &Line| {
            let seen = line.pieces.iter().filter(|piece| !piece.blank);
            seen.map(|piece| piece.width).sum::<f32>()
        };
        paragraph.lines.iter().map(width).fold(0.0, f32::max)
    }

    #[test]
    fn hebrew_and_arabic_stand_at_the_right_and_run_to_the_left() {
        let mut shaper = Shaper::default();
        let paragraph = lay_out(&mut shaper, "שלום abc עולם", TEXT, 40.0);
        let line = &paragraph.lines[0];
        let seen: Vec<&str> = line
            .pieces
            .iter()
            .map(|piece| paragraph.text[piece.range.clone()].trim())
            .filter(|text| !text.is_empty())
            .collect();
        assert_eq!(seen, ["עולם", "abc", "שלום"]);
        assert!(line.start > 20.0);
        // Letters are joined: each has another shape than alone.
        let shapes = |text: &str| crate::views::export::pdf::shape::shaped(4, true, text);
        let alone = shapes("م")[0].id;
        assert!(shapes("ممم").iter().all(|glyph| glyph.id != alone));
    }

    #[test]
    fn a_word_without_end_is_cut_and_nothing_of_it_is_lost() {
        let mut shaper = Shaper::default();
        for text in [
            "x".repeat(100_000),
            "中".repeat(5_000),
            "e\u{301}".repeat(5_000),
            "ש".repeat(5_000),
        ] {
            let paragraph = lay_out(&mut shaper, &text, TEXT, 40.0);
            assert_eq!(read(&paragraph), text);
            assert!(widest(&paragraph) <= 40.0 && paragraph.lines.len() > 50);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_stands_out(text in "[ \\ta-zא-ת\u{600}-\u{6ff}中\u{301}🎉\u{200d}\u{202e}\u{2067}\u{1}-]{0,200}|[^\r\n\u{85}\u{2028}\u{2029}\u{b}\u{c}\u{1c}-\u{1e}]{0,60}") {
            let mut shaper = Shaper::default();
            let paragraph = lay_out(&mut shaper, &text, TEXT, 20.0);
            prop_assert_eq!(read(&paragraph), text);
            prop_assert!(widest(&paragraph) <= 20.01);
        }
    }
}
