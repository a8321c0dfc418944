//! Server-Sent Events out of bytes, as a client reads them. Pure.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>. Of an event only its data matters to
//! us; one that is not complete when the bytes end is none. Text that is not UTF-8 is an error here, and no replacement character.
//!
//! What a server writes past the format is kept, if it is an error: llama.cpp did so under a field of its own, `error:`, and Ollama as a
//! bare line of JSON. A reader of events passes such lines over, so that a `[DONE]` after them would make an answer of what broke off.

use bytes::Bytes;
use memchr::memchr2;

/// How a stray error begins.
const STRAY: [&[u8]; 2] = [b"error:", b"{\"error\""];

/// How much of one is kept, in bytes: more is no message.
const MAX_STRAY: usize = 2048;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Why the bytes are no events.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    #[error("the provider's stream is not UTF-8")]
    NotUtf8,
    #[error("{0} bytes came without an event being complete")]
    TooLong(usize),
}

/// A complete event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) data: &'a str,
    /// Whether there was a stray error before it.
    pub(super) after_stray: bool,
}

/// Reads events out of bytes that come in pieces.
pub(super) struct SseReader {
    /// The piece that is being read, and how far it was.
    piece: Bytes,
    at: usize,
    /// What has come of a line that is not complete.
    line: Vec<u8>,
    /// Whether the line before ended with a CR: an LF right after it is a part of that end.
    after_cr: bool,
    event: Event,
    max_bytes: usize,
}

/// The event that is being read.
#[derive(Default)]
struct Event {
    data: Vec<u8>,
    has_data: bool,
    complete: bool,
    /// The data, once it is complete.
    text: String,
    /// How many bytes have come since the last one, whatever they were.
    bytes: usize,
    /// Whether a line was read at all.
    begun: bool,
    stray: Option<String>,
}

impl SseReader {
    /// Reads events of at most that many bytes, comments before them included.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            piece: Bytes::new(),
            at: 0,
            line: Vec::new(),
            after_cr: false,
            event: Event::default(),
            max_bytes,
        }
    }

    /// The next bytes, once there is no complete event in those before them.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty());
        self.piece = piece;
        self.at = 0;
    }

    /// Goes on to the next event with data; false if more bytes are needed for it.
    pub(super) fn advance(&mut self) -> Result<bool, SseError> {
        self.event.forget();
        loop {
            let rest = self.piece.get(self.at..).unwrap_or_default();
            let rest = match rest {
                [b'\n', after @ ..] if self.after_cr => {
                    self.at += 1;
                    self.after_cr = false;
                    after
                }
                _ => rest,
            };
            self.after_cr &= rest.is_empty();
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.line.extend_from_slice(rest);
                // Given back at once: the connection reads on into the same memory.
                self.piece = Bytes::new();
                self.at = 0;
                self.event.bounded(self.line.len(), self.max_bytes)?;
                return Ok(false);
            };
            self.at += end + 1;
            self.after_cr = rest[end] == b'\r';
            // Most lines come whole, and are read where they are.
            if self.line.is_empty() {
                self.event.line(&rest[..end]);
            } else {
                self.line.extend_from_slice(&rest[..end]);
                self.event.line(&self.line);
                self.line.clear();
            }
            self.event.bounded(0, self.max_bytes)?;
            if self.event.complete {
                self.event.read()?;
                return Ok(true);
            }
        }
    }

    /// The event that it has come to.
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            data: &self.event.text,
            after_stray: self.event.stray.is_some(),
        }
    }

    /// An error that the server has written past the format.
    pub(super) fn stray_error(&self) -> Option<String> {
        self.event.stray.clone().or_else(|| stray(&self.line))
    }
}

impl Event {
    fn line(&mut self, line: &[u8]) {
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if !self.begun => rest,
            _ => line,
        };
        self.begun = true;
        self.bytes += line.len() + 1;
        if line.is_empty() {
            self.complete = self.has_data;
            return;
        }
        if let Some(value) = data(line) {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        } else if self.stray.is_none() {
            self.stray = stray(line);
        }
    }

    fn bounded(&self, more: usize, max: usize) -> Result<(), SseError> {
        match self.bytes + more {
            bytes if bytes > max => Err(SseError::TooLong(bytes)),
            _ => Ok(()),
        }
    }

    fn read(&mut self) -> Result<(), SseError> {
        let data = std::mem::take(&mut self.data);
        self.text = String::from_utf8(data).map_err(|_| SseError::NotUtf8)?;
        Ok(())
    }

    /// Makes room for the next one, if this one was complete.
    fn forget(&mut self) {
        if self.complete {
            self.data = std::mem::take(&mut self.text).into_bytes();
            self.data.clear();
            self.has_data = false;
            self.complete = false;
            self.bytes = 0;
        }
    }
}

/// The value of a line of data.
fn data(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [] => Some(&[]),
        _ => None,
    }
}

