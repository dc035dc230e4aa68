//! Published layouts: what the tensors of a layer are called, and how they lie.
//!
//! A layout is data; one reader turns any of them into a [`Transcoder`], so that nothing behind it knows where weights came
//! from. What is stored the other way round becomes a view, not a copy. To add a layout, add a constant and a line in
//! [`LAYOUTS`]. Which files a set consists of: `files.rs`.

use crate::TranscoderError;
use crate::config::{Config, SetKind};
use crate::transcoder::{Activation, Transcoder};
use circuit_torch::TensorStore;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// How one layer of a set is stored. In names `{}` stands for the layer.
#[derive(Debug)]
pub(crate) struct Layout {
    /// For readers and messages.
    pub(crate) name: &'static str,
    pub(crate) kind: SetKind,
    /// The files of a layer, where the config does not list them; none if it must.
    pub(crate) files: &'static [&'static str],
    /// How the names of files end.
    extension: &'static str,
    /// `[n_features, d_model]`.
    W_enc: &'static str,
    /// Whether it is stored `[d_model, n_features]`.
    W_enc_turned: bool,
    /// `[n_features, d_model]`; in cross-layer sets `[n_features, n_outputs, d_model]`.
    W_dec: &'static str,
    /// `[n_features]`.
    b_enc: &'static str,
    /// `[d_model]`.
    b_dec: &'static str,
    /// `[n_features]`, may be absent.
    threshold: &'static str,
    /// `[d_model, d_model]`, may be absent.
    W_skip: &'static str,
    /// Whether the skip is `x W_skip` and not `x W_skip^T`.
    W_skip_turned: bool,
}

const PER_LAYER: Layout = Layout {
    name: "one file per layer",
    kind: SetKind::PerLayer,
    files: &["layer_{}.safetensors"],
    extension: "safetensors",
    W_enc: "W_enc",
    W_enc_turned: false,
    W_dec: "W_dec",
    b_enc: "b_enc",
    b_dec: "b_dec",
    threshold: "activation_function.threshold",
    W_skip: "W_skip",
    W_skip_turned: false,
};

const CROSS_LAYER: Layout = Layout {
    name: "encoder and decoder files",
    kind: SetKind::CrossLayer,
    files: &["W_enc_{}.safetensors", "W_dec_{}.safetensors"],
    extension: "safetensors",
    W_enc: "W_enc_{}",
    W_enc_turned: false,
    W_dec: "W_dec_{}",
    b_enc: "b_enc_{}",
    b_dec: "b_dec_{}",
    threshold: "threshold_{}",
    W_skip: "W_skip_{}",
    W_skip_turned: true,
};

const GEMMA_SCOPE_2: Layout = Layout {
    name: "GemmaScope 2",
    kind: SetKind::PerLayer,
    files: &[],
    extension: "safetensors",
    W_enc: "w_enc",
    W_enc_turned: true,
    W_dec: "w_dec",
    b_enc: "b_enc",
    b_dec: "b_dec",
    threshold: "threshold",
    W_skip: "affine_skip_connection",
    W_skip_turned: true,
};

const GEMMA_SCOPE: Layout = Layout {
    name: "GemmaScope",
    kind: SetKind::PerLayer,
    files: &[],
    extension: "npz",
    W_enc: "W_enc",
    W_enc_turned: true,
    W_dec: "W_dec",
    b_enc: "b_enc",
    b_dec: "b_dec",
    threshold: "threshold",
    W_skip: "W_skip",
    W_skip_turned: false,
};

/// All layouts that are understood.
pub(crate) const LAYOUTS: &[Layout] = &[PER_LAYER, CROSS_LAYER, GEMMA_SCOPE, GEMMA_SCOPE_2];

/// A layer of a set for a model.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) n_layers: usize,
    pub(crate) d_model: i64,
    pub(crate) wide: Kind,
    pub(crate) device: Device,
}

