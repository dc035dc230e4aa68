//! Folders of layers: runs of sparsify and sets of SAELens have one folder for each layer, each with a `cfg.json`.
//!
//! Finds these folders and tells the two tools apart by what a `cfg.json` says. What the keys mean: `sparsify.rs`, `sae_lens.rs`.

use super::keys::Keys;
use super::{Config, LAYER_CONFIG, sae_lens, sparsify};
use crate::TranscoderError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of a layer, and its config.
pub(super) struct LayerFolder {
    pub(super) name: String,
    pub(super) keys: Keys,
}

impl LayerFolder {
    /// Whether SAELens wrote it: it names the width of its dictionary in another way than sparsify.
    fn is_sae_lens(&self) -> bool {
        self.keys.get("d_sae").is_some() || self.keys.get("architecture").is_some()
    }
}

/// The names of the folders with a `cfg.json` in a folder, sorted.
fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| folder.join(name).join(LAYER_CONFIG).is_file()).collect();
    names.sort();
    names
}

/// Whether there is a folder of an MLP's layer.
pub(super) fn are_in(folder: &Path) -> bool {
    let is_one = |name: String| match sparsify::mlp_layer(&name) {
        Some(_) => true,
        None => read(folder, name).is_ok_and(|layer| layer.is_sae_lens()),
    };
    folders(folder).into_iter().any(is_one)
}

fn read(folder: &Path, name: String) -> Result<LayerFolder, TranscoderError> {
    let keys = Keys::read(&folder.join(&name).join(LAYER_CONFIG))?;
    Ok(LayerFolder { name, keys })
}

pub(super) fn open(folder: &Path) -> Result<Config, TranscoderError> {
    let (mut of_sparsify, mut of_sae_lens) = (Vec::new(), Vec::new());
    for name in folders(folder) {
        let layer = read(folder, name)?;
        match layer.is_sae_lens() {
            true => of_sae_lens.push(layer),
            false if sparsify::mlp_layer(&layer.name).is_some() => of_sparsify.push(layer),
            // Other hook points of one run lie beside those of the MLPs.
            false => {}
        }
    }
    match (of_sparsify.first(), of_sae_lens.first()) {
        (Some(one), Some(other)) => Err(TranscoderError::Config {
            path: folder.into(),
            reason: format!(
                "`{}` is a layer of sparsify and `{}` one of SAELens, expected the layers of one set",
                one.name, other.name
            ),
        }),
        (_, Some(_)) => sae_lens::open(folder, &of_sae_lens),
        _ => sparsify::open(folder, &of_sparsify),
    }
}

/// The folders by their layers, none of which comes twice.
pub(super) fn by_layer<'a>(
    folder: &Path,
    layers: impl Iterator<Item = (usize, &'a LayerFolder)>,
) -> Result<BTreeMap<usize, PathBuf>, TranscoderError> {
    let mut found = BTreeMap::new();
    for (layer, LayerFolder { name, .. }) in layers {
        if let Some(other) = found.insert(layer, PathBuf::from(name)) {
            let (path, other) = (folder.into(), other.display());
            let reason =
                format!("`{other}` and `{name}` both hold layer {layer}, expected one folder for each layer");
            return Err(TranscoderError::Config { path, reason });
        }
    }
    Ok(found)
}
