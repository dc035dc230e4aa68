//! What can go wrong with a transcoder set.

use crate::Recognised;
use circuit_torch::TorchError;
use std::path::PathBuf;

/// An error of opening or running a transcoder set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscoderError {
    /// No such folder.
    #[error("{}: no such transcoder folder", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without a config.
    #[error(
        "{}: no transcoder set: neither config.yaml nor a folder with cfg.json for each layer{found}",
        path.display()
    )]
    NoConfig {
        /// The folder.
        path: PathBuf,
        /// What was recognised in it.
        found: Box<Recognised>,
    },
    /// A config that cannot be read or says something impossible.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A set for another number of layers.
    #[error(
        "{}: the set{} has files for {found} layers, expected {expected}; {detail}",
        path.display(),
        for_model(made_for)
    )]
    Layers {
        /// The folder.
        path: PathBuf,
        /// How many layer files there are.
        found: usize,
        /// How many layers the model has, or the set itself by its last file.
        expected: usize,
        /// Which file is missing or too many.
        detail: String,
        /// The model that the set names.
        made_for: Option<String>,
    },
    /// A set for a model of another width.
    #[error(
        "{}: tensor `{name}` has shape {shape:?}, expected a width of {expected}; the set{} is for a model of width {}",
        path.display(),
        for_model(made_for),
        shape.last().unwrap_or(&0)
    )]
    Width {
        /// The file.
        path: PathBuf,
        /// The tensor that was looked at.
        name: String,
        /// Its shape, whose last number is the width.
        shape: Vec<i64>,
        /// The width of the model.
        expected: usize,
        /// The model that the set names.
        made_for: Option<String>,
    },
    /// A part that some layers of a set have and others have not.
    #[error(
        "{}: layer {with} has {part}, and layer {without} has none; expected the same parts in all layers of a set",
        path.display()
    )]
    Uneven {
        /// The folder.
        path: PathBuf,
        /// The part, in words.
        part: &'static str,
        /// A layer that has it.
        with: usize,
        /// A layer that has it not.
        without: usize,
    },
    /// Files that no known layout describes.
    #[error("{}: the files follow no layout that is known for this set: found {found}; known: {known}", path.display())]
    UnknownLayout {
        /// The folder or file.
        path: PathBuf,
        /// What is there: tensors, or files.
        found: String,
        /// The layouts, with their files and tensors.
        known: String,
    },
    /// A tensor that has no meaning in a transcoder.
    #[error("{}: tensor `{name}` is not part of a transcoder (known: {known})", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The tensors a file may hold.
        known: String,
    },
    /// A tensor that holds values that are no numbers.
    #[error("{}: tensor `{name}` holds NaN or infinity", path.display())]
    NotNumbers {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Values that came out as no numbers.
    #[error("layer {layer}: {what} not finite: the weights or the input hold NaN or infinity")]
    NotFinite {
        /// The layer.
        layer: usize,
        /// Which values.
        what: &'static str,
    },
    /// A tensor file, or LibTorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

fn for_model(model: &Option<String>) -> String {
    model.as_ref().map_or_else(String::new, |model| format!(", made for {model},"))
}

impl From<tch::TchError> for TranscoderError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
