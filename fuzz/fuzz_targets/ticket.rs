//! A ticket is what was issued, to the bit, and nothing else is one.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use parley::{
    conversation::{RunId, Timestamp},
    identity::{Ticket, Tickets},
};

static OURS: LazyLock<Tickets> = LazyLock::new(|| tickets("one"));
static OTHERS: LazyLock<Tickets> = LazyLock::new(|| tickets("other"));

fn tickets(key: &str) -> Tickets {
    Tickets::new(&[key.repeat(32).into()], Duration::from_secs(60))
}

fuzz_target!(|input: (u128, i64, u16, String)| {
    let (id, from, bit, made_up) = input;
    // Nobody without the key can make one; a hash that fits by chance is not to be waited for.
    assert_eq!(OURS.read(&made_up), None, "{made_up}");

    let run = RunId::from_uuid(uuid::Uuid::from_u128(id));
    let (text, expires) = OURS.issue(run, Timestamp::from_millis(from));
    assert_eq!(expires.as_millis(), from.saturating_add(60_000));
    assert_eq!(OURS.read(&text), Some(Ticket { run, expires }));
    assert_eq!(OTHERS.read(&text), None);

    let mut altered = text.clone().into_bytes();
    let at = usize::from(bit) % (altered.len() * 8);
    altered[at / 8] ^= 1 << (at % 8);
    if let Ok(altered) = String::from_utf8(altered) {
        assert_eq!(OURS.read(&altered), None, "{text}, altered: {altered}");
    }
    let (head, tail) = text.split_at(at / 8);
    for altered in [
        head.to_owned(),
        format!("{text}{made_up}"),
        format!("{head}{made_up}{tail}"),
    ] {
        assert!(
            altered == text || OURS.read(&altered).is_none(),
            "{text}, altered: {altered}"
        );
    }
});
