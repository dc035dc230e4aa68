//! The local replacement model: active features, error vectors, and what each source writes.

use crate::{ReplacementError, Trace};
use circuit_index::{FeatureId, Layer, LayerSite, Pos, Site, SourceOrder, TokenId};
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_transcoder::TranscoderSet;
use tch::{Kind, Tensor};

/// A model and its transcoders on one prompt. All tensors are wide: fp32, or f64 for f64 weights.
#[derive(Debug)]
pub struct LocalReplacement<'a> {
    model: &'a Model,
    transcoders: &'a TranscoderSet,
    tokens: Vec<TokenId>,
    ignored: usize,
    trace: Trace,
    active: Vec<FeatureId>,
    activations: Vec<Tensor>,
    errors: Vec<Tensor>,
    writes: Vec<Tensor>,
    order: SourceOrder,
    unexplained: Vec<f64>,
}

impl<'a> LocalReplacement<'a> {
    /// Runs the model on `tokens` and takes each MLP output apart into features and error. The first `ignored` positions have
    /// neither.
    ///
    /// # Errors
    /// If the tokens do not fit the model, weights hold values that are not finite, or LibTorch fails.
    pub fn new(
        model: &'a Model,
        transcoders: &'a TranscoderSet,
        tokens: &[TokenId],
        ignored: usize,
    ) -> Result<Self, ReplacementError> {
        let (found, expected) = (transcoders.layers().len(), model.spec().n_layers());
        if found != expected {
            return Err(ReplacementError::Layers { found, expected });
        }
        let batch = TokenBatch::new(tokens, model)?;
        if ignored >= tokens.len() && tokens.len() > 1 {
            return Err(ReplacementError::NothingLeft { ignored, n_pos: tokens.len() });
        }
        let trace = Trace::record(model, transcoders, &batch)?;
        circuit_torch::guard(|| tch::no_grad(|| Self::take_apart(model, transcoders, tokens, ignored, trace)))
    }

