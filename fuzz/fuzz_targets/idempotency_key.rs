//! `Idempotency-Key`: visible characters, in quotes or without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parley::conversation::IdempotencyKey;

fn read(header: &[u8]) -> Option<String> {
    let key = IdempotencyKey::read("POST /".to_owned(), header, "hash".to_owned()).ok()?;
    assert_eq!(
        (key.route.as_str(), key.body_hash.as_str()),
        ("POST /", "hash")
    );
    Some(key.key)
}

fuzz_target!(|header: &[u8]| {
    let visible = header.iter().all(u8::is_ascii_graphic);
    let Some(key) = read(header) else {
        let quoted = header.len() >= 2 && header.starts_with(b"\"") && header.ends_with(b"\"");
        let length = if quoted {
            header.len() - 2
        } else {
            header.len()
        };
        return assert!(!visible || !(1..=255).contains(&length), "{header:?}");
    };
    assert!(visible && (1..=255).contains(&key.len()));
    assert!(header == key.as_bytes() || header == format!("\"{key}\"").as_bytes());
    // Each key can be said in quotes.
    assert_eq!(read(format!("\"{key}\"").as_bytes()), Some(key));
});
