//! What can be wrong with a `config.json`. Not here: what is wrong with the tensors beside it.

use std::path::PathBuf;

/// A `config.json` that cannot be turned into a description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("{}: not a JSON object: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why it is none.
        reason: String,
    },
    /// A family that is not implemented.
    #[error("{}: model_type `{found}` is not supported; supported: {known}", path.display())]
    UnknownFamily {
        /// The file.
        path: PathBuf,
        /// The value of `model_type`.
        found: String,
        /// The supported values.
        known: String,
    },
    /// A required key is missing.
    #[error("{}: key `{key}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key's value has the wrong type or is impossible.
    #[error("{}: key `{key}` is {found}, expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A key that changes the computation in a way that is not implemented for this family.
    #[error("{}: key `{key}` = {found} is not implemented for {family_and_change}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// The value of `model_type`, then what the key changes and which value would change nothing.
        family_and_change: String,
    },
    /// Keys of unknown meaning, where the caller asked for them to be refused.
    #[error("{}: unknown for {family}: {keys}", path.display())]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// The keys with their values.
        keys: String,
        /// The value of `model_type`.
        family: String,
    },
}
