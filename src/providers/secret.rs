//! The key in what a provider says: taken out, in whatever pieces it comes. Pure.
//!
//! This is for providers that repeat what they were sent; one that wants to tell the key can write it in other words.

use std::{borrow::Cow, ops::Range};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// What stands in its place.
const HIDDEN: &str = "[key]";

/// A shorter key is no secret but a word such as local servers want to see in its place, and texts have it by chance.
const MIN_SECRET: usize = 16;

/// So many bytes of a key are a part of it that has to be hidden, where it was cut: fewer say little, and the first of them are often
/// the same for all keys of a vendor.
const MIN_PART: usize = 12;

/// How many of its first bytes are told of a text before it is known whether the rest follows: `sk-` is no secret, and words end
/// like that all the time.
const TOLD: usize = 3;

/// A key, as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    key: SecretString,
    /// Where in it the byte is that texts are likely to have least: all of each frame is searched for the key, and that byte is looked for
    /// first.
    rare: usize,
}

/// Takes a key out of one text that comes in pieces.
#[derive(Debug)]
pub(super) struct Censor {
    secret: Secret,
    /// How many bytes of the key stand at the end of what came. Those beyond the first few were not told yet.
    begun: usize,
}

impl Secret {
    /// The key in the value of a header; `None` if it is empty.
    pub(super) fn new(value: &SecretString) -> Option<Self> {
        let key = value.expose_secret().trim_start_matches("Bearer ");
        let (rare, _) = key
            .bytes()
            .enumerate()
            .min_by_key(|(_, byte)| rank(*byte))?;
        Some(Self {
            key: SecretString::from(key),
            rare,
        })
    }

    /// A message without the key.
    pub(super) fn hidden(&self, message: &str) -> String {
        message.replace(self.key(), HIDDEN)
    }

    /// A message without parts of the key, such as are left when it was cut.
    pub(super) fn parts_hidden(&self, message: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(message.len()), message);
        while let Some(part) = self.part(rest) {
            out.push_str(&rest[..part.start]);
            out.push_str(HIDDEN);
            rest = &rest[part.end..];
        }
        out + rest
    }

    /// Where the first part of the key stands.
    fn part(&self, text: &str) -> Option<Range<usize>> {
        if !self.is_secret() {
            return None;
        }
        let key = self.key().as_bytes();
        let is_part = |bytes: &[u8]| key.windows(bytes.len()).any(|window| window == bytes);
        let bytes = text.as_bytes();
        let start = bytes.windows(MIN_PART).position(is_part)?;
        let longest = (start + MIN_PART..=bytes.len())
            .take_while(|end| is_part(&bytes[start..*end]))
            .last()?;
        Some(start..longest)
    }

    /// A frame without the key, however JSON has it written.
    pub(super) fn frame_hidden<'a>(&self, data: &'a str) -> Cow<'a, str> {
        if !self.is_secret() {
            return Cow::Borrowed(data);
        }
        if self.is_in(data) {
            return Cow::Owned(self.hidden(data));
        }
        // Only characters that need no escape can be in a key: a frame that escapes such has to be read to be seen through.
        let escapes = memchr::memchr(b'\\', data.as_bytes()).map(|first| &data[first..]);
        let escaped = escapes.is_some_and(|rest| rest.contains("\\u00") || rest.contains("\\/"));
        let plain = escaped
            .then(|| serde_json::from_str::<Value>(data).ok())
            .flatten()
            .map(|value| value.to_string())
            .filter(|plain| plain.contains(self.key()));
        plain.map_or(Cow::Borrowed(data), |plain| Cow::Owned(self.hidden(&plain)))
    }

    /// What takes it out of a text that comes in pieces; `None` if it is too short to be a secret.
    pub(super) fn censor(&self) -> Option<Censor> {
        self.is_secret().then(|| Censor {
            secret: self.clone(),
            begun: 0,
        })
    }

    fn key(&self) -> &str {
        self.key.expose_secret()
    }

    fn is_in(&self, text: &str) -> bool {
        let (text, key) = (text.as_bytes(), self.key().as_bytes());
        let mut begins = memchr::memchr_iter(key[self.rare], text)
            .filter_map(|at| text.get(at.checked_sub(self.rare)?..));
        begins.any(|rest| rest.starts_with(key))
    }

    /// Keys are sent in headers and have no other characters.
    fn is_secret(&self) -> bool {
        self.key().len() >= MIN_SECRET && self.key().is_ascii()
    }
}

