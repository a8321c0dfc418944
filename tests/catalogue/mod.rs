//! What is known of models, through the API: which parameters are taken, what things cost, and what an operator says over it.

mod costs;
mod facts;
mod fifty_turns;
mod operator;
mod params;

use parley::conversation::Catalogue;
use serde_json::{Value, json};

use crate::providers::{ANTHROPIC, GEMINI, OPENAI};

/// Our file as it stands.
pub(crate) fn our_file() -> Value {
    let text = std::fs::read_to_string("config/models.yaml").unwrap();
    let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    serde_json::to_value(yaml).unwrap()
}

/// What our file says.
pub(crate) fn ours() -> Catalogue {
    Catalogue::new(&[our_file()], &[OPENAI, ANTHROPIC, GEMINI]).unwrap()
}

/// A file of an operator's, for as long as the test lives.
pub(crate) struct ModelsFile(tempfile::NamedTempFile);

impl ModelsFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self(file)
    }

    /// The settings that name it.
    pub(crate) fn settings(&self) -> Value {
        json!({"models_file": self.0.path()})
    }
}
