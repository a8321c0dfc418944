//! `docs/configuration.md` says of each setting what `file.rs` says of it: its tables are made of those structs, their comments and
//! their defaults, and the page is held against that.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use serde_json::{Map, Value};

use super::{
    Environment,
    file::{BasicUser, File, Issuer, Provider},
    secrets::PLAIN,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
/// What stands between these two is made here.
const BEGIN: &str = "<!-- Made of src/settings/file.rs. Write it anew by `PARLEY_TEST_DOCS=write cargo test --lib settings::page`. -->\n";
const END: &str = "<!-- The end of what is made. -->\n";

#[test]
fn the_page_says_of_each_setting_what_the_code_says() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect(BEGIN);
    let (written, after) = rest.split_once(END).expect(END);
    let made = tables();
    let asked = Environment::from_process().unwrap();
    if asked.get("PARLEY_TEST_DOCS") == Some("write") {
        fs::write(PAGE, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    let differs = made.lines().zip(written.lines()).find(|(a, b)| a != b);
    assert!(
        made == written,
        "docs/configuration.md is out of date; write it anew by `PARLEY_TEST_DOCS=write cargo test --lib settings::page`. \
         The first line that differs (code, page): {differs:#?}"
    );
}

#[test]
fn every_variable_that_is_read_stands_on_the_page() {
    let page = fs::read_to_string(PAGE).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::from(["PORT", "HOST", "BINDING"].map(str::to_owned));
    for folder in ["settings", "app"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("tests.rs") {
                continue;
            }
            let source = fs::read_to_string(path).unwrap();
            let code = source
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            names.extend(
                code.split('"')
                    .filter(|text| is_variable(text))
                    .map(str::to_owned),
            );
        }
    }
    assert!(names.contains("RUN_MAX_TURNS"), "{names:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md does not name {missing:?}"
    );
}

/// What the code says of files: which names may have one, and what is wrong with one.
#[test]
fn the_rules_of_secrets_in_files_stand_on_the_page() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (_, rules) = page.split_once("\n**Secrets from files**: ").unwrap();
    let (rules, _) = rules.split_once("\n\n").unwrap();
    let secrets = [
        "DATABASE_URL",
        "REDIS_URL",
        "BASIC_AUTH_PW_HASH",
        "PARLEY_SECRET",
    ];
    let by_name = ["api_key_env", "password_hash_env", "client_secret_env"];
    for word in secrets.iter().chain(&by_name) {
        assert!(rules.contains(&format!("`{word}`")), "{word}: {rules}");
    }
    for word in [
        "64 KiB",
        "UTF-8",
        "never by the path",
        "operations.md#secrets-in-files",
    ] {
        assert!(rules.contains(word), "{word}: {rules}");
    }
    // Each name of the table that holds no secret is known as such, so that a file for it is warned of.
    let (_, table) = page.split_once("\n## Environment\n").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.take_while(|row| !row.starts_with("server.port"));
    let names = rows.filter_map(|row| row.split(" | ").next());
    let names = names.flat_map(|names| names.split('`'));
    let capitals =
        |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let is_secret = |name: &&str| secrets.contains(name) || name.ends_with("_API_KEY");
    let plain = names.filter(capitals);
    let plain = plain.filter(|name| !is_secret(name) && !name.ends_with("_BASE_URL"));
    let plain: BTreeSet<&str> = plain.collect();
    assert_eq!(plain, PLAIN.iter().copied().collect::<BTreeSet<&str>>());
}

