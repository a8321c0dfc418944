//! Markdown (CommonMark): our headings, and each message verbatim in a fence that is longer than any run of backticks in it. So no line of it
//! can close the fence, and whatever shows Markdown shows the very characters.

use std::sync::Arc;

use super::{
    Writer,
    text::{Entry, cover, entry},
};
use crate::conversation::{RunError, Said, TranscriptHead};

pub(super) struct Markdown {
    head: Arc<TranscriptHead>,
}

impl Markdown {
    pub(super) fn new(head: Arc<TranscriptHead>) -> Self {
        Self { head }
    }
}

impl Writer for Markdown {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), RunError> {
        let cover = cover(&self.head);
        put(out, &["# ", &escaped(&cover.title), "\n\n"]);
        if let Some(notice) = &cover.notice {
            put(out, &["> **", &escaped(notice), "**\n\n"]);
        }
        for (name, value) in &cover.facts {
            put(out, &["- ", name, ": ", &escaped(value), "\n"]);
        }
        Ok(())
    }

    fn said(&mut self, said: Said, out: &mut Vec<u8>) -> Result<(), RunError> {
        let Some(Entry { heading, text }) = entry(&said, &self.head) else {
            return Ok(());
        };
        put(out, &["\n## ", &escaped(&heading.title), "\n\n"]);
        put(out, &[&escaped(&heading.details), "\n"]);
        if let Some(mark) = &heading.mark {
            put(out, &["\n**", &escaped(mark), "**\n"]);
        }
        if let Some(text) = text {
            let fence = fence(text);
            put(out, &["\n", &fence, "text\n", text, "\n", &fence, "\n"]);
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) {}
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A fence that nothing in the text closes.
fn fence(text: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for byte in text.bytes() {
        run = if byte == b'`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat((longest + 1).max(3))
}

/// One of our own lines: what would be markup in it is none. Messages are never written so.
fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        // Addresses become links by themselves in GitHub's Markdown: https://github.github.com/gfm/#autolinks-extension-
        let links = match c {
            ':' => line[at..].starts_with("://"),
            '.' => line[..at].ends_with("www"),
            c => c == '@',
        };
        if links || "\\`*_{}[]<>#|~&!".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a fenced block as `CommonMark` says: up to the first line of as many backticks, or to the end.
    fn block(markdown: &str) -> Option<String> {
        let at = markdown.find("\n```")? + 1;
        let opening = markdown[at..].lines().next()?;
        let ticks = opening.bytes().take_while(|byte| *byte == b'`').count();
        let body = &markdown[at + opening.len() + 1..];
        let mut from = 0;
        for line in body.split_inclusive(['\n', '\r']) {
            let inner = line.trim_end_matches(['\n', '\r', ' ', '\t']);
            let indent = inner.len() - inner.trim_start_matches(' ').len();
            let closing = inner.trim_start_matches(' ');
            let closes =
                indent < 4 && closing.len() >= ticks && closing.bytes().all(|byte| byte == b'`');
            if closes {
                return Some(body[..from].strip_suffix('\n')?.to_owned());
            }
            from += line.len();
        }
        None
    }

    fn fenced(text: &str) -> String {
        let fence = fence(text);
        format!("head\n\n{fence}text\n{text}\n{fence}\n\n## next\n\n```text\nother\n```\n")
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        for (text, ticks) in [("", 3), ("``", 3), ("```\n", 4), ("a ````` b ``", 6)] {
            assert_eq!(fence(text).len(), ticks, "{text}");
        }
    }

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            escaped("<b>*A_da*</b> `x` [y](z) # & ~"),
            r"\<b\>\*A\_da\*\</b\> \`x\` \[y\](z) \# \& \~"
        );
        assert_eq!(
            escaped("https://evil.example www.evil.example a@evil.example"),
            r"https\://evil.example www\.evil.example a\@evil.example"
        );
    }

    proptest! {
        #[test]
        fn a_text_comes_back_from_its_fence(text in "(?s)[`\n\r ~#>a.]{0,40}|(?s).{0,40}") {
            prop_assert_eq!(block(&fenced(&text)), Some(text));
        }
    }
}
