//! Published layouts: what the tensors of a layer are called, and how they lie.
//!
//! A layout is data; one reader turns any of them into a [`Transcoder`], so that nothing behind it knows where weights came
//! from. What is stored the other way round becomes a view, not a copy. To add a layout, add a constant and a line in
//! [`LAYOUTS`]. Which files a set consists of: `files.rs`.

use crate::TranscoderError;
use crate::config::{Config, ConfigFamily, SAE_LENS_WEIGHTS, SPARSIFY_WEIGHTS, Selection, SetKind};
use crate::judge::LayerOf;
use crate::transcoder::{Activation, Transcoder};
use circuit_torch::{Stored, TensorStore, TorchError, release};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// How one layer of a set is stored. In names `{}` stands for the layer.
#[derive(Debug)]
pub(crate) struct Layout {
    /// For readers and messages.
    pub(crate) name: &'static str,
    /// Whose configs and which kind of set it belongs to.
    pub(crate) for_sets: (ConfigFamily, SetKind),
    /// The files of a layer, where the config does not list them; none if it must.
    pub(crate) files: &'static [&'static str],
    /// How the names of files end.
    extension: &'static str,
    /// Whether one file holds all layers, each tensor with the layer as its first index.
    pub(crate) stacked: bool,
    /// `[n_features, d_model]`.
    pub(crate) W_enc: &'static str,
    /// Whether it is stored `[d_model, n_features]`.
    pub(crate) W_enc_turned: bool,
    /// `[n_features, d_model]`; in cross-layer sets `[n_features, n_outputs, d_model]`.
    pub(crate) W_dec: &'static str,
    /// Whether the outputs of a cross-layer set are all layers, not those from its own up.
    pub(crate) W_dec_from_first: bool,
    /// `[n_features]`. Where features have norms there are no biases.
    pub(crate) b_enc: &'static str,
    /// `[d_model]`.
    pub(crate) b_dec: &'static str,
    /// `[n_features]`, where features are chosen by them over all layers.
    pub(crate) norms: Option<&'static str>,
    /// `[n_features]`, may be absent.
    pub(crate) threshold: &'static str,
    /// `[d_model, d_model]`, may be absent.
    pub(crate) W_skip: &'static str,
    /// Whether the skip is `x W_skip` and not `x W_skip^T`.
    W_skip_turned: bool,
    /// `[n_features]`, may be absent: what is added to activations above 0.
    pub(crate) shift: Option<&'static str>,
}

/// All layouts that are understood, the first of which the others differ from.
pub(crate) const LAYOUTS: &[Layout] = &[
    PER_LAYER,
    CROSS_LAYER,
    GEMMA_SCOPE,
    GEMMA_SCOPE_2,
    GEMMA_SCOPE_2_CROSS,
    GEMMA_SCOPE_2_STACKED,
    SPARSIFY,
    SAE_LENS,
    JOINT,
];

pub(crate) const PER_LAYER: Layout = Layout {
    name: "one file per layer",
    for_sets: (ConfigFamily::CircuitTracer, SetKind::PerLayer),
    files: &["layer_{}.safetensors"],
    extension: "safetensors",
    stacked: false,
    W_enc: "W_enc",
    W_enc_turned: false,
    W_dec: "W_dec",
    W_dec_from_first: false,
    b_enc: "b_enc",
    b_dec: "b_dec",
    norms: None,
    threshold: "activation_function.threshold",
    W_skip: "W_skip",
    W_skip_turned: false,
    shift: None,
};

pub(crate) const CROSS_LAYER: Layout = Layout {
    name: "encoder and decoder files",
    for_sets: (ConfigFamily::CircuitTracer, SetKind::CrossLayer),
    files: &["W_enc_{}.safetensors", "W_dec_{}.safetensors"],
    W_enc: "W_enc_{}",
    W_dec: "W_dec_{}",
    b_enc: "b_enc_{}",
    b_dec: "b_dec_{}",
    threshold: "threshold_{}",
    W_skip: "W_skip_{}",
    W_skip_turned: true,
    ..PER_LAYER
};

const GEMMA_SCOPE: Layout = Layout {
    name: "GemmaScope",
    files: &[],
    extension: "npz",
    W_enc_turned: true,
    threshold: "threshold",
    ..PER_LAYER
};

