//! What can go wrong when a graph is computed.

use circuit_graph::{GraphError, RowFileError};
use circuit_index::{Layer, TokenId};
use circuit_model::ModelError;
use circuit_replacement::ReplacementError;
use circuit_torch::TorchError;

/// An error of choosing targets or computing rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributionError {
    /// Rows that hold more than they may.
    #[error(
        "{n_features} rows of features hold {held} bytes, {room} can be had, and {wanted} rows are wanted"
    )]
    NoRoom {
        /// Rows of features so far.
        n_features: usize,
        /// What all rows hold.
        held: usize,
        /// What they may hold.
        room: usize,
        /// How many there were to be.
        wanted: usize,
    },
    /// More targets than there are tokens.
    #[error("{asked} targets asked for, the model's vocabulary has {d_vocab} tokens")]
    TooManyTargets {
        /// How many were asked for.
        asked: usize,
        /// Size of the vocabulary.
        d_vocab: usize,
    },
    /// No target.
    #[error("there is no target: at least one is needed")]
    NoTarget,
    /// The same token twice.
    #[error("token {token} is a target twice")]
    TwiceATarget {
        /// The token.
        token: TokenId,
    },
    /// A token id past the vocabulary.
    #[error("target token {token} is outside the model's vocabulary of {d_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Size of the vocabulary.
        d_vocab: usize,
    },
    /// A share that is none.
    #[error("the wanted probability is {found}, expected a number from 0 to 1")]
    Probability {
        /// What was given.
        found: f64,
    },
    /// A direction's weight that is negative or no number.
    #[error("target `{label}` has weight {weight}, expected a number >= 0 within the range of float32")]
    Weight {
        /// The direction.
        label: String,
        /// Its weight.
        weight: f64,
    },
    /// Weights that are all zero: nothing would have any influence.
    #[error("all targets have weight 0: nothing would have influence on them")]
    NoWeight,
    /// A direction of another width, or not finite.
    #[error("the direction of target `{label}` must be {d_model} finite numbers; it has shape {found:?}")]
    Direction {
        /// The direction.
        label: String,
        /// Its shape.
        found: Vec<i64>,
        /// The model's width.
        d_model: usize,
    },
    /// Effects on a target that float32 cannot hold.
    #[error("effects on target `{target}` are not finite: its direction is too large for float32")]
    Overflow {
        /// The target.
        target: String,
    },
    /// Attention that nothing read here can have passed through.
    #[error("the attention of layer {layer} is not below what is read: only layers under {reached} are")]
    NotBetween {
        /// The layer asked for.
        layer: Layer,
        /// The first layer whose attention is no longer below.
        reached: usize,
    },
    /// A head, position or source that is not there.
    #[error("there is no {what} {found}: there are {count}")]
    Nowhere {
        /// What was asked for.
        what: &'static str,
        /// Which.
        found: usize,
        /// How many there are.
        count: usize,
    },
    /// A round of no rows.
    #[error("batch size and update interval must be at least 1")]
    EmptyRound,
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The prompt's replacement model.
    #[error(transparent)]
    Replacement(#[from] ReplacementError),
    /// Rows that could not be kept on disk.
    #[error(transparent)]
    RowFile(#[from] RowFileError),
    /// The rows do not make a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// LibTorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for AttributionError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
