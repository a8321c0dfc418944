//! A provider's answer, by each API: parts in their order, the same wherever the body is cut, and never the key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parley::providers::{Part, fuzzing::Speaker};
use parley_fuzz::{pieces, run};

/// What must not be told.
const KEY: &str = "key-0123456789abcdef";

fuzz_target!(|input: &[u8]| {
    let [api, tags, number, body @ ..] = input else {
        return;
    };
    let speaker = Speaker::any(*api, tags % 2 == 1);
    let (parts, failure) = run(speaker.answer(KEY, &[body]));
    let (cut, failure_when_cut) = run(speaker.answer(KEY, &pieces(body, *number)));
    assert_eq!(parts, cut);
    assert_eq!(
        failure.as_ref().map(|failure| &failure.failure),
        failure_when_cut.as_ref().map(|failure| &failure.failure)
    );

    let (mut text, mut reasoning, mut refusal) = (String::new(), String::new(), String::new());
    let mut finished = false;
    for part in &parts {
        let (all, words) = match part {
            Part::Text(words) => (&mut text, words),
            Part::Reasoning(words) => (&mut reasoning, words),
            Part::Refusal(words) => (&mut refusal, words),
            Part::Usage(_) => continue,
            Part::Finished(_) => {
                assert!(!finished, "finished twice: {parts:?}");
                finished = true;
                continue;
            }
        };
        assert!(!finished, "words after the end: {parts:?}");
        assert!(!words.is_empty(), "an empty part: {parts:?}");
        assert!(!words.contains('\0'), "U+0000: {parts:?}");
        all.push_str(words);
    }
    // Complete only where the provider has said so.
    assert_eq!(finished, failure.is_none(), "{parts:?} {failure:?}");
    let message = failure
        .map(|failure| failure.failure.message)
        .unwrap_or_default();
    assert!(message.chars().count() <= 501, "{message}");
    assert!(!message.contains(char::is_control), "{message:?}");
    for told in [text, reasoning, refusal, message] {
        assert!(!told.contains(KEY), "{told}");
    }
});