    fn take_apart(
        model: &'a Model,
        transcoders: &'a TranscoderSet,
        tokens: &[TokenId],
        ignored: usize,
        trace: Trace,
    ) -> Result<Self, ReplacementError> {
        let (n_layers, n_pos) = (model.spec().n_layers(), tokens.len());
        let mut active = Vec::new();
        let (mut activations, mut errors, mut feature_writes) = (Vec::new(), Vec::new(), Vec::new());
        let mut unexplained = Vec::new();
        for (l, (transcoder, layer)) in transcoders.layers().iter().zip(&trace.layers).enumerate() {
            // Wide: rounding encoders and pre-activations to 16 bits would switch features on and off.
            let input = layer.feature_input.to_kind(model.wide_kind());
            let found = transcoder.encode(&input, ignored, l)?;
            let written = transcoder.decoder_rows(&found.indices) * found.values.unsqueeze(-1);
            let output = layer.feature_output.to_kind(model.wide_kind());
            let error = &output - transcoder.reconstruct(&found, &written, &layer.feature_input);
            // No error nodes where there are no features.
            let _ = error.narrow(0, 0, ignored.min(n_pos) as i64).zero_();
            if !bool::try_from(error.isfinite().all())? {
                let culprit = format!(" at layer {l}: decoder rows of active features hold NaN or infinity");
                return Err(ReplacementError::NotFinite { what: "reconstruction errors", culprit });
            }
            unexplained.push(unexplained_share(&output, &error, ignored)?);
            let (positions, indices) = (to_vec(&found.positions)?, to_vec(&found.indices)?);
            active.extend(
                positions.iter().zip(&indices).map(|(&p, &f)| FeatureId::new(l, p as usize, f as usize)),
            );
            activations.push(found.values);
            errors.push(error);
            feature_writes.push(written);
        }
        let order = SourceOrder::new(n_layers, n_pos, &active);
        let writes = feature_writes.iter().zip(&errors).enumerate();
        let writes = writes.map(|(l, (features, errors))| {
            let raw = in_source_order(&order, l, n_pos, features, errors);
            to_stream(model, transcoders.info().writes, &trace, l, n_pos, &order, raw)
        });
        let writes = writes.collect();
        let tokens = tokens.to_vec();
        Ok(Self {
            model,
            transcoders,
            tokens,
            ignored,
            trace,
            active,
            activations,
            errors,
            writes,
            order,
            unexplained,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// The transcoders.
    #[must_use]
    pub fn transcoders(&self) -> &'a TranscoderSet {
        self.transcoders
    }

    /// The prompt.
    #[must_use]
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Number of tokens.
    #[must_use]
    pub fn n_pos(&self) -> usize {
        self.tokens.len()
    }

    /// How many leading positions have neither features nor errors.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// What the model's run left behind.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// All active features, ascending.
    #[must_use]
    pub fn active(&self) -> &[FeatureId] {
        &self.active
    }

    /// Their activations, `[n_active]`.
    pub fn activations(&self) -> Tensor {
        Tensor::cat(&self.activations, 0)
    }

    /// The error vectors of a layer at the transcoders' output site, `[pos, d_model]`; zero at ignored positions.
    pub fn errors(&self, layer: Layer) -> &Tensor {
        &self.errors[layer.get()]
    }

    /// What the sources of a layer write into the residual stream, `[n_sources_of_layer, d_model]`, by position: its features by
    /// index, then the error.
    pub fn writes(&self, layer: Layer) -> &Tensor {
        &self.writes[layer.get()]
    }

    /// The order of all sources.
    #[must_use]
    pub fn order(&self) -> &SourceOrder {
        &self.order
    }

    /// For each layer the fraction of variance that the transcoder leaves unexplained on this prompt: summed squares of the
    /// errors over summed squares of the MLP outputs less their mean, ignored positions apart. Near 1 or above, the transcoder
    /// explains nothing.
    #[must_use]
    pub fn unexplained(&self) -> &[f64] {
        &self.unexplained
    }

    /// The input site under which the set explains this prompt best, with the mean unexplained fraction, tried over all sites a
    /// transcoder can read. For telling a user that the wrong site is read; costs another run of the model.
    ///
    /// # Errors
    /// If the run fails.
    pub fn best_input_site(&self) -> Result<(LayerSite, f64), ReplacementError> {
        let candidates = [LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
        let n_layers = self.model.spec().n_layers();
        let all = candidates.iter().flat_map(|&s| (0..n_layers).map(move |l| Site::Block(Layer::from(l), s)));
        let mut hooks = Hooks::new().record(all);
        let _logits = self.model.forward(&TokenBatch::new(&self.tokens, self.model)?, &mut hooks)?;
        let values = hooks.finish()?;
        circuit_torch::guard(|| {
            let mut best = (self.transcoders.info().reads, f64::INFINITY);
            for site in candidates {
                let mut sum = 0.0;
                for (l, transcoder) in self.transcoders.layers().iter().enumerate() {
                    let input = values[&Site::Block(Layer::from(l), site)]
                        .select(0, 0)
                        .to_kind(self.model.wide_kind());
                    let found = transcoder.encode(&input, self.ignored, l)?;
                    let written = transcoder.decoder_rows(&found.indices) * found.values.unsqueeze(-1);
                    let output = self.trace.layers[l].feature_output.to_kind(self.model.wide_kind());
                    let error = &output - transcoder.reconstruct(&found, &written, &input);
                    sum += unexplained_share(&output, &error, self.ignored)?;
                }
                let mean = sum / n_layers as f64;
                if mean < best.1 {
                    best = (site, mean);
                }
            }
            Ok(best)
        })
    }
}

fn to_vec(t: &Tensor) -> Result<Vec<i64>, ReplacementError> {
    Ok(Vec::try_from(t.to_device(tch::Device::Cpu))?)
}

fn unexplained_share(output: &Tensor, error: &Tensor, ignored: usize) -> Result<f64, ReplacementError> {
    let kept = output.size()[0] - ignored as i64;
    if kept <= 0 {
        return Ok(0.0);
    }
    let output = output.narrow(0, ignored as i64, kept).to_kind(Kind::Double);
    let error = error.narrow(0, ignored as i64, kept).to_kind(Kind::Double);
    // On a single position there is no variance: compare with the output itself.
    let centre = if kept > 1 { output.mean_dim(0, true, Kind::Double) } else { output.zeros_like() };
    let total = f64::try_from((output - centre).square().sum(Kind::Double))?;
    let left = f64::try_from(error.square().sum(Kind::Double))?;
    Ok(if total > 0.0 { left / total } else { 0.0 })
}

/// The rows of features `[n_features, d]` and errors `[pos, d]` of a layer, position by position: features, then the error.
fn in_source_order(
    order: &SourceOrder,
    layer: usize,
    n_pos: usize,
    features: &Tensor,
    errors: &Tensor,
) -> Tensor {
    let layer = Layer::from(layer);
    let first = order.group_features(layer, Pos(0)).start;
    let n_features = features.size()[0];
    let places = (0..n_pos).flat_map(|p| {
        let own = order.group_features(layer, Pos::from(p));
        own.map(move |i| (i - first) as i64).chain([n_features + p as i64])
    });
    let places: Vec<i64> = places.collect();
    Tensor::cat(&[features, errors], 0)
        .index_select(0, &Tensor::from_slice(&places).to_device(features.device()))
}

/// What is written at the output site, as it arrives in the residual stream: through the norm after the MLP, where the site
/// lies before it.
fn to_stream(
    model: &Model,
    site: LayerSite,
    trace: &Trace,
    layer: usize,
    n_pos: usize,
    order: &SourceOrder,
    written: Tensor,
) -> Tensor {
    let post = (&model.blocks()[layer].mlp_post_norm, &trace.layers[layer].mlp_post_scale);
    let (LayerSite::MlpRawOut, (Some(norm), Some(scale))) = (site, post) else { return written };
    let positions = (0..n_pos)
        .flat_map(|p| std::iter::repeat_n(p as i64, order.group(Layer::from(layer), Pos::from(p)).len()));
    let positions = Tensor::from_slice(&positions.collect::<Vec<_>>()).to_device(written.device());
    norm.push(&written, &scale.index_select(0, &positions))
}
