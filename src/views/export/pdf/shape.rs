//! A paragraph into pieces: each of one direction and one face, shaped, and whole between two places where a line may end.

use std::{collections::HashMap, ops::Range, rc::Rc};

use krilla::text::GlyphId;
use rustybuzz::{Direction, UnicodeBuffer};
use unicode_bidi::{BidiInfo, Level};
use unicode_segmentation::UnicodeSegmentation as _;

use super::fonts::{Choice, FaceId, TEXT, loaded};

/// The most bytes of a piece, so that no word, however long, is shaped in one go. One character for readers (a letter with its marks) that
/// has more is taken apart.
const MAX_PIECE: usize = 512;

/// How many words are remembered with their shapes.
const MAX_REMEMBERED: usize = 20_000;

/// How many spaces a tab is.
pub(super) const TAB: f32 = 4.0;

/// A shape; lengths are in em.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    pub(super) id: GlyphId,
    pub(super) advance: f32,
    pub(super) offset: (f32, f32),
    /// What it shows, in bytes of its piece.
    pub(super) range: Range<usize>,
}

/// How a piece is shown.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// By these glyphs of that face, from left to right.
    Glyphs(FaceId, Rc<[Glyph]>),
    /// By a box with its number, as text and as glyphs: no face has it.
    Number(Rc<str>, Rc<[Glyph]>),
}

/// A piece of a paragraph.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Its place in the paragraph, in bytes.
    pub(super) range: Range<usize>,
    pub(super) level: Level,
    pub(super) shape: Shape,
    /// In em.
    pub(super) width: f32,
    /// It is white space: at a line's end it takes no room.
    pub(super) blank: bool,
    /// A line may end after it.
    pub(super) breaks: bool,
}

/// A paragraph, shaped.
pub(super) struct Shaped {
    pub(super) pieces: Vec<Piece>,
    /// Its own direction.
    pub(super) level: Level,
}

/// Shapes text, and remembers words.
#[derive(Default)]
pub(super) struct Shaper {
    choice: Choice,
    words: HashMap<(FaceId, bool, Box<str>), Rc<[Glyph]>>,
}

impl Shaper {
    /// Shapes a paragraph: text without a line end.
    pub(super) fn shape(&mut self, text: &str, usual: FaceId) -> Shaped {
        let bidi = BidiInfo::new(text, None);
        // Without a separator in it there is one paragraph; an empty text has none.
        let level = bidi
            .paragraphs
            .first()
            .map_or(Level::ltr(), |found| found.level);
        let mut pieces = Vec::new();
        let mut from = 0;
        for (end, _) in unicode_linebreak::linebreaks(text) {
            let word = from..end;
            from = end;
            self.word(text, word, &bidi.levels, usual, &mut pieces);
            if let Some(last) = pieces.last_mut() {
                last.breaks = true;
            }
        }
        Shaped { pieces, level }
    }

    /// What stands between two places where a line may end.
    fn word(
        &mut self,
        text: &str,
        word: Range<usize>,
        levels: &[Level],
        usual: FaceId,
        pieces: &mut Vec<Piece>,
    ) {
        let mut open: Option<(Range<usize>, Kind, Level)> = None;
        for (at, cluster) in text[word.clone()].grapheme_indices(true) {
            for (range, kind) in self.kinds(cluster, usual) {
                let range = word.start + at + range.start..word.start + at + range.end;
                let level = levels.get(range.start).copied().unwrap_or(Level::ltr());
                match &mut open {
                    Some((whole, same, of))
                        if *same == kind
                            && *of == level
                            && kind.joins()
                            && range.end - whole.start <= MAX_PIECE =>
                    {
                        whole.end = range.end;
                    }
                    _ => {
                        if let Some(done) = open.replace((range, kind, level)) {
                            pieces.push(self.piece(text, done));
                        }
                    }
                }
            }
        }
        if let Some(done) = open {
            pieces.push(self.piece(text, done));
        }
    }

    /// The parts of a cluster by what shows them: one, if one face has all of it.
    fn kinds(&mut self, cluster: &str, usual: FaceId) -> Vec<(Range<usize>, Kind)> {
        let whole = 0..cluster.len();
        match cluster {
            "\t" => return vec![(whole, Kind::Tab)],
            _ if cluster
                .chars()
                .all(|c| c.is_whitespace() && !c.is_control()) =>
            {
                return vec![(whole, Kind::Blank(usual))];
            }
            _ => {}
        }
        if cluster.len() <= MAX_PIECE
            && let Some(face) = self.choice.of(cluster, usual)
        {
            return vec![(whole, Kind::Face(face))];
        }
        let part = |(at, c): (usize, char)| {
            let range = at..at + c.len_utf8();
            let face = self.choice.of(&cluster[range.clone()], usual);
            (range, face.map_or(Kind::Number(c), Kind::Face))
        };
        cluster.char_indices().map(part).collect()
    }