impl Layout {
    /// Whether a store from such a file holds the tensors of a layer in this layout.
    pub(crate) fn describes(&self, file: &Path, store: &TensorStore, layer: usize) -> bool {
        file.extension().is_some_and(|extension| extension == self.extension)
            && self.needed_names().iter().all(|name| store.contains(&numbered(name, layer)))
    }

    /// In words: its name, its files, and the tensors without which it is none.
    pub(crate) fn in_words(&self) -> String {
        let files = match self.files {
            [] => format!(".{} files listed under `transcoders`", self.extension),
            files => files.join(", "),
        };
        format!("{} ({files} with {})", self.name, self.needed_names().join(", "))
    }

    fn needed_names(&self) -> [&'static str; 4] {
        [self.W_enc, self.W_dec, self.b_enc, self.b_dec]
    }

    /// Reads one layer. Nothing but vectors and the skip is read from the file yet.
    pub(crate) fn read(
        &self,
        store: &TensorStore,
        config: &Config,
        at: Place,
    ) -> Result<Transcoder, TranscoderError> {
        let name = |name: &str| numbered(name, at.layer);
        let d = at.d_model;
        // The number of features is that of the biases; every other tensor must agree with it.
        let f = store.shape(&name(self.b_enc)).and_then(|s| s.first().copied()).unwrap_or(0);
        let small = |part: &str, shape: &[i64]| -> Result<Tensor, TranscoderError> {
            Ok(store.tensor(&name(part), shape)?.f_to_device(at.device)?.f_to_kind(at.wide)?)
        };
        let optional = |part: &str, shape: &[i64]| -> Result<Option<Tensor>, TranscoderError> {
            store.contains(&name(part)).then(|| small(part, shape)).transpose()
        };
        let W_dec = match self.kind {
            SetKind::PerLayer => store.tensor(&name(self.W_dec), &[f, d])?.f_unsqueeze(1)?,
            SetKind::CrossLayer => {
                store.tensor(&name(self.W_dec), &[f, (at.n_layers - at.layer) as i64, d])?
            }
        };
        let W_enc = match self.W_enc_turned {
            false => store.tensor(&name(self.W_enc), &[f, d])?,
            true => store.tensor(&name(self.W_enc), &[d, f])?.f_tr()?,
        };
        let W_skip = optional(self.W_skip, &[d, d])?;
        let transcoder = Transcoder {
            W_enc,
            W_dec,
            b_enc: small(self.b_enc, &[f])?,
            b_dec: small(self.b_dec, &[d])?,
            W_skip: if self.W_skip_turned { W_skip.map(|w| w.f_tr()).transpose()? } else { W_skip },
            activation: activation(config, optional(self.threshold, &[f])?, f)?,
        };
        match store.unused().first() {
            None => Ok(transcoder),
            Some((path, unknown)) => {
                let names = self.needed_names().into_iter().chain([self.threshold, self.W_skip]);
                let known = names.map(name).collect::<Vec<_>>().join(", ");
                Err(TranscoderError::UnknownTensor { path: (*path).into(), name: (*unknown).into(), known })
            }
        }
    }
}

/// A name with the layer in place of `{}`.
pub(crate) fn numbered(name: &str, layer: usize) -> String {
    name.replace("{}", &layer.to_string())
}

/// The activation function that a config and the presence of thresholds describe, for `n_features` features.
fn activation(
    config: &Config,
    threshold: Option<Tensor>,
    n_features: i64,
) -> Result<Activation, TranscoderError> {
    let bad = |reason: String| Err(TranscoderError::Config { path: config.path.clone(), reason });
    match (threshold, config.top_k) {
        (Some(threshold), None) => Ok(Activation::JumpRelu { threshold }),
        (None, None) => Ok(Activation::Relu),
        (None, Some(k)) if k as i64 <= n_features => Ok(Activation::TopK { k }),
        (None, Some(k)) => bad(format!("k = {k}, but the set has only {n_features} features per layer")),
        (Some(_), Some(_)) => bad("activation is topk, but the files hold thresholds".into()),
    }
}
