//! What can go wrong with a transcoder set.

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
        "{}: no transcoder set: neither config.yaml nor layers.0.mlp/cfg.json{}",
        path.display(),
        below.first().map_or_else(String::new, |_| format!("; there are sets below it: {}", names(below)))
    )]
    NoConfig {
        /// The folder.
        path: PathBuf,
        /// Sub-folders that hold a set.
        below: Vec<PathBuf>,
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
    #[error("{}: the set has files for {found} layers, expected {expected}; {detail}", path.display())]
    Layers {
        /// The folder.
        path: PathBuf,
        /// How many layer files there are.
        found: usize,
        /// How many layers the model has, or the set itself by its last file.
        expected: usize,
        /// Which file is missing or too many.
        detail: String,
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

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl From<tch::TchError> for TranscoderError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
