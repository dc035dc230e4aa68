//! How large a set is, from the headers of its files: for plans that are made before a weight is read.

use crate::TranscoderError;
use crate::config::{Config, Selection};
use crate::files::SetFiles;
use crate::folder::SetFolder;
use crate::judge::LayerOf;
use crate::layout::numbered;
use crate::set::{SKIP, THRESHOLDS, TranscoderSet};
use circuit_index::{LayerSite, Notice};
use circuit_torch::{Access, TensorStore};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::Kind;

/// What the headers of a set say.
#[derive(Clone, Debug, PartialEq)]
pub struct SetSizes {
    /// Where features read.
    pub reads: LayerSite,
    /// Where features write.
    pub writes: LayerSite,
    /// Its files and their lengths in bytes, sorted.
    pub files: Vec<(PathBuf, u64)>,
    /// At most so many features are active at a position of a layer, where the set says so.
    pub at_most: Option<usize>,
    /// The layers, first to last.
    pub layers: Vec<LayerSizes>,
    /// What was found that is not an error.
    pub notices: Vec<Notice>,
}

/// What the headers of one layer say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSizes {
    /// Number of features.
    pub n_features: usize,
    /// At how many layers a feature writes.
    pub n_outputs: usize,
    /// The encoder.
    pub encoder: PartSizes,
    /// The decoder.
    pub decoder: PartSizes,
    /// Whether there are thresholds.
    pub thresholds: bool,
    /// Whether there is a linear skip.
    pub skip: bool,
    /// How many features are active at a position, where the file's name tells (`average_l0_76`).
    pub mean_active: Option<f64>,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    /// Its type, `None` for one that cannot be computed with.
    pub kind: Option<Kind>,
    /// Bytes that this layer has of it, in the file.
    pub bytes: u64,
    /// How its values are reached.
    pub access: Access,
    /// Whether it is stored the other way round and must be copied to be computed with.
    pub turned: bool,
}

impl TranscoderSet {
    /// The sizes of a set for a model of `n_layers` layers and width `d_model`, from headers alone. The set is judged as by
    /// [`TranscoderSet::open`], so that a plan refuses what opening would refuse.
    ///
    /// # Errors
    /// As [`TranscoderSet::open`], but for values that are no numbers.
    pub fn sizes(
        folder: impl Into<SetFolder>,
        n_layers: usize,
        d_model: usize,
    ) -> Result<SetSizes, TranscoderError> {
        let folder = folder.into();
        let config = Config::open(&folder)?;
        let files = SetFiles::find(&folder.path, &config)?;
        files.check_layers(n_layers)?;
        let layout = files.layout;
        let (mut lengths, mut layers) = (BTreeMap::new(), Vec::new());
        let mut open: Option<TensorStore> = None;
        for l in 0..n_layers {
            let store = match open.take() {
                Some(store) if layout.stacked => store, // One file holds all layers.
                _ => files.open(l)?,
            };
            lengths.extend(store.files().iter().map(|file| (file.path().to_owned(), file.len_bytes())));
            let headers = store.by_name();
            let at = LayerOf { layer: l, n_layers, d_model: d_model as i64 };
            let n_features = layout.judge(&headers, &config, at)?;
            let share = if layout.stacked { n_layers as u64 } else { 1 };
            let part = |name: &str| -> Result<(u64, PartSizes), TranscoderError> {
                let header = headers.get(&numbered(name, l))?;
                let turned = name == layout.W_enc && layout.W_enc_turned;
                let (kind, bytes, access) = (header.kind, header.bytes / share, header.access);
                Ok((header.numbers / share, PartSizes { kind, bytes, access, turned }))
            };
            let (in_decoder, decoder) = part(layout.W_dec)?;
            let outputs = (in_decoder / (n_features as u64 * d_model as u64).max(1)) as usize;
            let has = |name: &str| store.contains(&numbered(name, l));
            layers.push(LayerSizes {
                n_features: n_features as usize,
                n_outputs: outputs.clamp(1, n_layers - l), // What stands before the own layer is not used.
                encoder: part(layout.W_enc)?.1,
                decoder,
                thresholds: has(layout.threshold),
                skip: has(layout.W_skip),
                mean_active: mean_active(&files.of(l)),
            });
            open = Some(store);
        }
        files.even(SKIP, layers.iter().map(|layer: &LayerSizes| layer.skip))?;
        files.even(THRESHOLDS, layers.iter().map(|layer| layer.thresholds))?;
        let at_most = match config.selection {
            Selection::Threshold | Selection::Relu | Selection::JumpRelu => None,
            // Chosen over all layers, it is a mean: no more than that in all.
            Selection::TopK(k) | Selection::ReluTopK(k) | Selection::JointTopK(k) => Some(k),
        };
        let files = lengths.into_iter().collect();
        let (reads, writes, notices) = (config.reads, config.writes, config.notices);
        Ok(SetSizes { reads, writes, files, at_most, layers, notices })
    }
}

/// The number behind `average_l0_` in the path of a layer's file.
fn mean_active(files: &[PathBuf]) -> Option<f64> {
    let path = files.first()?.to_str()?;
    let number = path.split_once("average_l0_")?.1;
    number.split(['/', '.']).next()?.parse::<u32>().ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_tell_how_many_are_active() {
        let of = |path: &str| mean_active(&[path.into()]);
        assert_eq!(of("layer_0/width_16k/average_l0_76/params.npz"), Some(76.0));
        assert_eq!(of("average_l0_8.npz"), Some(8.0));
        assert_eq!(
            (of("layer_0.safetensors"), of("average_l0_x/params.npz"), mean_active(&[])),
            (None, None, None)
        );
    }
}
