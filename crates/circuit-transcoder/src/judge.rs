//! Whether a layer's files hold the tensors of a layout in the right shapes and types, judged from their headers.
//!
//! The one place that says which tensors a layer must have. Opening, rewriting and planning a set all come here first, so that
//! a plan refuses what the opened set would refuse. A pure function of headers; values are not looked at.

use crate::config::{Config, Selection, SetKind};
use crate::files::SetFiles;
use crate::layout::{Layout, numbered};
use crate::set::{SKIP, THRESHOLDS};
use crate::{SetFolder, TranscoderError, TranscoderSet};
use circuit_torch::{Headers, Wanted};

impl TranscoderSet {
    /// Judges a set by its config and the headers of its files alone, as [`TranscoderSet::open`] does. `model` is the number of
    /// layers and the width of the model it is for; without it the set must only agree with itself.
    ///
    /// # Errors
    /// As [`TranscoderSet::open`], but for values that are no numbers.
    pub fn check(folder: impl Into<SetFolder>, model: Option<(usize, usize)>) -> Result<(), TranscoderError> {
        let folder = folder.into();
        let config = Config::open(&folder)?;
        let files = SetFiles::find(&folder.path, &config)?;
        let (n_layers, d_model) = match model {
            Some((n_layers, d_model)) => {
                files.check_layers(n_layers)?;
                (n_layers, d_model as i64)
            }
            None => (files.n_layers()?, files.layout.d_model(&files.open(0)?)),
        };
        files.judge(n_layers, d_model)
    }
}

impl SetFiles<'_> {
    /// Judges all layers, and that all of them have the same parts.
    pub(crate) fn judge(&self, n_layers: usize, d_model: i64) -> Result<(), TranscoderError> {
        let (mut skips, mut thresholds) = (Vec::new(), Vec::new());
        for layer in 0..n_layers {
            let store = self.open(layer)?;
            self.layout.judge(&store.by_name(), self.config, LayerOf { layer, n_layers, d_model })?;
            let has = |part: &str| store.contains(&numbered(part, layer));
            skips.push(has(self.layout.W_skip));
            thresholds.push(has(self.layout.threshold));
        }
        self.even(SKIP, skips.into_iter())?;
        self.even(THRESHOLDS, thresholds.into_iter())
    }
}

/// Which layer of how many, and how wide the model is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerOf {
    pub(crate) layer: usize,
    pub(crate) n_layers: usize,
    pub(crate) d_model: i64,
}

/// A tensor of a layer in a file.
pub(crate) struct Needed {
    /// The layout's name for it, `{}` standing for the layer.
    pub(crate) part: &'static str,
    /// Its shape in the file.
    pub(crate) shape: Vec<i64>,
    /// Whether the layer may do without it.
    optional: bool,
}

impl Layout {
    /// The tensors of a layer with so many features.
    pub(crate) fn tensors(&self, n_features: i64, at: LayerOf) -> Vec<Needed> {
        let (f, d, n_layers) = (n_features, at.d_model, at.n_layers as i64);
        let encoder = if self.W_enc_turned { vec![d, f] } else { vec![f, d] };
        let decoder = match (self.for_sets.1, self.W_dec_from_first) {
            (SetKind::PerLayer, _) => vec![f, d],
            (SetKind::CrossLayer, false) => vec![f, n_layers - at.layer as i64, d],
            (SetKind::CrossLayer, true) => vec![f, n_layers, d],
        };
        let (needed, optional) = (false, true);
        let mut tensors = vec![(self.W_enc, encoder, needed), (self.W_dec, decoder, needed)];
        match self.norms {
            None => tensors.extend([(self.b_enc, vec![f], needed), (self.b_dec, vec![d], needed)]),
            Some(norms) => tensors.push((norms, vec![f], needed)),
        }
        tensors.extend([(self.threshold, vec![f], optional), (self.W_skip, vec![d, d], optional)]);
        tensors.extend(self.shift.map(|shift| (shift, vec![f], optional)));
        let whole = |shape: Vec<i64>| if self.stacked { [vec![n_layers], shape].concat() } else { shape };
        let tensors = tensors.into_iter();
        tensors.map(|(part, shape, optional)| Needed { part, shape: whole(shape), optional }).collect()
    }

