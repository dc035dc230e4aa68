//! A set of transcoders: one per layer, read from a folder and checked against the model.

use crate::TranscoderError;
use crate::config::Config;
use crate::transcoder::{Activation, Transcoder};
use circuit_index::LayerSite;
use circuit_torch::TensorFile;
use std::path::Path;
use tch::{Device, Kind};

const TENSORS: &[&str] = &["W_enc", "W_dec", "b_enc", "b_dec", "W_skip", "activation_function.threshold"];

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

/// Per-layer transcoders for all layers of a model.
#[derive(Debug)]
pub struct TranscoderSet {
    info: SetInfo,
    layers: Vec<Transcoder>,
}

impl TranscoderSet {
    /// Opens `config.yaml` and `layer_0.safetensors` … of a folder for a model of `n_layers` layers and width `d_model`.
    /// Computations run on `device` in the type `wide` (fp32, or f64) wherever they are not asked for otherwise; nothing but
    /// biases is read yet.
    ///
    /// # Errors
    /// If the config is not understood in full, a layer's file is missing or one too many is there, or a tensor is missing,
    /// unknown, or has another shape than the model asks for.
    pub fn open(
        folder: &Path,
        n_layers: usize,
        d_model: usize,
        wide: Kind,
        device: Device,
    ) -> Result<Self, TranscoderError> {
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.into() });
        }
        let config = Config::open(folder)?;
        check_layers(folder, n_layers)?;
        let layers = (0..n_layers).map(|l| {
            let file = TensorFile::open(&folder.join(layer_file(l)))?;
            read_layer(&file, d_model as i64, config.top_k, wide, device)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let scan = config.scan.or_else(|| config.model_name.clone());
        let scan =
            scan.unwrap_or_else(|| folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let info =
            SetInfo { model_name: config.model_name, scan, reads: config.reads, writes: config.writes };
        Ok(Self { info, layers })
    }

    /// Describes a set without a model: what it says, and for each layer file its tensors with their shapes.
    ///
    /// # Errors
    /// If the config or a file cannot be read.
    #[allow(clippy::type_complexity, reason = "a list of files with a list of tensors")]
    pub fn describe(folder: &Path) -> Result<(SetInfo, Vec<Vec<(String, Vec<i64>)>>), TranscoderError> {
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.into() });
        }
        let config = Config::open(folder)?;
        let mut files = Vec::new();
        while folder.join(layer_file(files.len())).is_file() {
            let file = TensorFile::open(&folder.join(layer_file(files.len())))?;
            let shapes = file.names().map(|n| (n.to_owned(), file.shape(n).unwrap_or_default().to_vec()));
            files.push(shapes.collect());
        }
        let scan = config.scan.or_else(|| config.model_name.clone()).unwrap_or_default();
        Ok((
            SetInfo { model_name: config.model_name, scan, reads: config.reads, writes: config.writes },
            files,
        ))
    }

    /// A set made in memory, for tests and training.
    #[must_use]
    pub fn from_parts(info: SetInfo, layers: Vec<Transcoder>) -> Self {
        Self { info, layers }
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
}

fn layer_file(layer: usize) -> String {
    format!("layer_{layer}.safetensors")
}

fn check_layers(folder: &Path, expected: usize) -> Result<(), TranscoderError> {
    let listing = std::fs::read_dir(folder);
    let listing = listing.map_err(|source| circuit_torch::TorchError::Io { path: folder.into(), source })?;
    let number =
        |name: &str| name.strip_prefix("layer_")?.strip_suffix(".safetensors")?.parse::<usize>().ok();
    let mut found: Vec<_> =
        listing.flatten().filter_map(|e| number(&e.file_name().to_string_lossy())).collect();
    found.sort_unstable();
    let detail = match (0..expected).find(|l| !found.contains(l)) {
        Some(missing) => format!("{} is missing", layer_file(missing)),
        None => match found.iter().find(|&&l| l >= expected) {
            Some(&extra) => format!("{} is one too many", layer_file(extra)),
            None => return Ok(()),
        },
    };
    Err(TranscoderError::Layers { path: folder.into(), found: found.len(), expected, detail })
}

fn read_layer(
    file: &TensorFile,
    d: i64,
    top_k: Option<usize>,
    wide: Kind,
    device: Device,
) -> Result<Transcoder, TranscoderError> {
    if let Some(name) = file.names().find(|n| !TENSORS.contains(n)) {
        let (path, known) = (file.path().into(), TENSORS.join(", "));
        return Err(TranscoderError::UnknownTensor { path, name: name.into(), known });
    }
    // The number of features is the encoder's; every other tensor must agree with it.
    let f = file.shape("W_enc").and_then(|s| s.first().copied()).unwrap_or(0);
    let small = |name: &str, shape: &[i64]| -> Result<_, TranscoderError> {
        Ok(file.tensor(name, shape)?.f_to_device(device)?.f_to_kind(wide)?)
    };
    let threshold = file.shape("activation_function.threshold").is_some();
    let activation = match (threshold, top_k) {
        (true, None) => Activation::JumpRelu { threshold: small("activation_function.threshold", &[f])? },
        (false, None) => Activation::Relu,
        (false, Some(k)) if k as i64 <= f => Activation::TopK { k },
        (false, Some(k)) => {
            let reason = format!("k = {k}, but the set has only {f} features per layer");
            return Err(TranscoderError::Config { path: file.path().into(), reason });
        }
        (true, Some(_)) => {
            let reason = "the config says topk, but the file holds thresholds".into();
            return Err(TranscoderError::Config { path: file.path().into(), reason });
        }
    };
    Ok(Transcoder {
        W_enc: file.tensor("W_enc", &[f, d])?,
        W_dec: file.tensor("W_dec", &[f, d])?,
        b_enc: small("b_enc", &[f])?,
        b_dec: small("b_dec", &[d])?,
        W_skip: file.shape("W_skip").map(|_| small("W_skip", &[d, d])).transpose()?,
        activation,
    })
}
