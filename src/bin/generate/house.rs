//! What the house has already: a generator that meets it would write half of what it should, and name it twice.

use std::{collections::BTreeSet, fs, path::Path};

use cruet::{to_plural, to_snake_case};

use super::names::{self, pascal, singular};

/// The rooms in which a module of that kind gets a file.
fn rooms(kind: &str) -> &'static [&'static str] {
    match kind {
        "scaffold" | "model" => &[
            "src/conversation",
            "src/models",
            "src/models/_entities",
            "src/orchestrator",
            "src/views",
            "src/controllers",
            "tests/models",
            "tests/requests",
        ],
        "controller" => &["src/controllers", "src/views", "tests/requests"],
        "data" => &["src/conversation"],
        "task" => &["src/tasks", "tests/commands"],
        "worker" => &["src/workers", "tests/workers"],
        _ => &[],
    }
}

/// Modules by their paths without the ending, the words of the conversation, tables.
#[derive(Debug, Default)]
pub(super) struct House {
    modules: BTreeSet<String>,
    words: String,
    tables: BTreeSet<String>,
}

impl House {
    /// The one in whose folder this is called.
    pub(super) fn here() -> Self {
        let kinds = ["scaffold", "controller", "data", "task", "worker"];
        let mut house = Self {
            words: fs::read_to_string("src/conversation/mod.rs").unwrap_or_default(),
            tables: parley::models::TABLES
                .iter()
                .map(|&table| table.to_owned())
                .collect(),
            ..Self::default()
        };
        for room in kinds.into_iter().flat_map(rooms) {
            for file in fs::read_dir(Path::new(room))
                .into_iter()
                .flatten()
                .flatten()
            {
                let file = file.path();
                if let Some(module) = file.file_stem().and_then(|stem| stem.to_str()) {
                    house.modules.insert(format!("{room}/{module}"));
                }
            }
        }
        house
    }

    /// Makes sure that what is generated under that name finds its place empty.
    ///
    /// # Errors
    /// What stands there.
    pub(super) fn is_free(&self, kind: &str, name: &str) -> Result<(), String> {
        let snake = to_snake_case(name);
        let forms = match kind {
            "scaffold" | "model" | "controller" => {
                vec![snake.clone(), singular(&snake), to_plural(&snake)]
            }
            _ => vec![snake],
        };
        for room in rooms(kind) {
            for form in &forms {
                let module = format!("{room}/{form}");
                if self.modules.contains(&module) {
                    return Err(format!(
                        "{name}: there is {module} already: choose another name"
                    ));
                }
            }
        }
        match kind {
            "scaffold" | "model" => {
                self.has_no_table(&to_plural(&to_snake_case(name)))?;
                names::free(&singular(&pascal(name)), &self.words)
            }
            "data" => names::free(&pascal(name), &self.words),
            _ => Ok(()),
        }
    }

    /// Makes sure that no table is called so.
    ///
    /// # Errors
    /// That there is one.
    pub(super) fn has_no_table(&self, table: &str) -> Result<(), String> {
        if self.tables.contains(table) {
            return Err(format!(
                "there is a table {table} already: choose another name"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_house_has_is_found() {
        let house = House::here();
        for (kind, taken) in [
            (
                "scaffold",
                "event events attempt command node export stream doc provider plan StopReason",
            ),
            ("model", "run message IdempotencyKey"),
            ("controller", "run provider providers raw"),
            ("data", "catalogue usage bot_spec"),
            ("task", "prune doctor"),
            ("worker", "run"),
        ] {
            for name in taken.split(' ') {
                assert!(house.is_free(kind, name).is_err(), "{kind} {name}");
            }
        }
        for kind in ["scaffold", "model", "controller", "data", "task", "worker"] {
            assert_eq!(house.is_free(kind, "quagga"), Ok(()), "{kind}");
        }
        assert!(house.has_no_table("events").is_err());
    }

    #[test]
    fn a_name_is_taken_in_both_of_its_forms() {
        let house = House {
            modules: ["src/controllers/reports", "src/views/page"]
                .map(str::to_owned)
                .into(),
            ..House::default()
        };
        for name in ["report", "reports", "Page", "pages"] {
            assert!(house.is_free("controller", name).is_err(), "{name}");
        }
        assert_eq!(house.is_free("worker", "report"), Ok(()));
    }
}
