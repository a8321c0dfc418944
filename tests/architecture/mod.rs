//! The house as a test: which room may name which, which outside crate stays in which room, how every room introduces itself,
//! and how long a file may be. And what `SECURITY.md` names is there.
//!
//! The sources are read as text. `tokens` leaves comments and literals out, `paths` finds what is named and resolves `super` and
//! groups, `rules` is the table, `check` holds one against the other. `checker` proves that the checker can fail.

mod check;
mod checker;
mod paths;
mod rules;
mod security;
mod tokens;

use std::path::Path;

use check::{Source, check};
use rules::ROOMS;

fn sources() -> Vec<Source> {
    Source::read_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn the_table_names_no_room_that_is_gone() {
    let sources = sources();
    for (room, _) in ROOMS {
        assert!(
            sources.iter().any(|source| source.room() == *room),
            "src has no room `{room}` (tests/architecture/rules.rs)"
        );
    }
}

#[test]
fn the_sources_keep_to_the_rooms_and_arrows() {
    let violations = check(&sources());
    assert!(
        violations.is_empty(),
        "{} violations of the house's rules (tests/architecture/rules.rs):\n{}",
        violations.len(),
        violations.join("\n")
    );
}
