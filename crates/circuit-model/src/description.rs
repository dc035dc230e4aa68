//! What a folder's `config.json` says, read on its own: the description of the model, and what was noticed about the file.
//!
//! Commands read it before anything else, so that an unsupported model is refused before weights are opened or fetched. Not here:
//! how keys become a description (`family/`), and weights.

use crate::config::SpecError;
use crate::family::Described;
use crate::spec::ModelSpec;
use crate::{ModelError, weight_files};
use circuit_index::Notice;
use std::path::{Path, PathBuf};

/// A `config.json` that was understood.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    path: PathBuf,
    family: &'static str,
    spec: ModelSpec,
    notices: Vec<Notice>,
    unknown: Vec<(String, serde_json::Value)>,
}

impl ModelConfig {
    /// Reads the `config.json` of a folder.
    ///
    /// # Errors
    /// If it is not there or no JSON object, if the family is not supported, or if a key is missing, impossible, or changes the
    /// computation in a way that is not implemented.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let Described { spec, notices, unknown, family, .. } = weight_files::described(folder)?;
        Ok(Self { path: folder.join(weight_files::CONFIG), family, spec, notices, unknown })
    }

    /// The description of the model.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The description of the model, by value.
    #[must_use]
    pub fn into_spec(self) -> ModelSpec {
        self.spec
    }

    /// What was noticed: which of two spellings is used, what is ignored, and one warning that lists all unknown keys.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The names of keys of unknown meaning. They are ignored.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(|(key, _)| key.as_str())
    }

    /// Refuses keys of unknown meaning, for callers who do not want them ignored.
    ///
    /// # Errors
    /// If there is such a key.
    pub fn refuse_unknown_keys(&self) -> Result<(), ModelError> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = self.unknown.iter().map(|(key, value)| format!("`{key}` = {value}")).collect();
        let (path, family) = (self.path.clone(), self.family.into());
        Err(SpecError::UnknownKeys { path, keys: keys.join(", "), family }.into())
    }
}
