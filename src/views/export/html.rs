//! HTML: one file that needs no other, without a script. Every message is escaped text in a `pre`.
//!
//! Model output is untrusted, so there are two walls beside the escaping: a policy that allows the one style sheet in the file and nothing
//! else, as a header and, for a file that was kept, in the file itself; as a header with a sandbox, which gives the page an origin of its own.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::{
    Writer,
    text::{Entry, cover, entry},
};
use crate::conversation::{RunError, Said, TranscriptHead};

/// For phones, screens, the dark, and paper.
const STYLE: &str = include_str!("page.css");

/// What the file may use: its own style sheet, by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
});

/// The policy as a header, where more can be said than in the file.
pub(super) fn header_policy() -> &'static str {
    static WHOLE: LazyLock<String> =
        LazyLock::new(|| format!("{}; frame-ancestors 'none'; sandbox", *POLICY));
    &WHOLE
}

pub(super) struct Html {
    head: Arc<TranscriptHead>,
}

impl Html {
    pub(super) fn new(head: Arc<TranscriptHead>) -> Self {
        Self { head }
    }
}

impl Writer for Html {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), RunError> {
        let cover = cover(&self.head);
        put(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"",
        );
        put(out, &POLICY);
        put(
            out,
            "\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>",
        );
        text(out, &cover.title);
        put(out, "</title>\n<style>");
        put(out, STYLE);
        put(out, "</style>\n</head>\n<body>\n<main>\n");
        line(out, "h1", "", &cover.title);
        if let Some(notice) = &cover.notice {
            line(out, "p", "notice", notice);
        }
        put(out, "<dl>\n");
        for (name, value) in &cover.facts {
            line(out, "dt", "", name);
            line(out, "dd", "", value);
        }
        put(out, "</dl>\n");
        Ok(())
    }

    fn said(&mut self, said: Said, out: &mut Vec<u8>) -> Result<(), RunError> {
        let Some(Entry {
            heading,
            text: said,
        }) = entry(&said, &self.head)
        else {
            return Ok(());
        };
        put(out, "<article>\n");
        line(out, "h2", "", &heading.title);
        line(out, "p", "details", &heading.details);
        if let Some(mark) = &heading.mark {
            line(out, "p", "mark", mark);
        }
        if let Some(said) = said {
            // A line feed right after the tag does not count; the first of the text would not either.
            put(out, "<pre dir=\"auto\" lang=\"\">\n");
            text(out, said);
            put(out, "</pre>\n");
        }
        put(out, "</article>\n");
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        put(out, "</main>\n</body>\n</html>\n");
    }
}

fn put(out: &mut Vec<u8>, markup: &str) {
    out.extend_from_slice(markup.as_bytes());
}

/// One of our own lines. Its direction is its own.
fn line(out: &mut Vec<u8>, tag: &str, class: &str, said: &str) {
    put(out, "<");
    put(out, tag);
    if !class.is_empty() {
        put(out, " class=\"");
        put(out, class);
        put(out, "\"");
    }
    put(out, "><bdi>");
    text(out, said);
    put(out, "</bdi></");
    put(out, tag);
    put(out, ">\n");
}

/// Text as text. A carriage return would become a line feed, so it is written by its number.
fn text(out: &mut Vec<u8>, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let written = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            b'\r' => "&#13;",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[from..at]);
        out.extend_from_slice(written.as_bytes());
        from = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(said: &str) -> String {
        let mut out = Vec::new();
        text(&mut out, said);
        String::from_utf8(out).unwrap()
    }

    fn read(html: &str) -> String {
        let mut text = html.to_owned();
        for (name, c) in [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&#13;", "\r"),
            ("&amp;", "&"),
        ] {
            text = text.replace(name, c);
        }
        text
    }

    proptest! {
        #[test]
        fn a_text_comes_back_and_holds_no_markup(said in "(?s)[<>&\"'\r\n;#a-z]{0,40}|(?s).{0,40}") {
            let html = written(&said);
            prop_assert!(!html.contains(['<', '>', '"', '\'', '\r']), "{}", html);
            prop_assert_eq!(read(&html), said);
        }
    }

    #[test]
    fn the_policy_names_the_style_sheet_and_nothing_else() {
        assert!(
            POLICY.starts_with("default-src 'none'; style-src 'sha256-"),
            "{}",
            *POLICY
        );
        assert!(!POLICY.contains("unsafe") && header_policy().ends_with("; sandbox"));
        assert!(!STYLE.contains("url(") && !STYLE.contains('<'));
    }
}
