//! What can be wrong with an intervention.

use circuit_index::{FeatureIndex, Layer, Pos};
use circuit_model::ModelError;
use circuit_replacement::ReplacementError;
use circuit_torch::TorchError;
use circuit_transcoder::TranscoderError;

/// An error of editing features.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterventionError {
    /// A set of whose features a layer alone does not tell which are active.
    #[error(
        "features of this set are chosen over all layers together: what an edit changes below would need what is above"
    )]
    Joint,
    /// A layer that the transcoders do not have.
    #[error("there is no layer {layer}: the transcoders have {n_layers}")]
    NoSuchLayer {
        /// The layer.
        layer: Layer,
        /// How many there are.
        n_layers: usize,
    },
    /// A feature past the layer's last.
    #[error("layer {layer} has no feature {feature}: it has {n_features}")]
    NoSuchFeature {
        /// The layer.
        layer: Layer,
        /// The feature.
        feature: FeatureIndex,
        /// How many there are.
        n_features: usize,
    },
    /// A position past the prompt.
    #[error("there is no position {pos}: the prompt has {n_pos} tokens")]
    NoSuchPosition {
        /// The position.
        pos: Pos,
        /// Tokens of the prompt.
        n_pos: usize,
    },
    /// A slice without positions.
    #[error("the slice from {start} to before {end} has no position")]
    EmptySlice {
        /// Where it begins.
        start: Pos,
        /// Before what it ends.
        end: Pos,
    },
    /// The same feature at the same position twice.
    #[error("feature {feature} of layer {layer} is edited twice at position {pos}")]
    Twice {
        /// The layer.
        layer: Layer,
        /// The feature.
        feature: FeatureIndex,
        /// The position.
        pos: Pos,
    },
    /// A value that is no number of float32.
    #[error("feature {feature} of layer {layer}: {value} is not within the range of float32")]
    Value {
        /// The layer.
        layer: Layer,
        /// The feature.
        feature: FeatureIndex,
        /// The value.
        value: f64,
    },
    /// Layers to hold that the model does not have.
    #[error("layers {start} to {last} cannot be held: the model has {n_layers}")]
    NoSuchLayers {
        /// The first.
        start: usize,
        /// The last.
        last: usize,
        /// How many there are.
        n_layers: usize,
    },
    /// A set with another number of layers than the model.
    #[error("{found} transcoder layers for a model of {expected}")]
    Layers {
        /// Layers of the set.
        found: usize,
        /// Layers of the model.
        expected: usize,
    },
    /// Nothing to run.
    #[error("there is no prompt to run")]
    NoRequest,
    /// A source that is not there.
    #[error("there is no active feature, error or token {0}")]
    NoSuchSource(String),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The transcoders.
    #[error(transparent)]
    Transcoder(#[from] TranscoderError),
    /// The prompt's replacement model.
    #[error(transparent)]
    Replacement(#[from] ReplacementError),
    /// LibTorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for InterventionError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
