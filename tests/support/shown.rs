//! An answer as a snapshot shows it: what differs from run to run is checked, and replaced by a value of the same form.
//!
//! So what stands in a snapshot could be an answer, and the document of the API takes its examples from there.

use std::fmt::Write as _;

use parley::conversation::Timestamp;
use serde_json::{Value, json};

use super::Answer;

const RUN: &str = "019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071";
const REQUEST: &str = "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5";
const TIME: &str = "2026-11-24T12:00:00.000Z";
/// As long as a ticket, and none.
const TICKET: &str = "AZorPE1ef2CKGyw9Tl9gcQAAAZ8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const CURSOR: &str = "AZorPE1eb2CKGyw9Tl9gcQ";

/// The headers that belong to the API. All others are HTTP's or go for every answer.
const HEADERS: [&str; 10] = [
    "allow",
    "content-disposition",
    "content-type",
    "etag",
    "link",
    "location",
    "ratelimit-policy",
    "retry-after",
    "www-authenticate",
    "x-accel-buffering",
];

/// An answer of that operation: its id and status, the headers, the body. The first line is how a test counts what has a snapshot.
pub(crate) fn shown(operation: &str, answer: &Answer) -> String {
    let mut text = shown_head(operation, answer);
    let kind = answer.header("content-type");
    if kind.split(';').next().unwrap().ends_with("json") {
        write!(text, "\n\n{:#}", stable(answer.json())).unwrap();
    } else if kind.starts_with("text/event-stream") {
        write!(text, "\n\n{}", stream(&answer.text)).unwrap();
    }
    text
}

/// The same without its body.
pub(crate) fn shown_head(operation: &str, answer: &Answer) -> String {
    let mut text = format!("{operation} → {}\n", answer.status);
    for name in HEADERS {
        let value = answer.header(name);
        match (name, value) {
            (_, "") => {}
            ("retry-after", seconds) => {
                let seconds: u64 = seconds.parse().unwrap();
                assert!((1..=60).contains(&seconds), "{seconds}");
                writeln!(text, "{name}: 5").unwrap();
            }
            _ => writeln!(text, "{name}: {}", same(value)).unwrap(),
        }
    }
    text.trim_end().to_owned()
}

/// A value with what differs from run to run replaced.
fn stable(mut value: Value) -> Value {
    hide(&mut value);
    value
}

fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) => {
            for (key, member) in members {
                hide_member(key, member);
            }
        }
        Value::String(text) => *text = same(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn hide_member(key: &str, member: &mut Value) {
    match (key, &*member) {
        (
            "at" | "created_at" | "updated_at" | "started_at" | "finished_at",
            Value::String(time),
        ) => {
            let read: Timestamp = time.parse().unwrap();
            assert_eq!(read.to_string(), *time, "{key}");
            let age = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_millis() as i64
                - read.as_millis();
            assert!((-1_000..600_000).contains(&age), "{key}: {time}");
            *member = json!(TIME);
        }
        ("duration_ms" | "first_delta_ms", Value::Number(millis)) => {
            let few = millis.as_u64().is_some_and(|millis| millis < 60_000);
            assert!(few, "{key}: {millis}");
            *member = json!(12);
        }
        ("request_id", Value::String(id)) => {
            assert!(is_uuid(id, b'4'), "{id}");
            *member = json!(REQUEST);
        }
        ("ticket", Value::String(ticket)) => {
            assert_eq!(same_ticket(ticket), TICKET);
            *member = json!(TICKET);
        }
        ("ticket_expires_at", Value::String(time)) => {
            let read: Timestamp = time.parse().unwrap();
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_millis() as i64;
            let hours = (read.as_millis() - now) / 3_600_000;
            assert!((167..=168).contains(&hours), "{time}");
            *member = json!("2026-12-01T12:00:00.000Z");
        }
        ("next_cursor", Value::String(cursor)) => {
            assert_eq!(same_cursor(cursor), CURSOR);
            *member = json!(CURSOR);
        }
        _ => hide(member),
    }
}

/// A text with every run's id replaced by the same one, and the cursor of an address too.
fn same(text: &str) -> String {
    let mut same = String::new();
    let mut rest = text;
    while let Some((at, _)) = rest
        .char_indices()
        .find(|(at, _)| rest.get(*at..at + 36).is_some_and(|id| is_uuid(id, b'7')))
    {
        let (before, after) = rest.split_at(at);
        let (id, after) = after.split_at(36);
        // One that a test has made up stays.
        let id = if id.starts_with("00000000") { id } else { RUN };
        same.push_str(before);
        same.push_str(id);
        rest = after;
    }
    same.push_str(rest);
    if let Some((before, ticket)) = same.clone().split_once("?ticket=") {
        same = format!("{before}?ticket={}", same_ticket(ticket));
    }
    if let Some((before, cursor)) = same.clone().split_once("cursor=") {
        let end = cursor.find(['&', '>']).unwrap_or(cursor.len());
        same = format!(
            "{before}cursor={}{}",
            same_cursor(&cursor[..end]),
            &cursor[end..]
        );
    }
    same
}

/// The ticket of all snapshots in place of one.
fn same_ticket(ticket: &str) -> &'static str {
    let symbol = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(
        ticket.len() == TICKET.len() && ticket.chars().all(symbol),
        "{ticket}"
    );
    TICKET
}

fn same_cursor(cursor: &str) -> &'static str {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(!cursor.is_empty() && cursor.bytes().all(fits), "{cursor}");
    CURSOR
}

fn is_uuid(text: &str, version: u8) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == version,
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// The blocks of a stream without its deltas: how many a reader sees depends on when it comes.
fn stream(text: &str) -> String {
    let blocks = text.split_inclusive("\n\n");
    let durable = blocks.filter(|block| !block.contains("event: turn.delta\n"));
    let lines = durable.flat_map(str::lines).map(|line| {
        line.strip_prefix("data: ").map_or_else(
            || line.to_owned(),
            |data| format!("data: {}", stable(serde_json::from_str(data).unwrap())),
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_hidden_is_checked() {
    let run = "019aaaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
    assert_eq!(
        same(&format!("/api/run/{run}/stop?{run}")),
        format!("/api/run/{RUN}/stop?{RUN}")
    );
    assert_eq!(same("é cursor=abc&x>"), format!("é cursor={CURSOR}&x>"));
    for wrong in [
        json!({"at": "yesterday"}),
        json!({"at": "2000-01-01T00:00:00.000Z"}),
        json!({"duration_ms": 1e9}),
        json!({"request_id": "x"}),
        json!({"next_cursor": "a b"}),
    ] {
        assert!(std::panic::catch_unwind(|| stable(wrong)).is_err());
    }
}