fn is_variable(text: &str) -> bool {
    let capitals = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    text.contains('_')
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(capitals)
        && !["CARGO_", "PARLEY_TEST_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

/// What one of many has where it says nothing.
fn defaults_of(key: &str) -> Value {
    let defaults = match key {
        "providers" => serde_json::to_value(Provider::default()),
        "users" => serde_json::to_value(BasicUser::default()),
        "oidc" => serde_json::to_value(Issuer::default()),
        other => panic!("whose defaults are those of {other}?"),
    };
    defaults.unwrap()
}

/// The schema of the file, and the tables that are made of it.
struct Page {
    schema: Value,
    text: String,
}

fn tables() -> String {
    let schema = schemars::schema_for!(File).to_value();
    let root = schema.clone();
    let mut page = Page {
        schema,
        text: String::new(),
    };
    page.group(
        "settings",
        &root,
        &serde_json::to_value(File::default()).unwrap(),
    );
    page.text
}

impl Page {
    /// A struct: a table of its own keys, and then a table for each struct in it.
    fn group(&mut self, path: &str, schema: &Value, defaults: &Value) {
        let properties = schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let mut inner = Vec::new();
        let mut rows = String::new();
        // In the order of the alphabet, whatever order a feature of some library gives to maps.
        for (key, property) in properties
            .iter()
            .collect::<std::collections::BTreeMap<_, _>>()
        {
            if let Some(group) = self.struct_of(property) {
                inner.push((format!("{path}.{key}"), group, defaults[key].clone()));
            } else if let Some(group) = self.struct_of(&property["additionalProperties"]) {
                inner.push((format!("{path}.{key}.<name>"), group, defaults_of(key)));
            } else if let Some(group) = self.struct_of(&property["items"]) {
                inner.push((format!("{path}.{key}[]"), group, defaults_of(key)));
            } else {
                rows += &self.row(path, key, property, &defaults[key]);
            }
        }
        if !rows.is_empty() {
            let _ = writeln!(self.text, "\n### `{path}`\n");
            if path != "settings" {
                let introduction = schema["description"].as_str().unwrap_or_default();
                assert!(
                    !introduction.is_empty(),
                    "the struct of {path} has no doc comment"
                );
                let _ = writeln!(self.text, "{introduction}\n");
            }
            self.text +=
                "| key | value | default | environment | what it means |\n|---|---|---|---|---|\n";
            self.text += &rows;
        }
        for (path, schema, defaults) in inner {
            self.group(&path, &schema, &defaults);
        }
        if path == "settings" {
            self.text += "\n";
        }
    }

    fn row(&self, path: &str, key: &str, property: &Value, default: &Value) -> String {
        let said = property["description"].as_str().unwrap_or_default();
        assert!(
            !said.is_empty(),
            "{path}.{key} has no doc comment in src/settings/file.rs"
        );
        let (meaning, variable) = match said.split_once("Environment: ") {
            Some((meaning, variable)) => (meaning, variable.trim_end_matches('.')),
            None => (said, ""),
        };
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        let default = match default {
            Value::Null => "not set".to_owned(),
            value if value == &Value::Array(Vec::new()) || value == &Value::Object(Map::new()) => {
                "none".to_owned()
            }
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        };
        let cells = [
            &format!("`{key}`"),
            &self.value(key, property),
            &default,
            variable,
            &meaning,
        ];
        format!(
            "| {} |\n",
            cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
        )
    }

    /// What may stand there, and in which unit.
    fn value(&self, key: &str, schema: &Value) -> String {
        let choices = self.choices(schema);
        if !choices.is_empty() {
            return choices.join(", ");
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find_map(Value::as_str).unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind {
            "boolean" => "`true`, `false`".to_owned(),
            "string" => "text".to_owned(),
            "number" => "a number".to_owned(),
            "array" => "a list of texts".to_owned(),
            "object" => "texts by name".to_owned(),
            "integer" => {
                let units = [
                    ("_ms", "milliseconds"),
                    ("_seconds", "seconds"),
                    ("_bytes", "bytes"),
                    ("_per_minute", "a number a minute"),
                ];
                let unit = units.iter().find(|(suffix, _)| key.ends_with(suffix));
                let unit = unit.map_or("a number", |(_, unit)| unit);
                let least = &schema["minimum"];
                match schema["maximum"].as_u64() {
                    None | Some(u64::MAX) => format!("{unit}, {least} or more"),
                    Some(most) => format!("{unit}, {least} to {most}"),
                }
            }
            other => panic!("{key}: how is {other:?} to be called? {schema}"),
        }
    }

    /// The words of an enum.
    fn choices(&self, schema: &Value) -> Vec<String> {
        if let Some(word) = schema["const"].as_str() {
            return vec![format!("`{word}`")];
        }
        if let Some(inner) = self.resolved(schema) {
            return self.choices(inner);
        }
        let words = |key: &str| schema[key].as_array().into_iter().flatten();
        let listed = words("enum")
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"));
        let inner = words("oneOf").chain(words("anyOf"));
        listed
            .chain(inner.flat_map(|inner| self.choices(inner)))
            .collect()
    }

    /// The struct that a property is, if it is one.
    fn struct_of(&self, property: &Value) -> Option<Value> {
        let schema = self.resolved(property)?;
        schema["properties"].is_object().then(|| schema.clone())
    }

    fn resolved(&self, schema: &Value) -> Option<&Value> {
        self.schema
            .pointer(schema["$ref"].as_str()?.strip_prefix('#')?)
    }
}
