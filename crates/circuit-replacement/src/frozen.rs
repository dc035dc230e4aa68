//! What one run of the model leaves behind, and running it again with all of that held.
//!
//! With attention patterns, norm denominators and MLP outputs held, the model is linear in whatever is added to the residual
//! stream; only a transcoder's linear skip passes anything through an MLP (methods paper, "local replacement model").
//!
//! Patterns are most of what a run on a long prompt leaves behind. They are kept in the type of the weights, or not at all: then a
//! layer's is made anew from its queries and keys each time it is asked for.

use crate::ReplacementError;
use crate::look::Samples;
use circuit_index::{Layer, LayerSite, Site, TokenId};
use circuit_model::{Hooks, Model, ModelError, QueriesAndKeys, TokenBatch, Visitor};
use circuit_transcoder::TranscoderSet;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// What is kept of one layer but for its pattern; `wide` is fp32, or f64 for f64 weights.
#[derive(Debug)]
pub struct FrozenLayer {
    /// `[pos, 1]`, wide: denominator of the norm before attention.
    pub attn_scale: Tensor,
    /// `[pos, 1]`, wide: of the norm after attention, where there is one.
    pub attn_post_scale: Option<Tensor>,
    /// `[pos, 1]`, wide: of the norm before the MLP.
    pub mlp_scale: Tensor,
    /// `[pos, 1]`, wide: of the norm after the MLP, where there is one.
    pub mlp_post_scale: Option<Tensor>,
    /// `[pos, d_model]`: what the encoders read, in the type of the weights (wide where the site is).
    pub feature_input: Tensor,
    /// `[pos, d_model]`: what the transcoder stands for, in the type of the weights.
    pub feature_output: Tensor,
}

/// What one run of the model on a prompt leaves behind.
#[derive(Debug)]
pub struct Trace {
    /// The layers, first to last.
    pub layers: Vec<FrozenLayer>,
    /// `[pos, 1]`, wide: denominator of the last norm.
    pub final_scale: Tensor,
    /// `[pos, d_model]`, wide: what each token's embedding adds to the stream.
    pub token_vectors: Tensor,
    /// `[pos, d_vocab]`, wide: after any soft cap.
    pub logits: Tensor,
    /// The prompt.
    pub(crate) tokens: Vec<TokenId>,
    /// How many of its first positions have neither features nor errors.
    pub(crate) ignored: usize,
    /// All frozen sites' values as they were visited, to hold them again; perhaps without patterns.
    held: BTreeMap<Site, Tensor>,
    /// Where patterns are not kept: of each layer what makes them.
    patterns: Vec<QueriesAndKeys>,
    wide: Kind,
    /// What encoders could have read.
    pub(crate) samples: Samples,
}

impl Trace {
    /// Runs the model on one prompt, whose first `ignored` positions have no features, and keeps what `transcoders` need: patterns, or
    /// what makes them.
    ///
    /// # Errors
    /// If tokens or transcoders do not fit the model, all positions are ignored, the run fails, or its logits are not finite.
    pub fn record(
        model: &Model,
        transcoders: &TranscoderSet,
        tokens: &[TokenId],
        ignored: usize,
        keep_patterns: bool,
    ) -> Result<Self, ReplacementError> {
        let (found, expected) = (transcoders.layers().len(), model.spec().n_layers());
        if found != expected {
            return Err(ReplacementError::Layers { found, expected });
        }
        let batch = TokenBatch::new(tokens, model)?;
        if ignored >= tokens.len() && tokens.len() > 1 {
            return Err(ReplacementError::NothingLeft { ignored, n_pos: tokens.len() });
        }
        let info = transcoders.info();
        let mut frozen = model.spec().frozen_sites();
        let mut wanted = Vec::new();
        if !keep_patterns {
            frozen.retain(|site| !matches!(site, Site::Block(_, LayerSite::Pattern)));
            wanted.extend((0..model.spec().n_layers()).flat_map(queries_and_keys));
        }
        wanted.extend_from_slice(&frozen);
        wanted.push(Site::Embed);
        wanted.extend(Samples::sites(model.spec().n_layers()));
        for l in 0..model.spec().n_layers() {
            wanted.extend([info.reads, info.writes].map(|site| Site::Block(Layer::from(l), site)));
        }
        let mut hooks = Hooks::new().record(wanted);
        let logits = model.forward(&batch, &mut hooks)?;
        let values = hooks.finish()?;
        circuit_torch::guard(|| {
            let mut trace =
                Self::from_values(model, transcoders, logits, &frozen, &values, (tokens, ignored))?;
            if !keep_patterns {
                let makers = model.blocks().iter().enumerate().map(|(l, block)| {
                    let [q, k] = queries_and_keys(l).map(|site| &values[&site]);
                    QueriesAndKeys::new(block, q, k)
                });
                trace.patterns = makers.collect();
            }
            Ok(trace)
        })
    }