const GEMMA_SCOPE_2: Layout = Layout {
    name: "GemmaScope 2",
    files: &[],
    W_enc: "w_enc",
    W_enc_turned: true,
    W_dec: "w_dec",
    threshold: "threshold",
    W_skip: "affine_skip_connection",
    W_skip_turned: true,
    ..PER_LAYER
};

const GEMMA_SCOPE_2_CROSS: Layout = Layout {
    name: "GemmaScope 2, cross-layer",
    for_sets: (ConfigFamily::CircuitTracer, SetKind::CrossLayer),
    files: &["params_layer_{}.safetensors"],
    W_dec_from_first: true,
    ..GEMMA_SCOPE_2
};

const GEMMA_SCOPE_2_STACKED: Layout = Layout {
    name: "GemmaScope 2, cross-layer, all layers in one file",
    files: &[],
    stacked: true,
    ..GEMMA_SCOPE_2_CROSS
};

const SPARSIFY: Layout = Layout {
    name: "sparsify",
    for_sets: (ConfigFamily::Sparsify, SetKind::PerLayer),
    files: &[SPARSIFY_WEIGHTS],
    W_enc: "encoder.weight",
    b_enc: "encoder.bias",
    shift: Some("post_enc"),
    ..PER_LAYER
};

const SAE_LENS: Layout = Layout {
    name: "SAELens",
    for_sets: (ConfigFamily::SaeLens, SetKind::PerLayer),
    files: &[SAE_LENS_WEIGHTS],
    W_enc_turned: true,
    threshold: "threshold",
    ..PER_LAYER
};

