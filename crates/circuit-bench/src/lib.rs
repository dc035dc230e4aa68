//! Measuring: random models and transcoders of published shapes, made in memory, the operations that attribution needs on them, and
//! how long each phase takes.
//!
//! [`Shape`] says how large, [`Made`] is such a model with a prompt, [`needed`] counts operations, [`measure`] runs the phases.
//! Weights are random, but as many features are active as in a trained set, so that the work is that of a trained set. Not here:
//! printing, and comparisons with other programs.

#![allow(non_snake_case, reason = "weights carry the field's names: W_enc")]

mod made;
mod needed;
mod phases;
mod shapes;

pub use made::{Made, MakeError};
pub use needed::{moved_encode, moved_forward, moved_rows, needed_encode, needed_forward, needed_rows};
pub use phases::{Needed, Phases, Settings, measure, product_speed};
pub use shapes::{SHAPES, Shape};
