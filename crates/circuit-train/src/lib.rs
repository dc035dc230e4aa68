//! Transcoders of one's own: training them on a model's activations, judging a set, writing its feature pages.
//!
//! Start at [`Corpus`], then [`Trainer`] (gradients come from LibTorch's autograd, here alone), [`evaluate`] and
//! [`write_pages`]. What is written are the published layouts that `circuit-transcoder` and Python's library read. Not here:
//! printing, defaults, attribution.

#![allow(non_snake_case, reason = "weights carry the field's names: W_enc, W_dec, W_skip")]

mod activations;
mod checkpoint;
mod corpus;
mod error;
mod evaluate;
mod language;
mod pages;
mod params;
mod record;
mod seeded;
mod settings;
mod state;
mod trainer;
mod write;

pub use activations::Sites;
pub use corpus::Corpus;
pub use error::TrainError;
pub use evaluate::{Evaluation, LayerEvaluation, evaluate, predict};
pub use language::{LanguageMetrics, LanguageSettings, LanguageTrainer, Subject};
pub use pages::{PageProgress, PageSettings, write_pages};
pub use settings::{ActivationChoice, Settings};
pub use trainer::{Metrics, Trainer};
pub use write::StoredKind;
