//! How many tokens a text has, about.
//!
//! Counted by `o200k_base`, the encoding of OpenAI's newer models. Other vendors publish none; theirs differ by a few tenths for most
//! texts, which is enough for what is decided by it: when to cut a context, and how deeply. What is billed is what a provider counts.

/// A longer text is counted by its beginning, so that a text of megabytes costs no noticeable time.
const COUNTED: usize = 64 * 1024;

/// The tokens of a text, about. The first call reads the encoding in, which takes some tenths of a second.
#[must_use]
pub fn count(text: &str) -> u64 {
    let counted = &text[..text.floor_char_boundary(COUNTED)];
    let tokens = tiktoken_rs::o200k_base_singleton().encode_ordinary(counted);
    let tokens = tokens.len() as u64;
    if counted.len() == text.len() {
        tokens
    } else {
        tokens * text.len() as u64 / counted.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn texts_are_counted_as_the_encoding_has_them() {
        assert_eq!(count(""), 0);
        // "Tea", "?", " Yes", "."
        assert_eq!(count("Tea? Yes."), 4);
        assert_eq!(count("чай"), 1);
    }

    #[test]
    fn a_long_text_is_counted_by_its_beginning() {
        let short = "Wörter und mehr. ".repeat(1_000);
        let long = short.repeat(40);
        let (short, long) = (count(&short), count(&long));
        assert!((39 * short..=41 * short).contains(&long), "{short} {long}");
    }
}