impl Censor {
    /// What may be told once this piece has come.
    pub(super) fn push(&mut self, piece: String) -> String {
        let key = self.secret.key();
        let before = std::mem::take(&mut self.begun);
        if before == 0 && !self.secret.is_in(&piece) {
            self.begun = overlap(&piece, key);
            if self.begun <= TOLD {
                return piece;
            }
        }
        // What has been told is not told again, even if it turns out to be the beginning of what is hidden.
        let mut told = before.min(TOLD);
        let all = format!("{}{piece}", &key[..before]);
        let mut out = String::with_capacity(all.len());
        let mut rest = all.as_str();
        while let Some((text, after)) = rest.split_once(key) {
            out.push_str(text.get(told..).unwrap_or_default());
            out.push_str(HIDDEN);
            (rest, told) = (after, 0);
        }
        self.begun = overlap(rest, key);
        let held = self.begun.saturating_sub(TOLD);
        out.push_str(&rest[told..rest.len() - held]);
        out
    }

    /// What was held back, now that nothing more comes.
    pub(super) fn end(&mut self) -> String {
        let begun = std::mem::take(&mut self.begun);
        if begun >= MIN_PART {
            return HIDDEN.to_owned();
        }
        self.secret.key()[begun.min(TOLD)..begun].to_owned()
    }
}

/// The place of a byte among those of keys, the rarest in texts and frames first.
fn rank(byte: u8) -> usize {
    const RARE: &[u8] = b"zqvywjxkbgfpm0123456789uhlcdrsnoiate";
    match byte {
        b'A'..=b'Z' => 0,
        _ => {
            1 + RARE
                .iter()
                .position(|rare| *rare == byte)
                .unwrap_or(RARE.len())
        }
    }
}

/// How many bytes of the key's beginning the text ends with. The whole key is not in it.
fn overlap(text: &str, key: &str) -> usize {
    let (text, key) = (text.as_bytes(), key.as_bytes());
    let [first, ..] = key else {
        return 0;
    };
    let end = &text[text.len() - text.len().min(key.len() - 1)..];
    memchr::memchr_iter(*first, end)
        .find(|at| key.starts_with(&end[*at..]))
        .map_or(0, |at| end.len() - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(key: &str) -> Secret {
        Secret::new(&SecretString::from(key)).unwrap()
    }

    /// What is told of a text that comes in these pieces.
    fn told(key: &str, pieces: &[&str]) -> String {
        let mut censor = secret(key).censor().unwrap();
        let mut out: String = pieces
            .iter()
            .map(|piece| censor.push((*piece).to_owned()))
            .collect();
        out.push_str(&censor.end());
        out
    }

    #[test]
    fn short_keys_are_no_secrets_but_are_hidden_in_messages() {
        assert!(secret("ollama").censor().is_none());
        assert_eq!(secret("Bearer ollama").hidden("no ollama"), "no [key]");
        assert_eq!(secret("ollama").frame_hidden("an ollama"), "an ollama");
        assert!(Secret::new(&SecretString::from("Bearer ")).is_none());
    }

    #[test]
    fn parts_of_a_key_are_hidden_in_messages() {
        let secret = secret("key-0123456789abcdef");
        for (message, hidden) in [
            ("no key-0123456789abcdef!", "no [key]!"),
            ("no key-012345678", "no [key]"),
            ("no 56789abcdef, no sk-01", "no 56789abcdef, no sk-01"),
            ("456789abcdef key-0123456789 é", "[key] [key] é"),
        ] {
            assert_eq!(secret.parts_hidden(message), hidden);
        }
    }

    /// A key is looked for by one of its bytes, which may stand elsewhere, too.
    #[test]
    fn a_key_is_found_beside_letters_of_its_own() {
        let key = "sk-aaaaaaaaQaaaaaaaaa";
        for (text, hidden) in [
            ("Q", "Q"),
            ("QQaaaaaaaaa", "QQaaaaaaaaa"),
            ("aQ sk-aaaaaaaaQaaaaaaaaa Q", "aQ [key] Q"),
            ("sk-aaaaaaaaQaaaaaaaa", "sk-aaaaaaaaQaaaaaaaa"),
        ] {
            assert_eq!(secret(key).frame_hidden(text), hidden);
        }
    }

    /// Letters of two kinds only, so that the key begins anywhere and again within itself.
    fn letters(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!['a', 'b']), length)
            .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn no_cut_shows_a_key_and_all_else_stays(
            key in letters(16..20),
            around in prop::collection::vec("[abé ]{0,6}", 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = around.join(&key);
            let mut cuts: Vec<usize> = cuts
                .iter()
                .map(|cut| cut.index(text.len() + 1))
                .filter(|cut| text.is_char_boundary(*cut))
                .chain([0, text.len()])
                .collect();
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let told = told(&key, &pieces);
            prop_assert!(!told.contains(&key[TOLD..]), "{told}");
            if !text.contains(&key) && overlap(&text, &key) < MIN_PART {
                prop_assert_eq!(told, text);
            }
        }
    }
}
