//! `<think>` tags: what an open model thinks in the midst of its text, told apart from what it says. Pure.
//!
//! Only a text that begins with the tag, after white space at most, has thoughts; a tag further on is text like any other. White
//! space between the closing tag and the text belongs to neither. A tag that is never closed makes all of the answer thoughts.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// The most bytes of white space before the tag: so much is held back until it is known whether thoughts follow.
const MAX_BLANK: usize = 1024;

/// Where the answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before anything that tells whether thoughts follow.
    #[default]
    Beginning,
    /// Between the tags.
    Thoughts,
    /// After the closing tag and before the text.
    Gap,
    /// In the text.
    Text,
}

/// Tells thoughts from text, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct ThinkTags {
    place: Place,
    /// What came and may yet turn out to be a part of a tag.
    held: String,
}

/// What a piece of an answer is made of: thoughts first, then text; each may be empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) thoughts: String,
    pub(super) text: String,
}

impl ThinkTags {
    /// What is known to be said once this piece has come.
    pub(super) fn push(&mut self, piece: &str) -> Told {
        let mut told = Told::default();
        self.held.push_str(piece);
        if self.place == Place::Beginning {
            self.begin();
        }
        if self.place == Place::Thoughts {
            told.thoughts = self.think();
        }
        if self.place == Place::Gap {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.place = Place::Text;
            }
        }
        if self.place == Place::Text {
            told.text = std::mem::take(&mut self.held);
        }
        told
    }

    /// What was held back, now that nothing more comes.
    pub(super) fn end(&mut self) -> Told {
        let rest = std::mem::take(&mut self.held);
        let mut told = Told::default();
        match self.place {
            Place::Thoughts => told.thoughts = rest,
            Place::Beginning | Place::Gap | Place::Text => told.text = rest,
        }
        told
    }

    /// Decides what the answer begins with, if enough of it is there.
    fn begin(&mut self) {
        let start = self.held.trim_start();
        let blank = self.held.len() - start.len();
        if blank > MAX_BLANK {
            self.place = Place::Text;
        } else if let Some(rest) = start.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            self.place = Place::Thoughts;
        } else if !OPEN.starts_with(start) {
            self.place = Place::Text;
        }
    }

    /// Takes the thoughts up to the closing tag, or to what may be its beginning.
    fn think(&mut self) -> String {
        let (thoughts, rest) = if let Some((thoughts, rest)) = self.held.split_once(CLOSE) {
            self.place = Place::Gap;
            (thoughts, rest)
        } else {
            let begun = (1..CLOSE.len())
                .rev()
                .find(|length| self.held.ends_with(&CLOSE[..*length]));
            self.held.split_at(self.held.len() - begun.unwrap_or(0))
        };
        let (thoughts, rest) = (thoughts.to_owned(), rest.to_owned());
        self.held = rest;
        thoughts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an answer is made of that comes in these pieces.
    fn told<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let mut tags = ThinkTags::default();
        let mut all: Vec<Told> = pieces.into_iter().map(|piece| tags.push(piece)).collect();
        all.push(tags.end());
        let thoughts = all.iter().map(|told| told.thoughts.as_str()).collect();
        (
            thoughts,
            all.iter().map(|told| told.text.as_str()).collect(),
        )
    }

    /// The text cut in pieces: a bit of `cuts` for each place between two characters.
    fn cut(text: &str, cuts: u64) -> Vec<&str> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for (bit, (at, _)) in text.char_indices().skip(1).enumerate() {
            if cuts >> (bit % 64) & 1 == 1 {
                pieces.push(&text[from..at]);
                from = at;
            }
        }
        pieces.push(&text[from..]);
        pieces
    }

    /// The rule of the head of this file, for an answer that is there as a whole.
    fn by_the_rule(text: &str) -> (String, String) {
        match text.trim_start().strip_prefix(OPEN) {
            None => (String::new(), text.to_owned()),
            Some(inner) => match inner.find(CLOSE) {
                None => (inner.to_owned(), String::new()),
                Some(end) => (
                    inner[..end].to_owned(),
                    inner[end + CLOSE.len()..].trim_start().to_owned(),
                ),
            },
        }
    }

    #[test]
    fn thoughts_are_what_stands_between_the_tags_at_the_beginning() {
        for (text, thoughts, said) in [
            ("<think>plan</think>\n\nHi", "plan", "Hi"),
            (
                " \n<think>\na < b\n</think>\tHi <think>x</think> \n",
                "\na < b\n",
                "Hi <think>x</think> \n",
            ),
            ("<think></think>Hi", "", "Hi"),
            ("<think>plan</think>", "plan", ""),
            ("<think>plan", "plan", ""),
            ("<think>plan</thin", "plan</thin", ""),
            ("<think>a</thin</think>b", "a</thin", "b"),
            ("<think>a<</think>b", "a<", "b"),
            (" \nHi", "", " \nHi"),
            ("Hi <think>x</think>", "", "Hi <think>x</think>"),
            ("<thin", "", "<thin"),
            ("<thinking>x", "", "<thinking>x"),
            ("</think>x", "", "</think>x"),
            ("", "", ""),
            (" ", "", " "),
        ] {
            let expected = (thoughts.to_owned(), said.to_owned());
            assert_eq!(told([text]), expected, "{text:?}");
            assert_eq!(by_the_rule(text), expected, "{text:?}");
        }
    }

    /// All 131,072 ways to cut a short answer.
    #[test]
    fn every_chunking_of_an_answer_tells_the_same() {
        let text = "<think>é</think> x";
        let places = text.chars().count() - 1;
        for cuts in 0..1_u64 << places {
            let pieces = cut(text, cuts);
            assert_eq!(
                told(pieces.iter().copied()),
                ("é".to_owned(), "x".to_owned()),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn white_space_without_end_is_text_and_not_held_for_ever() {
        let mut tags = ThinkTags::default();
        let mut said = 0;
        for _ in 0..10_000 {
            said += tags.push(" \n").text.len();
            assert!(tags.held.len() <= MAX_BLANK);
        }
        assert!(said > 10_000);
        let late = " ".repeat(MAX_BLANK + 1) + "<think>x</think>";
        assert_eq!(told([late.as_str()]), (String::new(), late.clone()));
        assert_eq!(told(cut(&late, u64::MAX)), (String::new(), late.clone()));
        assert_eq!(told([&late[1..]]).0, "x");
    }

    proptest! {
        /// Any answer, cut anywhere: the same as the rule makes of the whole, and no piece of it is held that no tag needs.
        #[test]
        fn any_chunking_of_any_answer_tells_what_the_rule_says(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", "<", ">", "</", "think", "</thin", " ", "\n", "\u{2003}", "a", "é", "🦀",
            ]), 0..12),
            begins in any::<bool>(),
            cuts in any::<u64>(),
        ) {
            let text = if begins { format!("<think>{}", parts.concat()) } else { parts.concat() };
            prop_assert_eq!(told([text.as_str()]), by_the_rule(&text));
            prop_assert_eq!(told(cut(&text, cuts)), by_the_rule(&text));
        }
    }
}
