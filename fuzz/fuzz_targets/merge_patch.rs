//! A change of a bot (RFC 7396): it counts once, and what comes out of it keeps the rules.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use parley::conversation::{Bot, BotSpec};
use serde_json::{Map, Value};

static BOT: LazyLock<Bot> = LazyLock::new(|| {
    let spec = serde_json::json!({
        "name": "Ann", "provider": "openai", "model": "m", "system_prompt": "Be brief.",
        "params": {"max_tokens": 5, "stop": ["x"], "temperature": 0.5},
        "fallback": [{"provider": "p", "model": "q"}]});
    Bot::from_spec(serde_json::from_value::<BotSpec>(spec).unwrap(), 0, 1)
});

/// RFC 7396, section 2, by the letter.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = target.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let merged = merged(target.get(name).unwrap_or(&Value::Null), value);
            target.insert(name.clone(), merged);
        }
    }
    Value::Object(target)
}

fuzz_target!(|body: &[u8]| {
    let Ok(patch) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return;
    };
    let whole = merged(&Value::Object(BOT.members()), &Value::Object(patch.clone()));
    let expected = serde_json::from_value::<BotSpec>(whole);
    let next = match BOT.patched(&patch) {
        Ok(next) => next,
        Err(violations) => return assert!(!violations.is_empty()),
    };
    let expected = expected.expect("a bot, as the standard has it");
    assert_eq!(next, Bot::from_spec(expected, 0, next.version));
    assert_eq!(next.index, BOT.index);
    let changed = !next.changes_since(&BOT).is_empty();
    assert_eq!(next.version, BOT.version + u32::from(changed), "{patch:?}");
    // Once more changes nothing more.
    assert_eq!(next.patched(&patch).as_ref(), Ok(&next));
});
