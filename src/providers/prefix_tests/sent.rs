//! A request taken apart, from the bytes that go out: what a provider reads first, what comes after it, and all else.

use serde_json::Value;

use super::super::adapter::Outgoing;

/// What Anthropic's blocks are marked with, as it stands in the bytes. Inside a text its quotes would be escaped.
const MARKER: &str = r#""cache_control":{"type":"ephemeral"},"#;

/// Where an API has what it shows the model.
pub(in super::super) struct Layout {
    /// The field of the system prompt; `None`: it is the first message, of the role `system`.
    pub(super) system: Option<&'static str>,
    /// The field of the conversation.
    pub(in super::super) messages: &'static str,
    /// What stands after the last text of the conversation to the list's end.
    pub(super) tail: &'static str,
    /// The bytes before the text of a block.
    pub(super) text: &'static str,
}

pub(super) const CHAT: Layout = Layout {
    system: None,
    messages: "messages",
    tail: r#"","role":"user"}]"#,
    text: r#"{"content":""#,
};
pub(super) const RESPONSES: Layout = Layout {
    system: Some("instructions"),
    messages: "input",
    tail: r#"","role":"user","type":"message"}]"#,
    text: r#"{"content":""#,
};
pub(super) const MESSAGES: Layout = Layout {
    system: Some("system"),
    messages: "messages",
    tail: r#"","type":"text"}],"role":"user"}]"#,
    text: r#"{"content":[{"text":""#,
};
pub(super) const CONTENTS: Layout = Layout {
    system: Some("systemInstruction"),
    messages: "contents",
    tail: r#""}],"role":"user"}]"#,
    text: r#"{"parts":[{"text":""#,
};

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    /// As it goes out.
    pub(super) bytes: String,
    /// The system prompt's bytes; empty without one.
    pub(super) system: String,
    /// The conversation's bytes up to the end of its last text, markers aside.
    pub(super) conversation: String,
    /// The same message by message, whole.
    pub(super) blocks: Vec<String>,
    /// How many blocks are marked.
    pub(super) markers: usize,
    /// The address, the headers, and the fields that the model is not shown.
    pub(super) rest: (String, Value),
}

impl Sent {
    /// Takes a request apart, and looks at what must hold for each by itself.
    pub(super) fn of(outgoing: &Outgoing, layout: &Layout) -> Self {
        let bytes = outgoing.body.to_string();
        let bare = bytes.replace(MARKER, "");
        let mut rest: Value = serde_json::from_str(&bare).unwrap();
        let fields = rest.as_object_mut().unwrap();
        let Some(Value::Array(mut messages)) = fields.remove(layout.messages) else {
            panic!("no conversation: {bytes}");
        };
        let system = match layout.system {
            Some(field) => fields.remove(field),
            None => (messages[0]["role"] == "system").then(|| messages.remove(0)),
        };
        let blocks: Vec<String> = messages.iter().map(Value::to_string).collect();
        let whole = format!("[{}]", blocks.join(","));
        let system = system.map(|system| system.to_string()).unwrap_or_default();
        assert!(bare.contains(&whole[1..]) && bare.contains(&system));
        let conversation = whole.strip_suffix(layout.tail);
        let conversation = conversation.expect("the user has the last word").to_owned();
        for block in &blocks {
            let text = block.strip_prefix(layout.text).unwrap();
            assert!(
                !text.trim_start().starts_with('"'),
                "a text is blank: {bytes}"
            );
        }
        let headers = &outgoing.headers;
        Self {
            markers: bytes.matches(MARKER).count(),
            rest: (format!("{} {headers:?}", outgoing.url), rest),
            bytes,
            system,
            conversation,
            blocks,
        }
    }

    /// Whether the system prompt, if there is one, and the last block are marked, and nothing else.
    pub(super) fn is_marked_at_both_ends(&self) -> bool {
        let last = self.blocks.last().unwrap();
        let (head, tail) = last.split_at(r#"{"content":["#.len() + 1);
        let last_marked = format!("{head}{MARKER}{tail}]");
        let system_marked = match self.system.strip_prefix("[{") {
            Some(rest) => self
                .bytes
                .contains(&format!("\"system\":[{{{MARKER}{rest}")),
            None => !self.bytes.contains("\"system\":"),
        };
        let expected = 1 + usize::from(!self.system.is_empty());
        self.bytes.contains(&last_marked) && system_marked && self.markers == expected
    }
}
