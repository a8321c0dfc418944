//! The ids of events, which are cursors too.

use std::{fmt, str::FromStr};

/// The id of an event, `seq-n`: ordered by `seq`, then `n`.
///
/// A durable event has `n = 0` and its own `seq`, counted from 1 without gaps. A delta takes the `seq` of the last durable event
/// and counts `n` from 1 without gaps. After a crash the next durable event is `seq + 1`, greater than any id that a client can
/// have seen, so no id is ever used twice. The form is that of a Redis Stream entry id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The last durable event at or before this one.
    pub seq: u64,
    /// Zero for the durable event itself, else the delta's number after it.
    pub n: u64,
}

impl EventId {
    /// Before everything: the cursor of a client that has nothing yet.
    pub const START: Self = Self { seq: 0, n: 0 };

    /// The id of a durable event.
    #[must_use]
    pub fn durable(seq: u64) -> Self {
        Self { seq, n: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.n)
    }
}

/// A text that is no event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id is two numbers of at most 18 digits joined by a hyphen, such as 12-0")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    /// Reads `(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})` and nothing else: one id has one spelling.
    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (seq, n) = text.split_once('-').ok_or(InvalidEventId)?;
        Ok(Self {
            seq: number(seq)?,
            n: number(n)?,
        })
    }
}

fn number(digits: &str) -> Result<u64, InvalidEventId> {
    let well_formed = (1..=18).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if !well_formed {
        return Err(InvalidEventId);
    }
    digits.parse().map_err(|_| InvalidEventId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_ordered_by_seq_then_n() {
        let mut ids = ["2-0", "1-10", "1-9", "10-0"].map(|id| id.parse::<EventId>().unwrap());
        ids.sort();
        assert_eq!(ids.map(|id| id.to_string()), ["1-9", "1-10", "2-0", "10-0"]);
    }

    #[test]
    fn an_event_id_has_one_spelling() {
        for good in ["0-0", "1-0", "999999999999999999-999999999999999999"] {
            assert_eq!(good.parse::<EventId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "01-0",
            "1-00",
            "+1-0",
            "1-0 ",
            " 1-0",
            "1-0-0",
            "a-0",
            "1000000000000000000-0",
            "١-0",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(InvalidEventId), "{bad}");
        }
    }
}
