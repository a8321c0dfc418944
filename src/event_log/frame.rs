//! One entry of the log as one SSE block: `event`, `id`, `data`, blank line.
//!
//! Encoding stands here and not in the views because it happens at the append, once: all who read it live share the bytes.
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. JSON has no line breaks outside strings and escapes
//! them inside, names are ours and ids are numbers: no field can be forged.

use bytes::Bytes;

use crate::{
    conversation::{Delta, DeltaKind, EventId},
    models::LoggedEvent,
};

/// The block of a durable event.
pub(super) fn durable(event: &LoggedEvent) -> Bytes {
    let mut block = Vec::with_capacity(event.data.len() + event.name.len() + 64);
    block.extend_from_slice(b"event: ");
    block.extend_from_slice(event.name.as_bytes());
    write_id(&mut block, EventId::durable(event.seq));
    block.extend_from_slice(event.data.as_bytes());
    block.extend_from_slice(b"\n\n");
    block.into()
}

/// Writes the block of a delta. By hand: only the text has to be looked at byte by byte.
pub(super) fn delta(page: &mut Vec<u8>, id: EventId, delta: &Delta<'_>) {
    let mut digits = itoa::Buffer::new();
    page.extend_from_slice(b"event: turn.delta");
    write_id(page, id);
    page.extend_from_slice(b"{\"type\":\"turn.delta\",\"turn\":");
    page.extend_from_slice(digits.format(delta.turn).as_bytes());
    page.extend_from_slice(b",\"bot_index\":");
    page.extend_from_slice(digits.format(delta.bot_index).as_bytes());
    page.extend_from_slice(match delta.kind {
        DeltaKind::Text => b",\"text\":".as_slice(),
        DeltaKind::Reasoning => b",\"kind\":\"reasoning\",\"text\":",
    });
    // Writing text into memory cannot fail.
    let written = serde_json::to_writer(&mut *page, delta.text);
    debug_assert!(written.is_ok());
    page.extend_from_slice(b"}\n\n");
}

fn write_id(block: &mut Vec<u8>, id: EventId) {
    let mut digits = itoa::Buffer::new();
    block.extend_from_slice(b"\nid: ");
    block.extend_from_slice(digits.format(id.seq).as_bytes());
    block.push(b'-');
    block.extend_from_slice(digits.format(id.n).as_bytes());
    block.extend_from_slice(b"\ndata: ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_one_block_whatever_its_text() {
        let mut block = Vec::new();
        let text = "a\r\nb\u{2028}\"c\"\0é";
        delta(
            &mut block,
            EventId { seq: 7, n: 12 },
            &Delta {
                turn: 3,
                bot_index: 1,
                kind: DeltaKind::Text,
                text,
            },
        );
        let block = std::str::from_utf8(&block).unwrap();
        assert_eq!(
            block,
            "event: turn.delta\nid: 7-12\ndata: {\"type\":\"turn.delta\",\"turn\":3,\"bot_index\":1,\"text\":\"a\\r\\nb\u{2028}\\\"c\\\"\\u0000é\"}\n\n"
        );
    }

    #[test]
    fn deltas_stand_one_behind_the_other() {
        let mut page = Vec::new();
        for (n, kind, text) in [(1, DeltaKind::Text, "a"), (2, DeltaKind::Reasoning, "b")] {
            let said = Delta {
                turn: 0,
                bot_index: 0,
                kind,
                text,
            };
            delta(&mut page, EventId { seq: 1, n }, &said);
        }
        assert_eq!(
            std::str::from_utf8(&page).unwrap(),
            "event: turn.delta\nid: 1-1\ndata: {\"type\":\"turn.delta\",\"turn\":0,\"bot_index\":0,\"text\":\"a\"}\n\n\
             event: turn.delta\nid: 1-2\ndata: {\"type\":\"turn.delta\",\"turn\":0,\"bot_index\":0,\"kind\":\"reasoning\",\"text\":\"b\"}\n\n"
        );
    }

    #[test]
    fn a_durable_event_is_its_stored_bytes() {
        let event = LoggedEvent {
            seq: 2,
            name: "run.stopped".into(),
            data: "{\"x\":1}".into(),
        };
        assert_eq!(
            &durable(&event)[..],
            b"event: run.stopped\nid: 2-0\ndata: {\"x\":1}\n\n"
        );
    }
}