    fn piece(&mut self, text: &str, (range, kind, level): (Range<usize>, Kind, Level)) -> Piece {
        let part = &text[range.clone()];
        let (shape, width) = match kind {
            Kind::Number(c) => {
                let number = format!("{:04X}", u32::from(c));
                let digits = self.glyphs(TEXT, false, &number);
                let width: f32 = digits.iter().map(|glyph| glyph.advance).sum();
                (
                    Shape::Number(number.into(), digits),
                    width * NUMBER_SIZE + 0.3,
                )
            }
            Kind::Tab => {
                let space = self.glyphs(TEXT, false, " ");
                let width = space.iter().map(|glyph| glyph.advance).sum::<f32>() * TAB;
                let tab: Rc<[Glyph]> = space
                    .iter()
                    .cloned()
                    .map(|glyph| Glyph {
                        advance: width,
                        ..glyph
                    })
                    .collect();
                (Shape::Glyphs(TEXT, tab), width)
            }
            Kind::Face(face) | Kind::Blank(face) => {
                let glyphs = self.glyphs(face, level.is_rtl(), part);
                let width = glyphs.iter().map(|glyph| glyph.advance).sum();
                (Shape::Glyphs(face, glyphs), width)
            }
        };
        Piece {
            range,
            level,
            shape,
            width,
            blank: matches!(kind, Kind::Tab | Kind::Blank(_)),
            breaks: false,
        }
    }

    /// The part of a piece, shaped anew: where a word does not fit into a line.
    pub(super) fn part(&mut self, text: &str, piece: &Piece, range: Range<usize>) -> Piece {
        let Shape::Glyphs(face, _) = piece.shape else {
            return piece.clone();
        };
        self.piece(text, (range, Kind::Face(face), piece.level))
    }

    fn glyphs(&mut self, face: FaceId, rtl: bool, text: &str) -> Rc<[Glyph]> {
        let key = (face, rtl, Box::from(text));
        if let Some(known) = self.words.get(&key) {
            return Rc::clone(known);
        }
        let shaped: Rc<[Glyph]> = shaped(face, rtl, text).into();
        if self.words.len() >= MAX_REMEMBERED {
            self.words.clear();
        }
        self.words.insert(key, Rc::clone(&shaped));
        shaped
    }
}

/// What shows a part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Face(FaceId),
    Blank(FaceId),
    Tab,
    Number(char),
}

impl Kind {
    /// Whether a piece may have more than one of it.
    fn joins(self) -> bool {
        matches!(self, Self::Face(_) | Self::Blank(_))
    }
}

/// How much of the size the digits in a box are.
pub(super) const NUMBER_SIZE: f32 = 0.5;

/// Shapes text of one face and direction.
pub(super) fn shaped(face: FaceId, rtl: bool, text: &str) -> Vec<Glyph> {
    let Some(loaded) = loaded(face) else {
        return Vec::new();
    };
    let mut buffer = UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    buffer.set_direction(if rtl {
        Direction::RightToLeft
    } else {
        Direction::LeftToRight
    });
    let output = rustybuzz::shape(&loaded.face, &[], buffer);
    let infos = output.glyph_infos();
    // A glyph shows all from its cluster to the next one.
    let mut starts: Vec<usize> = infos.iter().map(|info| info.cluster as usize).collect();
    starts.sort_unstable();
    starts.dedup();
    let end_of = |start: usize| {
        let next = starts.partition_point(|other| *other <= start);
        starts.get(next).copied().unwrap_or(text.len())
    };
    let em = |units: i32| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "units of a face are small numbers"
        )]
        let units = units as f32;
        units / loaded.units
    };
    infos
        .iter()
        .zip(output.glyph_positions())
        .map(|(info, position)| Glyph {
            id: GlyphId::new(info.glyph_id),
            advance: em(position.x_advance),
            offset: (em(position.x_offset), em(position.y_offset)),
            range: info.cluster as usize..end_of(info.cluster as usize),
        })
        .collect()
}
