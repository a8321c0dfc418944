//! Which fields can be given to what is generated.

use std::collections::HashSet;

use super::names::identifier;

/// Where a field goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// A table that is made with it.
    NewTable,
    /// A table that is there and may have rows.
    OldTable,
}

/// The types that fit.
const TYPES: &str = "string text uuid bool tstz json jsonb float double small_int int big_int small_unsigned unsigned \
                     big_unsigned references";

/// What has no place in the schema, and what to say instead. One schema serves SQLite and PostgreSQL: times are milliseconds, JSON is
/// text.
const ELSEWHERE: [(&str, &str); 11] = [
    ("array", "only PostgreSQL has arrays: say json"),
    (
        "binary_len",
        "the API speaks JSON: say text, and encode the bytes",
    ),
    (
        "blob",
        "the API speaks JSON: say text, and encode the bytes",
    ),
    ("date", "say tstz for a moment, or string"),
    ("date_time", "without a time zone it is no moment: say tstz"),
    ("decimal", "say big_int, of the smallest unit"),
    ("decimal_len", "say big_int, of the smallest unit"),
    (
        "enum",
        "say string!, and check its words in src/conversation",
    ),
    ("money", "say big_int, of the smallest unit"),
    ("time", "say tstz for a moment, or string"),
    (
        "var_binary",
        "the API speaks JSON: say text, and encode the bytes",
    ),
];

/// Names that every row has, or whose values differ from run to run and are hidden in snapshots.
const TAKEN: [&str; 11] = [
    "at",
    "create_at",
    "created_at",
    "duration_ms",
    "finished_at",
    "first_delta_ms",
    "id",
    "next_cursor",
    "request_id",
    "started_at",
    "update_at",
];

/// Makes sure that all fit. Each is `name:type`, with `!` for not null and `^` for unique.
///
/// # Errors
/// The first that does not, and what to say instead.
pub(super) fn check(fields: &[&str], into: Into) -> Result<(), String> {
    let mut seen = HashSet::new();
    for field in fields {
        // Loco says what is wrong with one that has no type.
        let Some((name, spec)) = field.split_once(':') else {
            continue;
        };
        let column = named(name, spec)?;
        if !seen.insert(column.clone()) {
            return Err(format!("{column}: is there twice"));
        }
        typed(name, spec, into).map_err(|reason| format!("{field}: {reason}"))?;
    }
    Ok(())
}

/// The column of the field.
fn named(name: &str, spec: &str) -> Result<String, String> {
    let lower = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !lower {
        return Err(format!(
            "{name:?}: a column has lower-case letters, digits and _"
        ));
    }
    identifier(name)?;
    let reference = spec.trim_end_matches('?').starts_with("references");
    let column = match spec.split_once(':') {
        Some((_, column)) if reference => column.to_owned(),
        _ if reference => format!("{name}_id"),
        _ => name.to_owned(),
    };
    identifier(&column)?;
    if TAKEN.contains(&column.as_str()) || column == "updated_at" {
        return Err(format!("{column}: is taken: choose another name"));
    }
    if reference && !column.ends_with("_id") {
        return Err(format!("{column}: the column of a reference ends in _id"));
    }
    if !reference && column.ends_with("_id") && !spec.starts_with("uuid") {
        return Err(format!(
            "{column}: what ends in _id is a reference or a UUID: say {}:references",
            column.trim_end_matches("_id")
        ));
    }
    Ok(column)
}

fn typed(name: &str, spec: &str, into: Into) -> Result<(), String> {
    let kind = spec.split([':', '!', '^', '?']).next().unwrap_or_default();
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(word, _)| *word == kind) {
        return Err(format!("there is no {kind} here: {instead}"));
    }
    if !TYPES.split_whitespace().any(|word| word == kind) {
        return Err(format!("there is no type {kind:?}; those are: {TYPES}"));
    }
    if spec.contains('^') {
        if matches!(kind, "text" | "json" | "jsonb") {
            return Err(format!(
                "{kind} is too long for an index, so it cannot be unique: say string^"
            ));
        }
        if into == Into::OldTable {
            return Err(format!(
                "rows that are there would all have the same {name}, so it cannot be unique: add it without ^, fill it, and make its \
                 index in a migration of its own"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(field: &str) -> String {
        check(&[field], Into::NewTable).err().unwrap_or_default()
    }

    #[test]
    fn every_type_fits_or_is_refused_with_another_in_its_place() {
        for kind in TYPES.split_whitespace() {
            assert_eq!(told(&format!("a:{kind}")), "", "{kind}");
        }
        for (kind, instead) in ELSEWHERE {
            for spec in [kind.to_owned(), format!("{kind}!"), format!("{kind}:a:b^")] {
                assert!(told(&format!("a:{spec}")).ends_with(instead), "{spec}");
            }
        }
        assert!(told("a:timestamp").contains("those are: string"));
    }

    #[test]
    fn a_column_has_a_name_of_its_own() {
        for good in [
            "a:references?",
            "a:references:b_id",
            "a_id:uuid!",
            "a:bool!",
            "a:string!^",
        ] {
            assert_eq!(told(good), "", "{good}");
        }
        for bad in [
            "id:int",
            "type:string",
            "A:int",
            "a_id:int",
            "a:references:b",
            "updated_at:tstz",
            "a:text^",
            "9:int",
        ] {
            assert_ne!(told(bad), "", "{bad}");
        }
        assert!(check(&["a:references", "a_id:uuid"], Into::NewTable).is_err());
        assert!(check(&["a:string^"], Into::OldTable).is_err());
    }
}
