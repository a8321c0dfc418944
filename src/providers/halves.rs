//! Halves of characters. JSON may write what lies beyond U+FFFF as two escapes, and a server that counts as JavaScript does cuts
//! between them: one half ends the text of a frame, the other one begins the next. No text of ours can hold a half. Pure.

use std::borrow::Cow;

/// Joins halves over the frames of one answer.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// A first half that the last text ended with.
    first: Option<u16>,
}

impl Halves {
    /// The frame with its halves joined: a first one is taken from the end of a text and waits for its second at the beginning of
    /// another; one that never finds it is left out. Any other half without its other becomes U+FFFD.
    pub(super) fn joined<'a>(&mut self, data: &'a str) -> Cow<'a, str> {
        let escapes = memchr::memchr(b'\\', data.as_bytes()).map(|first| &data[first..]);
        let possible = |rest: &&str| rest.contains("\\ud") || rest.contains("\\uD");
        if escapes.filter(possible).is_none() {
            return Cow::Borrowed(data);
        }
        let (mut out, mut told, mut at) = (String::new(), 0, 0);
        while let Some(found) = data[at..].find('\\') {
            let start = at + found;
            let Some(code) = escaped(data, start) else {
                // A backslash and what it escapes, which may be a backslash.
                let rest = data[start + 1..].chars().next();
                at = start + 1 + rest.map_or(0, char::len_utf8);
                continue;
            };
            at = start + 6;
            let second = escaped(data, at).filter(|code| is_second(*code));
            let mended = match code {
                _ if is_first(code) && second.is_some() => {
                    at += 6;
                    continue;
                }
                _ if is_first(code) && data[at..].starts_with('"') => {
                    self.first = Some(code);
                    String::new()
                }
                _ if is_second(code) && data[..start].ends_with('"') => match self.first.take() {
                    Some(first) => format!("\\u{first:04x}\\u{code:04x}"),
                    None => "\u{fffd}".to_owned(),
                },
                _ if is_first(code) || is_second(code) => "\u{fffd}".to_owned(),
                _ => continue,
            };
            out.push_str(&data[told..start]);
            out.push_str(&mended);
            told = at;
        }
        if told == 0 {
            return Cow::Borrowed(data);
        }
        out.push_str(&data[told..]);
        Cow::Owned(out)
    }
}

/// The number of the escape `\uXXXX` at that place.
fn escaped(data: &str, at: usize) -> Option<u16> {
    let digits = data.get(at..at + 6)?.strip_prefix("\\u")?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

fn is_first(code: u16) -> bool {
    (0xd800..0xdc00).contains(&code)
}

fn is_second(code: u16) -> bool {
    (0xdc00..0xe000).contains(&code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts of these frames, of which each is a JSON string.
    fn texts(frames: &[&str]) -> Vec<String> {
        let mut halves = Halves::default();
        let joined = frames.iter().map(|frame| halves.joined(frame).into_owned());
        joined
            .map(|frame| serde_json::from_str(&frame).unwrap_or_else(|_| panic!("{frame}")))
            .collect()
    }

    #[test]
    fn halves_are_joined_and_nothing_else_is_touched() {
        for (frames, expected) in [
            (&[r#""a \ud83e""#, r#""\udd80 b""#][..], &["a ", "🦀 b"][..]),
            (&[r#""\uD83E""#, r#""x""#, r#""\uDD80""#], &["", "x", "🦀"]),
            (
                &[r#""\ud83e""#, r#""\udd80\ud83e""#, r#""\udd80""#],
                &["", "🦀", "🦀"],
            ),
            (&[r#""\ud83e\udd80""#], &["🦀"]),
            // Halves that nobody ends or begins.
            (
                &[r#""a\ud83eb""#, r#""\udd80c""#],
                &["a\u{fffd}b", "\u{fffd}c"],
            ),
            (&[r#""\udd80""#, r#""a\udd80""#], &["\u{fffd}", "a\u{fffd}"]),
            (&[r#""\ud83e\ud83e""#, r#""\udd80""#], &["\u{fffd}", "🦀"]),
            // A backslash, and letters.
            (
                &[r#""\\ud83e""#, r#""\\\ud83e""#, r#""\udd80""#],
                &["\\ud83e", "\\", "🦀"],
            ),
            (&[r#""\ud7ff\ue000 é \n""#], &["\u{d7ff}\u{e000} é \n"]),
        ] {
            assert_eq!(texts(frames), expected, "{frames:?}");
        }
        // What is no JSON is for others to refuse.
        for odd in ["\\ud83", "\\ud83é", "\\", "\\é\\ud", "\"\\ud83e"] {
            Halves::default().joined(odd);
        }
    }

    proptest! {
        /// Cut anywhere between two UTF-16 units and escaped, as JavaScript does it: the same text.
        #[test]
        fn text_cut_between_units_is_the_same_text(text in "\\PC{0,12}", size in 1usize..5) {
            let units: Vec<u16> = text.encode_utf16().collect();
            let escaped = |units: &[u16]| units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            let frames: Vec<String> = units.chunks(size).map(|units| format!("\"{}\"", escaped(units))).collect();
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            prop_assert_eq!(texts(&frames).concat(), text);
        }
    }
}
