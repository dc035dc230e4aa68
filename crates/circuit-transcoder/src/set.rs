//! A set of transcoders: one per layer, read from a folder and checked against the model.

use crate::config::{Config, SetKind};
use crate::files::SetFiles;
use crate::layout::Place;
use crate::transcoder::{Activation, ActiveFeatures, Transcoder};
use crate::{SetFolder, TranscoderError};
use circuit_index::{LayerSite, Notice};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What a set says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetInfo {
    /// The model it was made for, where the set names it.
    pub model_name: Option<String>,
    /// Names the place of its feature pages.
    pub scan: String,
    /// Where features read.
    pub reads: LayerSite,
    /// Where features write.
    pub writes: LayerSite,
}

/// A set's folder on one page, without a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDescription {
    /// What it says about itself.
    pub info: SetInfo,
    /// Whether features write to the layers above their own too.
    pub cross_layer: bool,
    /// The layout of its files, in words.
    pub layout: &'static str,
    /// The tensors of each layer, with their shapes.
    pub layers: Vec<Vec<(String, Vec<i64>)>>,
    /// What was found that is not an error.
    pub notices: Vec<Notice>,
}

/// Transcoders for all layers of a model.
#[derive(Debug)]
pub struct TranscoderSet {
    info: SetInfo,
    layers: Vec<Transcoder>,
    notices: Vec<Notice>,
}

impl TranscoderSet {
    /// Opens the set of a folder for a model of `n_layers` layers and width `d_model`. Computations run on `device` in the type
    /// `wide` (fp32, or f64) wherever they are not asked for otherwise; nothing but biases is read yet.
    ///
    /// # Errors
    /// If the config is not understood in full, the files follow no known layout, a layer's file is missing or one too many is
    /// there, a tensor is missing, unknown, or has another shape than the model asks for, or only some layers have a skip or thresholds.
    pub fn open(
        folder: impl Into<SetFolder>,
        n_layers: usize,
        d_model: usize,
        wide: Kind,
        device: Device,
    ) -> Result<Self, TranscoderError> {
        let folder = folder.into();
        let config = Config::open(&folder)?;
        let files = SetFiles::find(&folder.path, &config)?;
        files.check_layers(n_layers)?;
        let layers = (0..n_layers).map(|layer| {
            let place = Place { layer, n_layers, d_model: d_model as i64, wide, device };
            files.layout.read(&files.open(layer)?, &config, place)
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        files.even(SKIP, layers.iter().map(|layer| layer.W_skip.is_some()))?;
        let has_thresholds = |layer: &Transcoder| matches!(layer.activation, Activation::JumpRelu { .. });
        files.even(THRESHOLDS, layers.iter().map(has_thresholds))?;
        Ok(Self { info: info(&folder, &config), layers, notices: config.notices })
    }

    /// Whether a folder holds a transcoder set, by its config.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        Config::exists(folder)
    }

    /// Describes a set without a model.
    ///
    /// # Errors
    /// If the config or a file cannot be read, or the files follow no known layout.
    pub fn describe(folder: impl Into<SetFolder>) -> Result<SetDescription, TranscoderError> {
        let folder = folder.into();
        let config = Config::open(&folder)?;
        let files = SetFiles::find(&folder.path, &config)?;
        let mut layers = Vec::new();
        for layer in 0..files.n_layers()? {
            let store = files.open(layer)?;
            let shapes = store.names().map(|n| (n.to_owned(), store.shape(n).unwrap_or_default().to_vec()));
            layers.push(shapes.collect());
        }
        let layout = files.layout.name;
        let cross_layer = config.kind == SetKind::CrossLayer;
        let info = info(&folder, &config);
        Ok(SetDescription { info, cross_layer, layout, layers, notices: config.notices })
    }

    /// A set made in memory, for tests and training.
    #[must_use]
    pub fn from_parts(info: SetInfo, layers: Vec<Transcoder>) -> Self {
        Self { info, layers, notices: Vec::new() }
    }

    /// What was found when the set was opened that is not an error.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What the set says about itself.
    #[must_use]
    pub fn info(&self) -> &SetInfo {
        &self.info
    }

    /// The transcoders, first layer first.
    #[must_use]
    pub fn layers(&self) -> &[Transcoder] {
        &self.layers
    }

    /// Whether features are chosen over all layers together, so that a layer alone does not tell which of its features are active.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.activation, Activation::JointTopK { .. }))
    }

    /// Of the features that were found in the first layers, those that are active when only these layers count: all, but where
    /// features are chosen over all layers. Then those stay whose activations, weighed by their norms, are the k largest of a
    /// position; of equal ones the first.
    ///
    /// # Errors
    /// If LibTorch fails.
    pub fn choose(&self, found: &mut [ActiveFeatures]) -> Result<(), TranscoderError> {
        let mut by_position: BTreeMap<i64, Vec<(f64, usize, usize)>> = BTreeMap::new();
        let mut most = 0;
        for (layer, (transcoder, features)) in self.layers.iter().zip(&*found).enumerate() {
            let Activation::JointTopK { k, norms } = &transcoder.activation else { return Ok(()) };
            most = *k;
            let norms = norms.f_index_select(0, &features.indices)?;
            let scores = features.values.f_mul(&norms)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
            let places = Vec::<i64>::try_from(features.positions.f_to_device(Device::Cpu)?)?;
            for (i, (score, place)) in Vec::<f64>::try_from(scores)?.into_iter().zip(places).enumerate() {
                by_position.entry(place).or_default().push((score, layer, i));
            }
        }
        let mut kept = vec![Vec::new(); found.len()];
        for mut scored in by_position.into_values() {
            // Stable: equal ones stay in the order of layers and features.
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (_, layer, i) in scored.into_iter().take(most) {
                kept[layer].push(i as i64);
            }
        }
        for (features, mut kept) in found.iter_mut().zip(kept) {
            if (kept.len() as i64) < features.values.size()[0] {
                kept.sort_unstable();
                let kept = Tensor::from_slice(&kept).f_to_device(features.values.device())?;
                for part in [&mut features.positions, &mut features.indices, &mut features.values] {
                    *part = part.f_index_select(0, &kept)?;
                }
            }
        }
        Ok(())
    }

    /// The layers whose features write at a layer: itself, and those below that reach so far.
    #[must_use]
    pub fn writers(&self, layer: usize) -> Range<usize> {
        let reaches = |&below: &usize| below + self.layers[below].n_outputs() > layer;
        (0..layer).find(reaches).unwrap_or(layer)..layer + 1
    }
}

/// Parts that all layers of a set have, or none.
pub(crate) const SKIP: &str = "a linear skip";
pub(crate) const THRESHOLDS: &str = "thresholds";

pub(crate) fn info(folder: &SetFolder, config: &Config) -> SetInfo {
    let scan = config.scan.clone().or_else(|| folder.scan.clone()).or_else(|| config.model_name.clone());
    let whole = folder.path.canonicalize().unwrap_or_else(|_| folder.path.clone()); // `.` has no name
    let scan = scan.unwrap_or_else(|| whole.file_name().unwrap_or_default().to_string_lossy().into_owned());
    SetInfo { model_name: config.model_name.clone(), scan, reads: config.reads, writes: config.writes }
}