const JOINT: Layout = Layout {
    name: "encoder and decoder files with decoder norms",
    for_sets: (ConfigFamily::Joint, SetKind::CrossLayer),
    norms: Some("W_dec_norm_{}"),
    ..CROSS_LAYER
};

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
    /// Whether a store from such a file holds the tensors of the first layer in this layout.
    pub(crate) fn describes(&self, file: &Path, store: &TensorStore) -> bool {
        let rank = |name: &str| store.shape(&numbered(name, 0)).map(<[i64]>::len);
        file.extension().is_some_and(|extension| extension == self.extension)
            && self.needed_names().iter().all(|name| rank(name).is_some())
            && rank(self.norms.unwrap_or(self.b_enc)) == Some(if self.stacked { 2 } else { 1 })
    }

    /// How many layers a stacked file holds.
    pub(crate) fn n_stacked(&self, store: &TensorStore) -> usize {
        store.shape(self.b_enc).and_then(|shape| shape.first()).map_or(0, |&n| n as usize)
    }

    /// The width of the model that the set is for, by its first layer.
    pub(crate) fn d_model(&self, store: &TensorStore) -> i64 {
        store.shape(&numbered(self.wide(), 0)).and_then(|shape| shape.last().copied()).unwrap_or(0)
    }

    /// The tensor whose last size is the width of the model, and no other size that may be wrong.
    pub(crate) fn wide(&self) -> &'static str {
        if self.norms.is_some() { self.W_enc } else { self.b_dec }
    }

    /// In words: its name, its files, and the tensors without which it is none.
    pub(crate) fn in_words(&self) -> String {
        let files = match self.files {
            [] => format!(".{} files listed under `transcoders`", self.extension),
            files => files.join(", "),
        };
        format!("{} ({files} with {})", self.name, self.needed_names().join(", "))
    }

    fn needed_names(&self) -> Vec<&'static str> {
        match self.norms {
            Some(norms) => vec![self.W_enc, self.W_dec, norms],
            None => vec![self.W_enc, self.W_dec, self.b_enc, self.b_dec],
        }
    }

    /// One layer's tensors, once they are judged, with the conventions of the tool that wrote them brought into numbers: what is
    /// subtracted before encoding is part of `b_enc`, and no activation below 0 passes a threshold that is lower. Nothing else is read from
    /// a mapped file yet.
    pub(crate) fn parts(
        &self,
        store: &TensorStore,
        config: &Config,
        at: LayerOf,
    ) -> Result<Parts, TranscoderError> {
        let n_features = self.judge(&store.by_name(), config, at)?;
        let mut parts = self.views(store, n_features, at)?;
        if config.less_b_dec.contains(&at.layer) {
            parts.b_enc = less_b_dec(&parts)?;
        }
        circuit_torch::guard(|| {
            if config.family == ConfigFamily::SaeLens
                && let Some(threshold) = &parts.threshold
            {
                parts.threshold = Some(threshold.to_tensor()?.clamp_min(0.0).into()); // NaN stays, and is refused later.
            }
            if let Some(shift) = &parts.shift
                && !bool::try_from(shift.to_tensor()?.ne(0.0).any())?
            {
                parts.shift = None;
            }
            Ok(parts)
        })
    }

    /// One layer's tensors, once they are judged, in the same form from every layout.
    fn views(&self, store: &TensorStore, n_features: i64, at: LayerOf) -> Result<Parts, TranscoderError> {
        let tensors = self.tensors(n_features, at);
        let shape =
            |part: &str| tensors.iter().find(|t| t.part == part).map_or(&[][..], |t| t.shape.as_slice());
        let stored = |part: &str| -> Result<Stored, TranscoderError> {
            let whole = store.stored(&numbered(part, at.layer), shape(part))?;
            Ok(if self.stacked { whole.get(at.layer as i64)? } else { whole })
        };
        let optional = |part: &str| -> Result<Option<Stored>, TranscoderError> {
            store.contains(&numbered(part, at.layer)).then(|| stored(part)).transpose()
        };
        let turned = |stored: Stored, turned: bool| if turned { stored.turned() } else { Ok(stored) };
        let (W_dec, n_outputs) = (stored(self.W_dec)?, (at.n_layers - at.layer) as i64);
        let bias = |part: &str, n: i64| match self.norms {
            None => stored(part),
            Some(_) => Ok(Tensor::f_zeros([n], (Kind::Float, Device::Cpu)).map_err(TorchError::from)?.into()),
        };
        Ok(Parts {
            W_enc: turned(stored(self.W_enc)?, self.W_enc_turned)?,
            // What is before the own layer is not used.
            W_dec: if self.W_dec_from_first { W_dec.narrow(1, at.layer as i64, n_outputs)? } else { W_dec },
            b_enc: bias(self.b_enc, n_features)?,
            b_dec: bias(self.b_dec, at.d_model)?,
            norms: self.norms.map(stored).transpose()?,
            threshold: optional(self.threshold)?,
            W_skip: optional(self.W_skip)?.map(|W_skip| turned(W_skip, self.W_skip_turned)).transpose()?,
            shift: self.shift.map_or(Ok(None), optional)?,
        })
    }

    /// Reads one layer. Nothing but vectors and the skip is read from the file yet, and the encoder where `b_dec` is folded into `b_enc`.
    pub(crate) fn read(
        &self,
        store: &TensorStore,
        config: &Config,
        at: Place,
    ) -> Result<Transcoder, TranscoderError> {
        let of = LayerOf { layer: at.layer, n_layers: at.n_layers, d_model: at.d_model };
        let parts = self.parts(store, config, of)?;
        let small = |part: &str, stored: &Stored| -> Result<Tensor, TranscoderError> {
            let mapped = stored.to_tensor()?;
            let tensor = mapped.f_to_device(at.device)?.f_to_kind(at.wide)?.f_contiguous()?;
            release(&mapped);
            // Not all of this would be seen later: nothing exceeds a threshold of NaN. (One of infinity switches a feature off.)
            let wrong = if part == self.threshold { tensor.isnan() } else { tensor.isfinite().logical_not() };
            if bool::try_from(wrong.any())? {
                let name = numbered(part, at.layer);
                let path = store.file_of(&name).unwrap_or(store.folder()).into();
                return Err(TranscoderError::NotNumbers { path, name });
            }
            Ok(tensor)
        };
        let optional = |part: &str, stored: Option<&Stored>| stored.map(|t| small(part, t)).transpose();
        let b_enc = small(self.b_enc, &parts.b_enc)?;
        let threshold = optional(self.threshold, parts.threshold.as_ref())?;
        let norms = optional(self.norms.unwrap_or_default(), parts.norms.as_ref())?;
        let shift = optional(self.shift.unwrap_or_default(), parts.shift.as_ref())?;
        Ok(Transcoder {
            activation: activation(config, [threshold, norms, shift], at.n_layers),
            b_enc,
            b_dec: small(self.b_dec, &parts.b_dec)?,
            W_skip: optional(self.W_skip, parts.W_skip.as_ref())?,
            W_enc: parts.W_enc,
            W_dec: match self.for_sets.1 {
                SetKind::PerLayer => parts.W_dec.unsqueeze(1)?,
                SetKind::CrossLayer => parts.W_dec,
            },
        })
    }
}