    /// Judges a layer by its headers: all tensors must be there, in the right shapes and in types that are computed with, and
    /// no others, and they must fit what the config says. Gives the number of features.
    ///
    /// # Errors
    /// If a tensor is missing, unknown, or has another shape or type, or the config asks for something else.
    pub(crate) fn judge(
        &self,
        headers: &Headers<'_>,
        config: &Config,
        at: LayerOf,
    ) -> Result<i64, TranscoderError> {
        let name = |part: &str| numbered(part, at.layer);
        // The number of features is that of the biases, or of encoder rows where there are none; every other tensor must agree.
        let n_features = match self.norms {
            None => headers.get(&name(self.b_enc))?.shape.last(),
            Some(_) => headers.get(&name(self.W_enc))?.shape.first(),
        };
        let n_features = n_features.copied().unwrap_or(0);
        self.judge_width(headers, config, at)?;
        let tensors = self.tensors(n_features, at);
        for Needed { part, shape, optional } in &tensors {
            if !optional || headers.contains(&name(part)) {
                headers.get(&name(part))?.check(shape, Wanted::Numbers)?;
            }
        }
        let known: Vec<_> = tensors.iter().map(|tensor| name(tensor.part)).collect();
        match headers.iter().find(|header| !known.iter().any(|name| name == header.name)) {
            None => {}
            Some(unknown) => {
                let (path, name) = (unknown.path.into(), unknown.name.into());
                return Err(TranscoderError::UnknownTensor { path, name, known: known.join(", ") });
            }
        }
        self.judge_skip(headers, config, at.layer)?;
        self.judge_activation(config, headers, at.layer, n_features)?;
        Ok(n_features)
    }

    /// A set for a model of another width names the model that it was made for.
    fn judge_width(
        &self,
        headers: &Headers<'_>,
        config: &Config,
        at: LayerOf,
    ) -> Result<(), TranscoderError> {
        let tensor = headers.get(&numbered(self.wide(), at.layer))?;
        match tensor.shape.last() {
            Some(&found) if found != at.d_model => Err(TranscoderError::Width {
                path: tensor.path.into(),
                name: tensor.name.into(),
                shape: tensor.shape.to_vec(),
                expected: at.d_model as usize,
                made_for: config.model_name.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// A linear skip that the config has must be there, and no other.
    fn judge_skip(
        &self,
        headers: &Headers<'_>,
        config: &Config,
        layer: usize,
    ) -> Result<(), TranscoderError> {
        let skip = headers.contains(&numbered(self.W_skip, layer));
        if config.skip.is_none_or(|expected| expected == skip) {
            return Ok(());
        }
        let path = headers.get(&numbered(self.wide(), layer))?.path.into();
        let (holds, says) = if skip { ("a", "none") } else { ("no", "one") };
        let reason =
            format!("it holds {holds} linear skip (`{}`), but the config of the set has {says}", self.W_skip);
        Err(TranscoderError::Config { path, reason })
    }

    /// Whether the tensors that are there fit the activation function that the config names.
    ///
    /// # Errors
    /// If they do not.
    fn judge_activation(
        &self,
        config: &Config,
        headers: &Headers<'_>,
        layer: usize,
        n_features: i64,
    ) -> Result<(), TranscoderError> {
        let bad = |reason: String| Err(TranscoderError::Config { path: config.path.clone(), reason });
        let has_thresholds = headers.contains(&numbered(self.threshold, layer));
        match config.selection {
            Selection::TopK(k) | Selection::ReluTopK(k) | Selection::JointTopK(k)
                if k > n_features as usize =>
            {
                bad(format!("k = {k}, but the set has only {n_features} features per layer"))
            }
            Selection::JointTopK(_) if self.norms.is_none() => {
                bad("features are chosen by norms, but the files hold none".into())
            }
            Selection::TopK(_) | Selection::ReluTopK(_) if has_thresholds => {
                bad("activation is topk, but the files hold thresholds".into())
            }
            Selection::Relu if has_thresholds => {
                bad("activation is relu, but the files hold thresholds".into())
            }
            Selection::JumpRelu if !has_thresholds => {
                bad("activation is jump_relu, but the files hold no thresholds".into())
            }
            _ => Ok(()),
        }
    }
}
