{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
to: "src/conversation/{{module}}.rs"
skip_exists: true
message: "The data are in assets/{{module}}/data.json, their type and their rules in src/conversation/{{module}}.rs: `cargo test {{module}}`."
injections:
- into: "src/conversation/mod.rs"
  before: "^mod "
  content: "mod {{module}};"
- into: "src/conversation/mod.rs"
  before: "^pub use "
  content: "pub use {{module}}::{ {{- type}}, {{module -}} };"
---
//! The data of `assets/{{module}}/data.json`, which are part of the program: nothing is read while it runs.

use std::sync::LazyLock;

use serde::Deserialize;

/// The file.
const FILE: &str = include_str!("../../assets/{{module}}/data.json");

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct {{type}} {
    /// All names, each once.
    pub names: Vec<String>,
}

impl {{type}} {
    /// Reads a file and checks every rule.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let data: Self =
            serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        for (at, name) in data.names.iter().enumerate() {
            if data.names[..at].contains(name) {
                return Err(format!("names[{at}]: {name} is there twice"));
            }
        }
        Ok(data)
    }
}

/// The data. A test reads the file with its errors, so what is here is never the default.
#[must_use]
pub fn {{module}}() -> &'static {{type}} {
    static DATA: LazyLock<{{type}}> = LazyLock::new(|| {{type}}::read(FILE).unwrap_or_default());
    &DATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_{{module}}_is_right() {
        assert_eq!({{type}}::read(FILE).as_ref(), Ok({{module}}()));
        assert!(!{{module}}().names.is_empty());
    }

    #[test]
    fn a_mistake_in_{{module}}_is_told_with_its_place() {
        for (text, place) in [
            (r#"{"names": ["a", 1]}"#, "names[1]"),
            (r#"{"names": ["a", "a"]}"#, "names[1]"),
            (r#"{"names": [], "more": 1}"#, "more"),
            ("{} {}", "names"),
        ] {
            let told = {{type}}::read(text).unwrap_err();
            assert!(told.contains(place), "{text}: {told}");
        }
    }
}
