//! Testing the story that a graph tells: setting features, and watching what the model does.
//!
//! [`Interventions::run`] runs a model with [`Edit`]s of features: attention patterns held or free, transcoder outputs of some or all
//! layers held. With everything held an edit moves every feature and logit by the graph's column ([`effects`]); with nothing
//! held it shows what the model does, and how far a graph predicts it ([`removals`]). [`Interventions::generate`] writes on. Not here: graphs, and how edits are written on a command line.

#![allow(non_snake_case, reason = "weights carry the field's names: W_skip")]

mod edit;
mod effects;
mod error;
mod generate;
mod pass;
mod run;

pub use edit::{Change, Edit, Positions};
pub use effects::{Effects, Hold, Source, effects, removals};
pub use error::InterventionError;
pub use generate::{GenerateConfig, Generated};
pub use run::{Freeze, Interventions, Outcome, Request};
