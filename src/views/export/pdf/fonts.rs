//! The faces that are in the program (`assets/fonts`), and which of them shows a character.
//!
//! They are a part of the program and no files beside it: a single program is what is deployed, and a face that is missing at run time would
//! be noticed by a reader. Only the glyphs that a file uses go into it.

use std::{collections::HashMap, sync::OnceLock};

use krilla::text::Font;
use rustybuzz::Face;

/// A face by its place in the list.
pub(super) type FaceId = u8;

/// Our own headings.
pub(super) const BOLD: FaceId = 0;
/// Text, unless another face is needed.
pub(super) const TEXT: FaceId = 1;
const EMOJI: FaceId = 2;

macro_rules! faces {
    ($($file:literal),+ $(,)?) => {
        /// In the order in which they are asked.
        const FILES: &[&[u8]] = &[$(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fonts/", $file))),+];
    };
}

faces![
    "NotoSans-Bold.ttf",
    "NotoSans-Regular.ttf",
    "NotoEmoji-Regular.ttf",
    // Before others that have some of its punctuation.
    "NotoSansCJKsc-Regular.otf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansGurmukhi-Regular.ttf",
    "NotoSansGujarati-Regular.ttf",
    "NotoSansOriya-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansTelugu-Regular.ttf",
    "NotoSansKannada-Regular.ttf",
    "NotoSansMalayalam-Regular.ttf",
    "NotoSansSinhala-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoSansLao-Regular.ttf",
    "NotoSansKhmer-Regular.ttf",
    "NotoSansMyanmar-Regular.ttf",
    "NotoSerifTibetan-Regular.ttf",
    "NotoSansGeorgian-Regular.ttf",
    "NotoSansArmenian-Regular.ttf",
    "NotoSansEthiopic-Regular.ttf",
    "NotoSansMongolian-Regular.ttf",
    "NotoSansSyriac-Regular.ttf",
    "NotoSansThaana-Regular.ttf",
    "NotoSansNKo-Regular.ttf",
    "NotoSansCherokee-Regular.ttf",
    "NotoSansCanadianAboriginal-Regular.ttf",
    "NotoSansTifinagh-Regular.ttf",
    "NotoSansYi-Regular.ttf",
    "NotoSansJavanese-Regular.ttf",
    "NotoSansMath-Regular.ttf",
    "NotoSansSymbols-Regular.ttf",
    "NotoSansSymbols2-Regular.ttf",
];

/// A face, read once in the life of the process.
pub(super) struct Loaded {
    /// For shaping.
    pub(super) face: Face<'static>,
    /// For the file.
    pub(super) font: Font,
    /// How many of its units are one em.
    pub(super) units: f32,
}

/// `None` only if the file is none that can be read, which a test looks at.
pub(super) fn loaded(id: FaceId) -> Option<&'static Loaded> {
    static LOADED: [OnceLock<Option<Loaded>>; FILES.len()] =
        [const { OnceLock::new() }; FILES.len()];
    let at = usize::from(id);
    let load = || {
        let bytes = *FILES.get(at)?;
        let font = Font::new(bytes.into(), 0)?;
        Some(Loaded {
            face: Face::from_slice(bytes, 0)?,
            units: font.units_per_em(),
            font,
        })
    };
    LOADED.get(at)?.get_or_init(load).as_ref()
}

/// Which face shows what; remembers what it has looked up.
#[derive(Default)]
pub(super) struct Choice {
    known: HashMap<(char, FaceId), Option<FaceId>>,
}

impl Choice {
    /// The face for what counts as one character, if one has all of it. `usual` is asked first.
    pub(super) fn of(&mut self, cluster: &str, usual: FaceId) -> Option<FaceId> {
        let mut shown = cluster.chars().filter(|c| !is_invisible(*c));
        let first = shown.next();
        let usual = if is_emoji(cluster) { EMOJI } else { usual };
        let Some(first) = first else {
            return Some(usual);
        };
        let face = self.first_with(first, usual)?;
        if shown.clone().all(|c| has(face, c)) {
            return Some(face);
        }
        let all = cluster.chars().filter(|c| !is_invisible(*c));
        (0..FaceId::try_from(FILES.len()).unwrap_or_default())
            .find(|face| *face != BOLD && all.clone().all(|c| has(*face, c)))
    }

    fn first_with(&mut self, c: char, usual: FaceId) -> Option<FaceId> {
        let look = || {
            let count = FaceId::try_from(FILES.len()).unwrap_or_default();
            let others = (TEXT..count).filter(|face| *face != EMOJI);
            let mut asked = [usual].into_iter().chain(others).chain([EMOJI]);
            asked.find(|face| has(*face, c))
        };
        *self.known.entry((c, usual)).or_insert_with(look)
    }
}

/// Faces have empty shapes for some control characters, which would hide them.
fn has(face: FaceId, c: char) -> bool {
    !c.is_control() && loaded(face).is_some_and(|loaded| loaded.face.glyph_index(c).is_some())
}

/// Whether it is to be a picture: it says so, or is one of those that always are.
fn is_emoji(cluster: &str) -> bool {
    let picture = |c: char| matches!(c, '\u{1F000}'..='\u{1F0FF}' | '\u{1F1E6}'..='\u{1F1FF}' | '\u{1F300}'..='\u{1FAFF}');
    cluster.contains('\u{FE0F}') || cluster.chars().next().is_some_and(picture)
}

/// What changes others and has no shape of its own: joiners, variation selectors, marks of direction, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_face_can_be_read() {
        for id in 0..FILES.len() {
            let face = loaded(FaceId::try_from(id).unwrap());
            assert!(face.is_some_and(|face| face.units >= 1000.0), "{id}");
        }
    }

    #[test]
    fn what_scripts_and_pictures_there_are() {
        let mut choice = Choice::default();
        for cluster in [
            "a", "Ж", "ω", "ش", "ש", "中", "あ", "한", "ก", "अ", "𝒳", "→", "e\u{301}", "☂",
        ] {
            assert!(choice.of(cluster, TEXT).is_some(), "{cluster}");
        }
        for cluster in ["🎉", "👩\u{200D}🚀", "🇩🇪", "❤\u{FE0F}", "👍🏽"] {
            assert_eq!(choice.of(cluster, TEXT), Some(EMOJI), "{cluster}");
        }
        assert_eq!(choice.of("a", BOLD), Some(BOLD));
        for nothing in ["\u{1}", "\u{E000}", "\u{10FFFD}", "\u{1D800}"] {
            assert_eq!(choice.of(nothing, TEXT), None, "{nothing:?}");
        }
    }
}
