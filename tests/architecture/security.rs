//! `SECURITY.md` names where each threat is met, and which test or check shows it: what it names must be there.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Everything that the tables of threats name and the tree has not.
fn missing(page: &str, root: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for row in rows(page) {
        let [threat, met, shown] = row.as_slice() else {
            missing.push(format!("a row of three cells: {row:?}"));
            continue;
        };
        let places = code(met).filter(|place| !root.join(file(place)).exists());
        missing.extend(places.map(|place| format!("{threat}: {place}")));
        let checks: Vec<&str> = code(shown).collect();
        if checks.is_empty() {
            missing.push(format!("{threat}: a test or a check"));
        }
        let checks = checks.into_iter().filter(|check| !is_there(check, root));
        missing.extend(checks.map(|check| format!("{threat}: {check}")));
    }
    missing
}

/// The cells of the tables whose last column says what shows it.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut is_of_one = false;
    for line in page.lines() {
        let Some(cells) = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |"))
        else {
            is_of_one &= line.starts_with("|--");
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").collect();
        if cells.last() == Some(&"shown by") {
            is_of_one = true;
        } else if is_of_one {
            rows.push(cells);
        }
    }
    rows
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|code| {
        let is_a_place = ["src/", "tests/", "fuzz/", ".ci/"];
        is_a_place.iter().any(|start| code.starts_with(start)) || code.ends_with(".toml")
    })
}

/// The file that is named, with or without something in it.
fn file(named: &str) -> &str {
    named.split_once(": ").map_or(named, |(file, _)| file)
}

/// Whether that is a test that is there, or a check.
fn is_there(check: &str, root: &Path) -> bool {
    let Some((file, test)) = check.split_once(": ") else {
        return check.starts_with(".ci/") && root.join(check).is_file();
    };
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let head = format!("fn {test}(");
    let mut tests = text.split("#[test]").skip(1);
    let mut waiting = text.split("#[tokio::test").skip(1);
    // The first function behind the attribute is its own.
    let is_it = |after: &str| {
        after
            .find("fn ")
            .is_some_and(|at| after[at..].starts_with(&head))
    };
    tests.any(is_it) || waiting.any(is_it)
}

#[test]
fn what_the_page_on_security_names_is_there() {
    let root = Path::new(ROOT);
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let missing = missing(&page, root);
    assert!(
        missing.is_empty(),
        "SECURITY.md names what is not there:\n{}",
        missing.join("\n")
    );
    assert!(rows(&page).len() > 50, "the tables were not found");
}

#[test]
fn what_is_not_there_is_told() {
    let page = "
| who | may |
|---|---|
| nobody | `tests/nowhere.rs: nothing` |

| threat | met in | shown by |
|---|---|---|
| good | `src/lib.rs` | `tests/architecture/security.rs: what_is_not_there_is_told`, `.ci/run` |
| no place | `src/nowhere.rs` | `.ci/run` |
| no test | `src/lib.rs` | `tests/architecture/security.rs: rows` |
| no file | `src/lib.rs` | `tests/nowhere.rs: rows` |
| no check | `src/lib.rs` | `.ci/nowhere`, `src/lib.rs` |
| nothing | `src/lib.rs` | a look |
| short | `src/lib.rs` |
";
    assert_eq!(
        missing(page, Path::new(ROOT)),
        [
            "no place: src/nowhere.rs",
            "no test: tests/architecture/security.rs: rows",
            "no file: tests/nowhere.rs: rows",
            "no check: .ci/nowhere",
            "no check: src/lib.rs",
            "nothing: a test or a check",
            "a row of three cells: [\"short\", \"`src/lib.rs`\"]",
        ]
    );
}
