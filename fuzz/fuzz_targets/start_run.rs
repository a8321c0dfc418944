//! The order to start a run: what is planned keeps the rules.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use parley::conversation::{MAX_TEXT_BYTES, Object, StartRun};

fuzz_target!(|body: &[u8]| {
    let Ok(Object(order)) = serde_json::from_slice::<Object<StartRun>>(body) else {
        return;
    };
    let plan = match order.clone().plan(50) {
        Ok(plan) => plan,
        Err(violations) => {
            assert!(!violations.is_empty());
            // Each of them has its place.
            return assert!(
                violations
                    .iter()
                    .all(|violation| violation.pointer.starts_with('/')),
                "{violations:?}"
            );
        }
    };
    assert_eq!(plan, order.plan(50).unwrap());
    assert!((2..=8).contains(&plan.bots.len()) && (1..=50).contains(&plan.max_turns));
    assert!(
        !plan.topic.trim().is_empty()
            && plan.topic.len() <= MAX_TEXT_BYTES
            && !plan.topic.contains('\0')
    );
    let names: HashSet<&str> = plan.bots.iter().map(|bot| bot.name.as_str()).collect();
    assert_eq!(names.len(), plan.bots.len());
    for bot in &plan.bots {
        assert!(!bot.name.contains(char::is_control) && !bot.model.contains(char::is_control));
        assert!(
            bot.system_prompt
                .as_ref()
                .is_none_or(|text| text.len() <= MAX_TEXT_BYTES && !text.contains('\0'))
        );
        assert!((1..=5).contains(&bot.targets().len()));
        // What a bot is shown as makes the same bot again.
        assert_eq!(bot.patched(&bot.members()).as_ref(), Ok(bot));
    }
});
