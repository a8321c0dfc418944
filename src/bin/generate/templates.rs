//! Loco renders each template by itself, so none can take a part from another: what has to be the same in several is held so here.

use std::fs;

fn template(name: &str) -> String {
    let path = format!("{}/.loco-templates/{name}.t", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

/// From the first line that begins so to the last that ends so.
fn part(name: &str, begin: &str, end: &str) -> String {
    let text = template(name);
    let from = text
        .find(begin)
        .unwrap_or_else(|| panic!("{name}: {begin}"));
    let to = text.rfind(end).unwrap_or_else(|| panic!("{name}: {end}"));
    text[from..to].to_owned()
}

/// The first line of the file that is written says what it is; all else is the same.
#[test]
fn references_are_added_as_columns_are() {
    let but_for_its_head = |name| {
        let text = template(name);
        let lines = text.lines().filter(|line| !line.starts_with("//!"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        but_for_its_head("migration/add_columns"),
        but_for_its_head("migration/add_references")
    );
}

#[test]
fn a_type_is_the_same_column_in_every_step() {
    let types = |name| part(name, "{% set stem = c.1", "{% set column = make ~ '(\"'");
    let added = types("migration/add_columns");
    assert!(added.contains("TimestampWithTimeZone"));
    for other in ["migration/remove_columns", "migration/join_table"] {
        assert_eq!(types(other), added, "{other}");
    }
}

#[test]
fn a_model_and_its_test_read_their_fields_alike() {
    let head = |name| part(name, "{# A field", "{% set timed = false -%}");
    let model = head("model/model");
    assert!(model.lines().count() > 50);
    assert_eq!(head("model/test"), model);
}
