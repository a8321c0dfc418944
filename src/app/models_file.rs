//! What is known of models: our own file, which is part of the program, and the operator's over it.

use serde_json::Value;

use crate::{conversation::Catalogue, settings::Settings};

/// Ours.
const OURS: &str = include_str!("../../config/models.yaml");

/// Reads both.
///
/// # Errors
/// All mistakes of a file, each with its place.
pub(super) fn catalogue(settings: &Settings) -> Result<Catalogue, String> {
    let mut names = vec!["config/models.yaml".to_owned()];
    let mut files = vec![parsed(OURS).map_err(|reason| format!("{}: {reason}", names[0]))?];
    if let Some(path) = &settings.models_file {
        let name = format!("settings.models_file {}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let file = text.and_then(|text| parsed(&text));
        files.push(file.map_err(|reason| format!("{name}: {reason}"))?);
        names.push(name);
    }
    let providers = settings.providers.iter();
    let mut known: Vec<&str> = providers
        .flat_map(|provider| [provider.name.as_str(), provider.kind])
        .collect();
    known.sort_unstable();
    known.dedup();
    Catalogue::new(&files, &known).map_err(|(file, mistakes)| {
        let name = names.get(file).map(String::as_str).unwrap_or_default();
        let lines = mistakes
            .iter()
            .map(|mistake| format!("\n  {}: {}", mistake.pointer, mistake.reason));
        let count = mistakes.len();
        format!(
            "{name} has {count} mistake(s):{}",
            lines.collect::<String>()
        )
    })
}

/// YAML as JSON. A key that stands there twice is a mistake: JSON's own map would keep the last one in silence.
fn parsed(text: &str) -> Result<Value, String> {
    let yaml: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(text).map_err(|error| format!("is no YAML: {error}"))?;
    serde_json::to_value(yaml).map_err(|error| format!("has something that JSON has not: {error}"))
}
