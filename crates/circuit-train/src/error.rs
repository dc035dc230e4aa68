//! What can go wrong with training, judging and feature pages.

use circuit_format::FormatError;
use circuit_model::ModelError;
use circuit_model::text::TextError;
use circuit_torch::TorchError;
use circuit_transcoder::TranscoderError;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A corpus file that is not text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A line of a corpus that the model cannot read.
    #[error("{}: {reason}", path.display())]
    Corpus {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A corpus in which no document has a token to learn from.
    #[error(
        "the corpus is empty: no line of its {files} files has a token behind the {ignored} ignored positions"
    )]
    EmptyCorpus {
        /// How many files there are.
        files: usize,
        /// How many leading positions of a document are left out.
        ignored: usize,
    },
    /// The temporary file with a corpus's tokens.
    #[error(
        "the temporary file with the corpus's tokens: {reason}; expected room for four bytes a token where TMPDIR points"
    )]
    Spool {
        /// What is wrong.
        reason: String,
    },
    /// Settings that cannot work.
    #[error("{name}: {reason}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder with the state of another run.
    #[error("{}: the state of a run with other settings, model or corpus; expected that of this one", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint that cannot be understood.
    #[error("{}: no checkpoint of this version: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Training that left the numbers.
    #[error("step {step}: the loss is not finite; expected a number: lower the learning rate")]
    Diverged {
        /// The step.
        step: usize,
    },
    /// An output that cannot be written.
    #[error(transparent)]
    Output(#[from] FormatError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The transcoders.
    #[error(transparent)]
    Transcoder(#[from] TranscoderError),
    /// LibTorch, or a tensor file.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
