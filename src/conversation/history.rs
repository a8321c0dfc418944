//! Finding runs again: filters, the words that are searched for, and the cursor of a list.

use std::collections::BTreeSet;

use super::{
    cursor,
    record::Run,
    run::{RunId, RunStatus},
    time::Timestamp,
};

/// The most characters of a word that count; the rest of a longer one is passed over.
const MAX_WORD_CHARS: usize = 64;

/// The most bytes of distinct words of one message that can be found.
const MAX_WORDS_BYTES: usize = 256 * 1024;

/// Which runs are asked for; empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Where they stand.
    pub status: Option<RunStatus>,
    /// The provider of a bot of theirs, in any version.
    pub provider: Option<String>,
    /// The model of that bot.
    pub model: Option<String>,
    /// Accepted at this moment or later.
    pub created_after: Option<Timestamp>,
    /// Accepted before this moment.
    pub created_before: Option<Timestamp>,
    /// Words that all occur in the topic or in messages, see [`words`].
    pub words: Vec<String>,
}

/// A page of the list, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// The runs.
    pub runs: Vec<Run>,
    /// The last of them, if there are more.
    pub more_after: Option<RunId>,
}

/// The words of a text, each once: runs of letters and digits, in lower case. What they are is decided here and not by a database, so
/// that a search finds the same in each.
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        let word: String = word
            .chars()
            .flat_map(char::to_lowercase)
            .filter(|c| c.is_alphanumeric())
            .take(MAX_WORD_CHARS)
            .collect();
        if word.is_empty() || found.contains(&word) {
            continue;
        }
        bytes += word.len();
        if bytes > MAX_WORDS_BYTES {
            break;
        }
        found.insert(word);
    }
    found
}

/// A place in a list that was filtered in this way: opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor(pub RunId);

/// A text that is no cursor of this list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no cursor of this list: take it as it stands in `next_cursor` or `Link`, with the same filters"
)]
pub struct InvalidHistoryCursor;

impl HistoryCursor {
    /// The cursor as clients see it.
    #[must_use]
    pub fn to_text(self, filter: &HistoryFilter) -> String {
        cursor::to_text(self.0.as_uuid(), &format!("{filter:?}"))
    }

    /// Reads what a client sent.
    ///
    /// # Errors
    /// When it was altered, or belongs to a list that was filtered in another way.
    pub fn read(text: &str, filter: &HistoryFilter) -> Result<Self, InvalidHistoryCursor> {
        let id = cursor::read(text, &format!("{filter:?}")).ok_or(InvalidHistoryCursor)?;
        Ok(Self(RunId::from_uuid(id)))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_word_is_letters_and_digits_in_lower_case() {
        let found: Vec<String> = words("Tea, TEA & CAFÉ-au-lait! 3.14 it's \"x%_*\" \u{0}日本語")
            .into_iter()
            .collect();
        assert_eq!(
            found,
            [
                "14",
                "3",
                "au",
                "café",
                "it",
                "lait",
                "s",
                "tea",
                "x",
                "日本語"
            ]
        );
        assert!(words(" -%*\"\' ").is_empty());
        assert_eq!(words(&"x".repeat(1000)).first().unwrap().len(), 64);
        // What lower case makes of one letter may be a letter and a mark.
        assert!(
            words("İ")
                .iter()
                .all(|word| word.chars().all(char::is_alphanumeric))
        );
        let many: String = (0..1_000_000).map(|n| format!("{n} ")).collect();
        assert!(words(&many).iter().map(String::len).sum::<usize>() <= MAX_WORDS_BYTES);
    }

    #[test]
    fn a_cursor_that_was_altered_is_none() {
        let filter = HistoryFilter::default();
        let cursor = HistoryCursor(RunId::from_uuid(Uuid::from_u128(7)));
        let text = cursor.to_text(&filter);
        assert_eq!(HistoryCursor::read(&text, &filter), Ok(cursor));
        let other = HistoryFilter {
            status: Some(RunStatus::Failed),
            ..filter.clone()
        };
        assert_eq!(
            HistoryCursor::read(&text, &other),
            Err(InvalidHistoryCursor)
        );
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(
                HistoryCursor::read(&altered, &filter),
                Err(InvalidHistoryCursor)
            );
        }
        for wrong in ["", "x", "%%%", &text[1..]] {
            assert_eq!(
                HistoryCursor::read(wrong, &filter),
                Err(InvalidHistoryCursor)
            );
        }
    }
}
