//! Members of JSON objects, found without reading the objects: what a reader does for each delta has to be cheap.

use anyhow::{Context as _, Result};

/// A text member of an object, as it stands, up to its closing quote.
pub(crate) fn member<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let from = memchr::memmem::find(data, name)? + name.len();
    let mut end = from;
    loop {
        end += memchr::memchr2(b'"', b'\\', &data[end..])?;
        if data[end] == b'"' {
            return Some(&data[from..end]);
        }
        end += 2;
    }
}

/// A whole number of an object.
pub(crate) fn number(data: &[u8], name: &[u8]) -> Option<usize> {
    let from = memchr::memmem::find(data, name)? + name.len();
    let digits = data[from..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// Bytes as the text that they are.
pub(crate) fn plain(text: &[u8]) -> Result<&str> {
    std::str::from_utf8(text).context("text that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_as_they_stand() {
        let data = br#"{"type":"turn.delta","turn":17,"text":"say \"it\" \\"}"#;
        assert_eq!(member(data, b"\"text\":\""), Some(&br#"say \"it\" \\"#[..]));
        assert_eq!(number(data, b"\"turn\":"), Some(17));
        assert_eq!(member(data, b"\"content\":\""), None);
        assert_eq!(member(br#"{"text":"no end"#, b"\"text\":\""), None);
    }
}
