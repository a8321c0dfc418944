//! Which names can be given to what is generated.

use cruet::{to_plural, to_singular, to_snake_case};

/// Rust's own words, and those that Rust keeps for itself.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Nouns whose two forms the templates would not tell apart as Loco does, and what to say instead.
const IRREGULAR: [(&str, &str); 17] = [
    ("alumni", "graduate"),
    ("children", "child"),
    ("criteria", "criterion"),
    ("data", "record"),
    ("feet", "foot"),
    ("geese", "goose"),
    ("media", "medium"),
    ("men", "man"),
    ("mice", "mouse"),
    ("movies", "film"),
    ("news", "report"),
    ("oxen", "ox"),
    ("people", "person"),
    ("series", "sequence"),
    ("species", "kind"),
    ("teeth", "tooth"),
    ("women", "woman"),
];

/// Makes sure that it can be the name of a module, of a type and of a function.
///
/// # Errors
/// Why it cannot.
pub(super) fn identifier(name: &str) -> Result<(), String> {
    let form = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !form {
        return Err(format!(
            "{name:?} is no name: letters, digits and _, a letter first"
        ));
    }
    if KEYWORDS.contains(&name.to_lowercase().as_str()) {
        return Err(format!(
            "{name:?} is a word of Rust's own: choose another name"
        ));
    }
    Ok(())
}

/// Makes sure that it is a name of a thing, in the singular or in a plural that is regular.
///
/// # Errors
/// Why it is not, and what to say instead.
pub(super) fn noun(name: &str) -> Result<(), String> {
    identifier(name)?;
    let lower = name.to_lowercase();
    if let Some((_, instead)) = IRREGULAR
        .iter()
        .find(|(word, _)| lower.rsplit('_').next() == Some(word))
    {
        return Err(format!(
            "{name:?} is irregular: say {instead:?}, or another word"
        ));
    }
    // Each of them may lose an `s` or an `es`.
    if ["ses", "zes", "ves", "oes"]
        .iter()
        .any(|end| lower.ends_with(end))
    {
        return Err(format!("say {name:?} in the singular"));
    }
    // One half of the files is named by the templates, the other by Loco: both must see the same two forms in it.
    let snake = to_snake_case(name);
    let one = singular(&snake);
    if to_singular(&snake) != one || to_plural(&one) != to_plural(&snake) {
        return Err(format!(
            "{name:?} is irregular ({:?}, {:?}): say another word",
            to_singular(&snake),
            to_plural(&snake)
        ));
    }
    Ok(())
}

/// Makes sure that the words of the conversation have neither this type nor its form already.
///
/// # Errors
/// That they have.
pub(super) fn free(kind: &str, words: &str) -> Result<(), String> {
    for taken in [kind.to_owned(), format!("{kind}Form")] {
        let mut words = words.split(|c: char| !c.is_alphanumeric());
        if words.any(|word| word == taken) {
            return Err(format!(
                "{taken} is a word of the conversation already (src/conversation): choose another name"
            ));
        }
    }
    Ok(())
}

/// As the templates make it.
pub(super) fn singular(name: &str) -> String {
    if let Some(stem) = name.strip_suffix("ies") {
        return format!("{stem}y");
    }
    for end in ["xes", "ches", "shes"] {
        if name.ends_with(end) {
            return name.trim_end_matches("es").to_owned();
        }
    }
    let keeps = ["ss", "us", "is"].iter().any(|end| name.ends_with(end));
    let stem = name.strip_suffix('s').filter(|_| !keeps);
    stem.unwrap_or(name).to_owned()
}

/// As a type is called.
pub(super) fn pascal(name: &str) -> String {
    let parts = name.split('_').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, rest) = part.split_at(1);
            first.to_uppercase() + rest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_has_a_regular_plural() {
        for good in [
            "label",
            "labels",
            "categories",
            "boxes",
            "inbox",
            "address",
            "status",
            "BlogPost",
            "specimen",
            "index",
            "matrix",
        ] {
            assert_eq!(noun(good), Ok(()), "{good}");
        }
        for bad in [
            "people",
            "statuses",
            "shelves",
            "",
            "a-b",
            "1st",
            "self",
            "box",
            "é",
            "alias",
            "user_alias",
            "indices",
        ] {
            assert!(noun(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_is_given_once() {
        let words = "pub use run::{EndReason, RunId};\npub use bot::Bot;";
        assert_eq!(free("Label", words), Ok(()));
        for taken in ["Bot", "EndReason", "RunId"] {
            assert!(free(taken, words).is_err(), "{taken}");
        }
        let one: Vec<String> = ["Boxes", "Categories", "Address", "Status", "Label"]
            .iter()
            .map(|name| singular(name))
            .collect();
        assert_eq!(one, ["Box", "Category", "Address", "Status", "Label"]);
    }
}