    fn from_values(
        model: &Model,
        transcoders: &TranscoderSet,
        logits: Tensor,
        frozen: &[Site],
        values: &BTreeMap<Site, Tensor>,
        (tokens, ignored): (&[TokenId], usize),
    ) -> Result<Self, ReplacementError> {
        let wide = model.wide_kind();
        let logits = logits.select(0, 0).to_kind(wide);
        if !bool::try_from(logits.isfinite().all())? {
            let culprit = model.find_non_finite();
            let culprit =
                culprit.map(|name| format!(": weight `{name}` holds NaN or infinity")).unwrap_or_default();
            return Err(ReplacementError::NotFinite { what: "logits", culprit });
        }
        let info = transcoders.info();
        let value = |site: &Site| values[site].select(0, 0); // [pos, ..]
        let layers = (0..model.spec().n_layers()).map(|l| {
            let at = |site| Site::Block(Layer::from(l), site);
            let present = |site| values.contains_key(&at(site)).then(|| value(&at(site)));
            FrozenLayer {
                attn_scale: value(&at(LayerSite::AttnNormScale)),
                attn_post_scale: present(LayerSite::AttnPostScale),
                mlp_scale: value(&at(LayerSite::MlpNormScale)),
                mlp_post_scale: present(LayerSite::MlpPostScale),
                feature_input: value(&at(info.reads)),
                feature_output: value(&at(info.writes)),
            }
        });
        Ok(Self {
            patterns: Vec::new(),
            wide,
            layers: layers.collect(),
            final_scale: value(&Site::FinalNormScale),
            token_vectors: value(&Site::Embed).to_kind(wide),
            logits,
            tokens: tokens.to_vec(),
            ignored,
            held: frozen.iter().map(|site| (*site, values[site].shallow_clone())).collect(),
            samples: Samples::of(values, model, ignored),
        })
    }

    /// The value of a frozen site ([`circuit_model::spec::ModelSpec::frozen_sites`]) as it was visited, `[batch = 1, ..]`; `None` for
    /// any other site.
    ///
    /// # Errors
    /// If it is a pattern that has to be made anew, and LibTorch fails, for example for want of memory.
    pub fn frozen(&self, site: Site) -> Result<Option<Tensor>, ModelError> {
        match site {
            Site::Block(layer, LayerSite::Pattern) if !self.patterns.is_empty() => {
                self.patterns.get(layer.get()).map(QueriesAndKeys::pattern).transpose()
            }
            _ => Ok(self.held.get(&site).map(Tensor::shallow_clone)),
        }
    }

    /// A layer's pattern, `[head, query, key]`, wide.
    ///
    /// # Errors
    /// If there is no such layer, or LibTorch fails, for example for want of memory.
    pub fn pattern(&self, layer: Layer) -> Result<Tensor, ReplacementError> {
        let site = Site::Block(layer, LayerSite::Pattern);
        let n_layers = self.layers.len();
        let pattern = self.frozen(site)?.ok_or(ModelError::NoSuchSite { site, n_layers })?;
        Ok(pattern.f_select(0, 0)?.f_to_kind(self.wide)?)
    }
}

/// The sites that make a layer's pattern.
fn queries_and_keys(layer: usize) -> [Site; 2] {
    [LayerSite::RotQ, LayerSite::RotK].map(|site| Site::Block(Layer::from(layer), site))
}

/// A visitor that holds patterns, denominators and MLP outputs at their recorded values and passes a skip's change of input
/// through; then lets `inner` see and change what goes on.
pub struct FrozenPass<'a, V> {
    trace: &'a Trace,
    transcoders: &'a TranscoderSet,
    inner: V,
    /// `[batch, pos, d_model]`: what the current layer's encoders read, less what they read undisturbed.
    input_change: Option<Tensor>,
}

impl<'a, V: Visitor> FrozenPass<'a, V> {
    /// A frozen pass with further hooks.
    pub fn new(trace: &'a Trace, transcoders: &'a TranscoderSet, inner: V) -> Self {
        Self { trace, transcoders, inner, input_change: None }
    }

    /// The further hooks, once the pass is done.
    pub fn into_inner(self) -> V {
        self.inner
    }
}

impl<V: Visitor> Visitor for FrozenPass<'_, V> {
    fn visit(&mut self, site: Site, value: Tensor) -> Result<Tensor, ModelError> {
        let info = self.transcoders.info();
        let mut value = match self.trace.frozen(site)? {
            Some(held) => held.expand_as(&value),
            None => value,
        };
        if let Site::Block(layer, part) = site {
            if part == info.writes {
                let undisturbed = &self.trace.layers[layer.get()].feature_output;
                let skip = &self.transcoders.layers()[layer.get()].W_skip;
                value = match (skip, self.input_change.take()) {
                    (Some(W_skip), Some(change)) => {
                        let passed = change.linear(&W_skip.to_kind(change.kind()), None::<&Tensor>);
                        undisturbed + passed.to_kind(undisturbed.kind())
                    }
                    _ => undisturbed.expand_as(&value),
                };
            }
            if part == info.reads {
                let value = self.inner.visit(site, value)?;
                self.input_change = Some(&value - &self.trace.layers[layer.get()].feature_input);
                return Ok(value);
            }
        }
        self.inner.visit(site, value)
    }

    fn needs(&self) -> Vec<Site> {
        self.inner.needs()
    }
}
