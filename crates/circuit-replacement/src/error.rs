//! What can go wrong when a prompt is taken apart.

use circuit_index::LayerSite;
use circuit_model::ModelError;
use circuit_torch::TorchError;
use circuit_transcoder::TranscoderError;

/// An error of building a local replacement model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplacementError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The transcoders.
    #[error(transparent)]
    Transcoder(#[from] TranscoderError),
    /// LibTorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// Values that are no numbers.
    #[error("the model's {what} are not finite{culprit}")]
    NotFinite {
        /// Which values.
        what: &'static str,
        /// The weight that is to blame, where one is.
        culprit: String,
    },
    /// Widths or layer counts that do not fit.
    #[error("the transcoder set has {found} layers, the model {expected}")]
    Layers {
        /// Of the set.
        found: usize,
        /// Of the model.
        expected: usize,
    },
    /// More ignored positions than positions.
    #[error("{ignored} leading positions are ignored, but the prompt has only {n_pos} tokens")]
    NothingLeft {
        /// Positions without features.
        ignored: usize,
        /// Tokens of the prompt.
        n_pos: usize,
    },
    /// More active features than whoever asked has room for.
    #[error("there is no room for {n_active} active features")]
    NoRoom {
        /// How many there are.
        n_active: usize,
    },
    /// A hook the model does not compute at.
    #[error("the transcoders use hook `{site}`, which is none that they can use")]
    Site {
        /// The site.
        site: LayerSite,
    },
}

impl From<tch::TchError> for ReplacementError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