/// The line, if it is an error past the format.
fn stray(line: &[u8]) -> Option<String> {
    let is_stray = STRAY.iter().any(|mark| line.starts_with(mark));
    let kept = &line[..line.len().min(MAX_STRAY)];
    is_stray.then(|| String::from_utf8_lossy(kept).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1000;

    /// What is read of a text that comes in pieces of that size: the data of its events, the stray error, and what ended it.
    fn read_in(size: usize, text: &[u8]) -> (Vec<String>, Option<String>, Option<SseError>) {
        let (mut reader, mut all) = (SseReader::new(MAX), Vec::new());
        for piece in text.chunks(size) {
            reader.push(Bytes::copy_from_slice(piece));
            loop {
                match reader.advance() {
                    Ok(true) => all.push(reader.frame().data.to_owned()),
                    Ok(false) => break,
                    Err(error) => return (all, reader.stray_error(), Some(error)),
                }
            }
        }
        (all, reader.stray_error(), None)
    }

    fn read(text: &str) -> (Vec<String>, Option<String>) {
        let (whole, stray, error) = read_in(text.len().max(1), text.as_bytes());
        assert_eq!(error, None);
        for size in 1..8 {
            let pieces = read_in(size, text.as_bytes());
            assert_eq!(
                pieces,
                (whole.clone(), stray.clone(), None),
                "in pieces of {size}: {text:?}"
            );
        }
        (whole, stray)
    }

    #[test]
    fn events_are_read_as_the_specification_has_it() {
        for (text, events) in [
            ("data: a\n\ndata: b\n\n", &["a", "b"][..]),
            ("data: a\r\n\r\ndata: b\r\rdata: c\n\r\n", &["a", "b", "c"]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
            ("data: a\ndata: b\ndata:\n\n", &["a\nb\n"]),
            ("data\n\ndata:\n\n", &["", ""]),
            ("data:  a \n\n", &[" a "]),
            ("event: x\nid: 1\nretry: 2\n\ndata: a\nevent: y\n\n", &["a"]),
            (": c\n\n:\ndata: a\n: d\n\n\n\n", &["a"]),
            ("dataset: x\nDATA: y\n data: z\n\n", &[]),
            ("data: a\n\ndata: cut off", &["a"]),
            ("data: a\n\ndata: cut off\n", &["a"]),
            ("\n\n\r\n", &[]),
        ] {
            assert_eq!(read(text).0, events, "{text:?}");
        }
    }

    #[test]
    fn the_first_stray_error_is_kept_and_no_other_line() {
        for (text, line) in [
            (
                "data: x\n\nerror: {\"code\":500}\n\n",
                "error: {\"code\":500}",
            ),
            ("error:x\r\n\r\ndata: [DONE]\n\n", "error:x"),
            ("data: x\r\r{\"error\":{}}\r", "{\"error\":{}}"),
            ("{\"error\":\"gone", "{\"error\":\"gone"),
            ("error: one\nerror: two\n", "error: one"),
        ] {
            assert_eq!(read(text).1.as_deref(), Some(line), "{text:?}");
        }
        for text in [
            "",
            "err",
            "errors: x\n",
            "event: error\ndata: {\"error\":{}}\n\n",
            ": error: x\n",
            " error: x\n",
            "data: error: x\n\n",
            "{\"errors\":1}\n",
        ] {
            assert_eq!(read(text).1, None, "{text:?}");
        }
        let long = format!("error:{}\n", "x".repeat(MAX - 10));
        assert_eq!(read(&long).1.map(|line| line.len()), Some(MAX - 4));
    }

    #[test]
    fn an_event_knows_of_a_stray_error_before_it() {
        let mut reader = SseReader::new(MAX);
        reader.push(Bytes::from_static(b"data: a\n\nerror: x\n\ndata: b\n\n"));
        let mut after = || {
            reader
                .advance()
                .map(|came| came.then(|| reader.frame().after_stray))
        };
        assert_eq!(after(), Ok(Some(false)));
        assert_eq!(after(), Ok(Some(true)));
        assert_eq!(after(), Ok(None));
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_complete() {
        let fits = format!("data: {}\n\n", "x".repeat(MAX - 8));
        let many = fits.repeat(3);
        for size in [1, 7, 100, 5000] {
            assert_eq!(read_in(size, many.as_bytes()).0.len(), 3);
            let endless = ["x", "data: x\n", ": x\n", ": x\n\n", "\n"];
            for endless in endless.map(|line| line.repeat(9 * MAX)) {
                let (events, _, error) = read_in(size, endless.as_bytes());
                assert!(events.is_empty());
                let Some(SseError::TooLong(bytes)) = error else {
                    panic!("{error:?}");
                };
                assert!(bytes > MAX && bytes <= MAX + size.max(8), "{bytes}");
            }
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_an_error() {
        for size in [1, 100] {
            let (events, _, error) = read_in(size, b"data: a\n\n: \xff\ndata: \xff\n\n");
            assert_eq!((events.len(), error), (1, Some(SseError::NotUtf8)));
        }
    }

    proptest! {
        /// Whatever bytes come, and in whatever pieces: the same events.
        #[test]
        fn pieces_change_nothing(
            text in "(data|error|:|\\{\"error\"|: |[a-é]|\r|\n|\r\n){0,60}",
            size in 1usize..20,
        ) {
            let whole = read_in(usize::MAX, text.as_bytes());
            prop_assert_eq!(read_in(size, text.as_bytes()), whole);
        }
    }
}
