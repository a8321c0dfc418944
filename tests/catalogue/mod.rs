//! What is known of models, through the API: which parameters are taken, what things cost, and what an operator says over it.

mod costs;
mod operator;
mod params;

use serde_json::{Value, json};

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
