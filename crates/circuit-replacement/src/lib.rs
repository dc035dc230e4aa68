//! The local replacement model: a model and its transcoders on one prompt.
//!
//! [`LocalReplacement::new`] runs the model once and keeps what the graph is about: attention patterns and norm
//! denominators (held from then on), active features, what the transcoders leave over (error vectors), and what every
//! source writes into the residual stream. [`FrozenPass`] runs the model again with all of that held, so that the effect of an
//! edit is linear. Not here: rows, rankings, edits of features.

#![allow(non_snake_case, reason = "weights carry the field's names: W_skip")]

mod error;
mod frozen;
mod local;
mod look;
mod parts;

pub use error::ReplacementError;
pub use frozen::{FrozenLayer, FrozenPass, Trace};
pub use local::{Cuts, LocalReplacement, Products};
pub use look::BestSite;
