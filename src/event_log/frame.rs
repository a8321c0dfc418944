//! One entry of the log as one SSE block: `event`, `id`, `data`, blank line.
//!
//! Encoding stands here and not in the views because it happens once, at the append: all readers share the bytes.
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. JSON has no line breaks outside strings and escapes
//! them inside, names are ours and ids are numbers: no field can be forged.

use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::{
    conversation::{Delta, DeltaKind, EventId},
    models::LoggedEvent,
};

/// How much room is taken at once for the blocks to come: one allocation serves dozens of deltas.
const ROOM: usize = 8 * 1024;

/// The block of a durable event.
pub(super) fn durable(event: &LoggedEvent) -> Bytes {
    let mut block = BytesMut::with_capacity(event.data.len() + event.name.len() + 48);
    block.extend_from_slice(b"event: ");
    block.extend_from_slice(event.name.as_bytes());
    write_id(&mut block, EventId::durable(event.seq));
    block.extend_from_slice(event.data.as_bytes());
    block.extend_from_slice(b"\n\n");
    block.freeze()
}

/// The block of a delta, split off the shared `room`.
pub(super) fn delta(room: &mut BytesMut, id: EventId, delta: &Delta<'_>) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        r#type: &'static str,
        turn: u32,
        bot_index: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<&'static str>,
        text: &'a str,
    }
    if room.capacity() < delta.text.len() + 256 {
        room.reserve(ROOM.max(delta.text.len() * 2 + 256));
    }
    room.extend_from_slice(b"event: turn.delta");
    write_id(room, id);
    let data = Data {
        r#type: "turn.delta",
        turn: delta.turn,
        bot_index: delta.bot_index,
        kind: match delta.kind {
            DeltaKind::Text => None,
            DeltaKind::Reasoning => Some("reasoning"),
        },
        text: delta.text,
    };
    // Writing numbers and text into memory cannot fail.
    let written = serde_json::to_writer(room.writer(), &data);
    debug_assert!(written.is_ok());
    room.extend_from_slice(b"\n\n");
    room.split().freeze()
}

fn write_id(block: &mut BytesMut, id: EventId) {
    let written = write!(block.writer(), "\nid: {id}\ndata: ");
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_one_block_whatever_its_text() {
        let mut room = BytesMut::new();
        let text = "a\r\nb\u{2028}\"c\"\0é";
        let block = delta(
            &mut room,
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
    fn deltas_share_their_room() {
        let mut room = BytesMut::new();
        let first = delta(
            &mut room,
            EventId { seq: 1, n: 1 },
            &Delta {
                turn: 0,
                bot_index: 0,
                kind: DeltaKind::Text,
                text: "a",
            },
        );
        let second = delta(
            &mut room,
            EventId { seq: 1, n: 2 },
            &Delta {
                turn: 0,
                bot_index: 0,
                kind: DeltaKind::Reasoning,
                text: "b",
            },
        );
        assert_eq!(first.as_ptr().wrapping_add(first.len()), second.as_ptr());
        assert_eq!(
            &second[..],
            b"event: turn.delta\nid: 1-2\ndata: {\"type\":\"turn.delta\",\"turn\":0,\"bot_index\":0,\"kind\":\"reasoning\",\"text\":\"b\"}\n\n"
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
