//! The client's rule of the stream, and what it makes of events: the text of each turn.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Event;

/// What a client has after the events it was given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) turns: BTreeMap<u64, String>,
    pub(crate) cursor: String,
    pub(crate) last: String,
}

impl Fold {
    /// Append text deltas (those of reasoning are none); `turn.completed`, `turn.interrupted` and `turn.failed` set the turn's text; `turn.restarted` empties
    /// it; no other event touches it.
    pub(crate) fn apply(&mut self, event: &Event) {
        let data = event.json();
        assert_eq!(
            data["type"],
            event.name.as_str(),
            "data carries the event's name"
        );
        assert!(
            order(&event.id) > order(&self.cursor),
            "{} came after {}",
            event.id,
            self.cursor
        );
        self.cursor.clone_from(&event.id);
        self.last.clone_from(&event.name);
        let Some(turn) = data["turn"].as_u64() else {
            return;
        };
        match event.name.as_str() {
            "turn.delta" if data["kind"] == "reasoning" => {}
            "turn.delta" => self
                .turns
                .entry(turn)
                .or_default()
                .push_str(data["text"].as_str().unwrap()),
            "turn.completed" | "turn.interrupted" | "turn.failed" => {
                self.turns
                    .insert(turn, data["text"].as_str().unwrap().to_owned());
            }
            "turn.restarted" => self.turns.entry(turn).or_default().clear(),
            _ => {}
        }
    }

    pub(crate) fn of(events: &[Event]) -> Self {
        let mut fold = Self::default();
        events.iter().for_each(|event| fold.apply(event));
        fold
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(
            self.last.as_str(),
            "run.completed" | "run.stopped" | "run.failed"
        )
    }

    /// The same, made of an export.
    pub(crate) fn turns_of(export: &Value) -> BTreeMap<u64, String> {
        let messages = export["messages"]
            .as_array()
            .expect("an export has messages");
        let turn = |message: &Value| {
            Some((
                message["turn"].as_u64()?,
                message["text"].as_str()?.to_owned(),
            ))
        };
        messages.iter().filter_map(turn).collect()
    }
}

fn order(id: &str) -> (u64, u64) {
    let (seq, n) = id.split_once('-').unwrap_or(("0", "0"));
    (seq.parse().unwrap(), n.parse().unwrap())
}
