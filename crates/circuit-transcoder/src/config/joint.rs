//! The `config.json` of a set whose features are chosen jointly: over all layers, by activations that are weighed by the norms of what
//! features write. Not here: how they are chosen (`set.rs`).

use super::keys::Keys;
use super::{Config, ConfigFamily, Files, JOINT_CONFIG, Selection, SetKind};
use crate::TranscoderError;
use circuit_index::LayerSite;
use std::path::Path;

/// Whether a folder's `config.json` belongs to such a set: no model's says how many features there are.
pub(super) fn is_in(folder: &Path) -> bool {
    Keys::read(&folder.join(JOINT_CONFIG)).is_ok_and(|keys| keys.get("d_feature").is_some())
}

pub(super) fn open(folder: &Path) -> Result<Config, TranscoderError> {
    let keys = Keys::read(&folder.join(JOINT_CONFIG))?;
    let k = keys.count("k")?.filter(|&k| k > 0).ok_or_else(|| keys.wrong("k", "a positive number"))?;
    Ok(Config {
        reads: LayerSite::ResidMid,
        writes: LayerSite::MlpRawOut,
        selection: Selection::JointTopK(k),
        ..Config::new(keys.path(), ConfigFamily::Joint, SetKind::CrossLayer, Files::Named)
    })
}
