//! Errors that a server writes past the format of its stream: llama.cpp did under a field of its own, `error:`, and Ollama as a bare
//! line of JSON. A reader of SSE passes such lines over, so that a `[DONE]` after them would make an answer of what broke off.

/// How much of such a line is kept, in bytes: more is no message.
const MAX_LINE: usize = 2048;

/// How such lines begin.
const MARKS: [&[u8]; 2] = [b"error:", b"{\"error\""];

/// Looks for the first such line in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Stray {
    line: Vec<u8>,
    place: Place,
}

/// Where the next byte belongs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To the first bytes of a line, of which it is not known yet whether it is one.
    #[default]
    Beginning,
    /// To a line of the format.
    Passed,
    /// To the line that was looked for.
    Found,
    /// Behind it.
    Over,
}

impl Stray {
    /// The next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.place != Place::Over {
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (line, rest) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None => (bytes, &[][..]),
            };
            self.extend(line);
            if end.is_some() {
                self.place = match self.place {
                    Place::Found => Place::Over,
                    _ => {
                        self.line.clear();
                        Place::Beginning
                    }
                };
            }
            bytes = rest;
        }
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.place == Place::Passed {
            return;
        }
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.place == Place::Beginning {
            let line = &self.line;
            if MARKS.iter().any(|mark| line.starts_with(mark)) {
                self.place = Place::Found;
            } else if !MARKS.iter().any(|mark| mark.starts_with(line)) {
                self.place = Place::Passed;
                self.line.clear();
            }
        }
    }

    /// The line, if there was one.
    pub(super) fn found(&self) -> Option<String> {
        let found = matches!(self.place, Place::Found | Place::Over);
        found.then(|| String::from_utf8_lossy(&self.line).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        let whole = {
            let mut stray = Stray::default();
            stray.push(text.as_bytes());
            stray.found()
        };
        for size in 1..8 {
            let mut stray = Stray::default();
            for piece in text.as_bytes().chunks(size) {
                stray.push(piece);
            }
            assert_eq!(stray.found(), whole, "in pieces of {size}: {text:?}");
        }
        whole
    }

    #[test]
    fn the_first_such_line_is_found_and_no_other() {
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
            assert_eq!(found(text).as_deref(), Some(line), "{text:?}");
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
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_more_of_it_is_kept_than_a_message_takes() {
        let mut stray = Stray::default();
        for _ in 0..100 {
            stray.push(&[b"error:".as_slice(), &[b'x'; 100]].concat());
        }
        assert_eq!(stray.found().map(|line| line.len()), Some(MAX_LINE));
    }
}
