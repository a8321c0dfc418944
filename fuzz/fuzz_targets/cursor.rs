//! Cursors have one spelling, and words of a search nothing but letters and digits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parley::conversation::{EventId, HistoryCursor, HistoryFilter, RunId, RunStatus, words};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string(), text);
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
        );
        assert!(EventId::durable(id.seq) <= id);
    }
    if let Ok(id) = text.parse::<RunId>() {
        assert_eq!(id.to_string(), text);
    }

    let all = HistoryFilter::default();
    let found = words(text);
    for word in &found {
        assert!(
            !word.is_empty() && word.chars().all(char::is_alphanumeric),
            "{word:?}"
        );
        // A database's word is found by itself.
        assert!(words(word).contains(word), "{word:?}");
    }
    let filtered = HistoryFilter {
        status: Some(RunStatus::Failed),
        words: found.into_iter().collect(),
        ..HistoryFilter::default()
    };
    for (filter, other) in [(&all, &filtered), (&filtered, &all)] {
        let Ok(cursor) = HistoryCursor::read(text, filter) else {
            continue;
        };
        assert_eq!(cursor.to_text(filter), text);
        assert!(HistoryCursor::read(text, other).is_err());
    }
});