/// One layer's tensors, each in its type as stored, brought into the same form from every layout: views, not copies.
pub(crate) struct Parts {
    /// `[n_features, d_model]`.
    pub(crate) W_enc: Stored,
    /// `[n_features, d_model]`; in cross-layer sets `[n_features, n_outputs, d_model]`.
    pub(crate) W_dec: Stored,
    /// `[n_features]`.
    pub(crate) b_enc: Stored,
    /// `[d_model]`.
    pub(crate) b_dec: Stored,
    /// `[n_features]`.
    pub(crate) norms: Option<Stored>,
    /// `[n_features]`.
    pub(crate) threshold: Option<Stored>,
    /// `[d_model, d_model]`, the skip being `x W_skip^T`.
    pub(crate) W_skip: Option<Stored>,
    /// `[n_features]`, added to activations above 0.
    pub(crate) shift: Option<Stored>,
}

impl Parts {
    /// These tensors as the files of a layout that has files of its own, the last of which holds the decoder. No layout has a place for a
    /// shift.
    pub(crate) fn files(self, layout: &Layout, layer: usize) -> Result<Vec<NamedFile>, TranscoderError> {
        debug_assert!(
            self.shift.is_none() && !layout.W_enc_turned && !layout.W_dec_from_first && !layout.stacked
        );
        let name = |name: &str| numbered(name, layer);
        let W_skip = match layout.W_skip_turned {
            true => self.W_skip.map(|w| w.turned()).transpose()?,
            false => self.W_skip,
        };
        let mut files: Vec<NamedFile> = layout.files.iter().map(|file| (name(file), Vec::new())).collect();
        let vectors = [(layout.b_enc, Some(self.b_enc)), (layout.b_dec, Some(self.b_dec))];
        let rest = [(layout.threshold, self.threshold), (layout.W_skip, W_skip)];
        let parts = [(layout.W_enc, Some(self.W_enc))].into_iter().chain(vectors).chain(rest);
        files[0].1.extend(parts.filter_map(|(part, tensor)| Some((name(part), tensor?))));
        if let Some(last) = files.last_mut() {
            last.1.push((name(layout.W_dec), self.W_dec));
        }
        Ok(files)
    }
}

/// A file's name, and what it holds.
pub(crate) type NamedFile = (String, Vec<(String, Stored)>);

/// A name with the layer in place of `{}`.
pub(crate) fn numbered(name: &str, layer: usize) -> String {
    name.replace("{}", &layer.to_string())
}

/// `b_enc - W_enc b_dec`: encoding with it is encoding `x - b_dec` with `b_enc`. It is summed in f64, piece by piece, so that it is exact
/// but for one rounding and little of the encoder is held.
fn less_b_dec(parts: &Parts) -> Result<Stored, TranscoderError> {
    const NUMBERS: i64 = 1 << 22;
    circuit_torch::guard(|| {
        let wide = |stored: &Stored| Ok::<_, TorchError>(stored.to_tensor()?.to_kind(Kind::Double));
        let (b_enc, b_dec) = (wide(&parts.b_enc)?, wide(&parts.b_dec)?);
        let (n_features, step) = (b_enc.size()[0], (NUMBERS / b_dec.size()[0].max(1)).max(1));
        let mut folded = Vec::new();
        for first in (0..n_features).step_by(step as usize) {
            let len = step.min(n_features - first);
            let piece = parts.W_enc.narrow(0, first, len)?;
            folded.push(b_enc.narrow(0, first, len) - wide(&piece)?.matmul(&b_dec));
            piece.release();
        }
        Ok(Tensor::cat(&folded, 0).into())
    })
}

/// The activation function that a config names, from thresholds, norms and a shift as far as there are any, once
/// the layer is judged.
fn activation(
    config: &Config,
    [threshold, norms, shift]: [Option<Tensor>; 3],
    n_layers: usize,
) -> Activation {
    match (config.selection, norms, threshold) {
        (Selection::JointTopK(k), Some(norms), _) => Activation::JointTopK { k: k * n_layers, norms },
        (Selection::TopK(k), _, _) => Activation::TopK { k },
        (Selection::ReluTopK(k), _, _) => Activation::ReluTopK { k, shift },
        (_, _, Some(threshold)) => Activation::JumpRelu { threshold },
        _ => Activation::Relu,
    }
}
