//! MLP transcoders: reading a set from its files, encoding, decoder rows.
//!
//! [`TranscoderSet::open`] reads a folder as published (`config.yaml` and the files of one of several layouts);
//! [`Transcoder::encode`] finds the active features of a layer. Encoders and decoders stay in the mapped files: an encoder
//! is read when its layer is encoded, decoder rows only for features that are active, and neither is held after that.
//! [`Conversion`] rewrites any readable set into the one layout whose files are used as they lie. Not here: models and prompts.

#![allow(non_snake_case, reason = "weights carry the field's names: W_enc, W_dec, W_skip")]

mod config;
mod convert;
mod error;
mod files;
mod folder;
mod judge;
mod layout;
mod mapped;
mod recognise;
mod set;
mod sizes;
mod transcoder;

pub use convert::Conversion;
pub use error::TranscoderError;
pub use folder::{SetFolder, SetOutline};
pub use mapped::MappedFile;
pub use recognise::Recognised;
pub use set::{SetDescription, SetInfo, TranscoderSet};
pub use sizes::{LayerSizes, PartSizes, SetSizes};
pub use transcoder::{Activation, ActiveFeatures, Cuts, Transcoder};
