//! Language models from a description: one forward pass with typed hook sites, named as in TransformerLens.
//!
//! [`Model::open`] reads a Hugging Face checkpoint folder, [`Model::forward`] runs it and calls a [`Visitor`] at each site
//! ([`Hooks`] for everyday use); [`Model::forward_cached`] goes on from what a [`KvCache`] keeps, and a [`Sampler`] chooses the next token. What differs between families is data: a [`spec::ModelSpec`]. Not here: transcoders, gradients,
//! downloads.

#![allow(non_snake_case, reason = "weights carry the field's names: W_E, W_U, W_pos")]

mod cache;
pub mod chat;
mod checkpoint;
mod config;
mod description;
mod error;
mod family;
mod forward;
mod hooks;
mod mlp;
mod model;
mod names;
mod norm;
mod packed;
mod packings;
mod pattern;
mod rope;
mod sampling;
mod score_reads;
mod shapes;
pub mod spec;
pub mod text;
pub mod tokenizer;
pub mod weight_files;

pub use cache::KvCache;
pub use config::SpecError;
pub use description::ModelConfig;
pub use error::ModelError;
pub use family::{IgnoredPositions, KnownAs, chat_prefix_notice};
pub use hooks::{Hooks, Visitor};
pub use mlp::{Expert, ExpertProjection, Mlp, MlpWeights};
pub use model::{Attention, Block, Model, TokenBatch};
pub use names::{BlockPart, Linear, NormPlace, Part, WeightSizes, WeightSource};
pub use norm::{Norm, Projection};
pub use packed::{Matrix, Mxfp4};
pub use pattern::QueriesAndKeys;
pub use sampling::{Sampler, Sampling};
pub use score_reads::{ScoreEnd, ScoreScales};
