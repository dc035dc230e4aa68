//! The local replacement model: one run of a model, taken apart, and what each source writes into the residual stream.

use crate::parts::{Parts, encode};
use crate::{FrozenLayer, ReplacementError, Trace};
use circuit_index::{FeatureId, Layer, LayerSite, SourceOrder, SumOrder, TokenId};
use circuit_model::{Block, Model};
use circuit_transcoder::TranscoderSet;
use tch::{Kind, Tensor};

/// In which type the products of the pull-back are taken. Gradients and sums are wide in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// That of the computation: fp32, or f64 for f64 weights.
    #[default]
    Wide,
    /// bfloat16: factors are rounded to 8 significant bits. For GPUs, and processors that have instructions for it.
    Bfloat16,
}

impl Products {
    /// The type of factors where the computation has the type `wide`.
    #[must_use]
    pub fn kind(self, wide: Kind) -> Kind {
        match self {
            Self::Wide => wide,
            Self::Bfloat16 => Kind::BFloat16,
        }
    }
}

/// How much is done at once, and in what. Cuts change no result, but for the last bits of products of another shape; products of
/// another type do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// When prompts are encoded.
    pub encode: circuit_transcoder::Cuts,
    /// Rows that go down the layers together, at the most ([`Cuts::together`]). More make larger products, fewer keep the gradients in
    /// the processor's caches.
    pub rows: usize,
    /// How many of these groups go down beside one another on a CPU, each on one thread, where layers are kept ([`Cuts::beside`]).
    pub workers: usize,
    /// Whether the patterns of the run are kept. Otherwise its queries and keys are, of which a layer's pattern is made when it is
    /// needed. Fixed once the model has run.
    pub keep_patterns: bool,
    /// Whether patterns are kept as rows need them, beside those of the run. Otherwise each is brought into that form for each
    /// group of rows: for long prompts little work, and half of the memory that patterns take.
    pub keep_folded: bool,
    /// Whether what sources write is kept. Otherwise it is made for each group of rows, a layer at a time, from decoder rows
    /// that are read again: little work beside that of many rows, and most of the memory of a prompt with many features.
    pub keep_writes: bool,
    /// In which type products are taken.
    pub products: Products,
}

impl Default for Cuts {
    /// 64 rows (the best on two cores for models of width 512), one group at a time, all kept, and the transcoders' own.
    fn default() -> Self {
        Self {
            encode: circuit_transcoder::Cuts::default(),
            rows: 64,
            workers: 1,
            keep_patterns: true,
            keep_folded: true,
            keep_writes: true,
            products: Products::Wide,
        }
    }
}

/// Fewer rows than these are not parted between workers: a small product takes nearly as long as one a little larger.
const FEWEST: usize = 32;

impl Cuts {
    /// Whether layers are kept as rows need them. Otherwise they are made anew for each group of rows.
    #[must_use]
    pub fn keep_layers(&self) -> bool {
        self.keep_folded && self.keep_writes
    }

    /// How many groups of rows go down beside one another on a CPU: one where layers are made anew, which takes all threads.
    #[must_use]
    pub fn beside(&self) -> usize {
        if self.keep_layers() { self.workers.max(1) } else { 1 }
    }

    /// How many of `reads` rows go down together: several groups for each worker, so that none waits long for another's last; but
    /// enough rows for products to be worth starting.
    #[must_use]
    pub fn together(&self, reads: usize) -> usize {
        let groups = if self.beside() > 1 { 4 * self.beside() } else { 1 };
        let most = self.rows.max(1);
        reads.div_ceil(groups).clamp(FEWEST.min(most), most)
    }
}

/// A model and its transcoders on one prompt. All tensors are wide: fp32, or f64 for f64 weights.
#[derive(Debug)]
pub struct LocalReplacement<'a> {
    model: &'a Model,
    transcoders: &'a TranscoderSet,
    cuts: Cuts,
    trace: Trace,
    parts: Parts,
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
        Self::new_in(model, transcoders, tokens, ignored, Cuts::default(), |_| Some(Cuts::default()))
    }

    /// The same, cut in another way. Once it is known how many features are active in each layer, and before what they write is
    /// read, `admit` decides how the rest is cut, or that there is no room for them.
    ///
    /// # Errors
    /// As [`LocalReplacement::new`], or if `admit` says no.
    pub fn new_in(
        model: &'a Model,
        transcoders: &'a TranscoderSet,
        tokens: &[TokenId],
        ignored: usize,
        cuts: Cuts,
        admit: impl FnOnce(&[usize]) -> Option<Cuts>,
    ) -> Result<Self, ReplacementError> {
        let trace = Trace::record(model, transcoders, tokens, ignored, cuts.keep_patterns)?;
        Self::take_apart(model, transcoders, trace, cuts, admit)
    }

    /// The same of a run that is over: `trace` is what this model left behind, recorded for these transcoders.
    ///
    /// # Errors
    /// As [`LocalReplacement::new_in`].
    pub fn take_apart(
        model: &'a Model,
        transcoders: &'a TranscoderSet,
        trace: Trace,
        cuts: Cuts,
        admit: impl FnOnce(&[usize]) -> Option<Cuts>,
    ) -> Result<Self, ReplacementError> {
        let (found, expected) = (transcoders.layers().len(), trace.layers.len());
        if found != expected || model.blocks().len() != expected {
            return Err(ReplacementError::Layers { found, expected });
        }
        let work = || {
            let ignored = trace.ignored;
            // Wide: rounding encoders and pre-activations to 16 bits would switch features on and off.
            let wide = |t: &Tensor| t.to_kind(model.wide_kind());
            let inputs: Vec<_> = trace.layers.iter().map(|layer| wide(&layer.feature_input)).collect();
            let outputs: Vec<_> = trace.layers.iter().map(|layer| wide(&layer.feature_output)).collect();
            let found = encode(transcoders, &inputs, ignored, cuts.encode, cuts.workers)?;
            let n_active: Vec<usize> =
                found.iter().map(|features| features.values.size()[0] as usize).collect();
            let no_room = || ReplacementError::NoRoom { n_active: n_active.iter().sum() };
            let cuts = Cuts { keep_patterns: cuts.keep_patterns, ..admit(&n_active).ok_or_else(no_room)? };
            let keep = keep(model, &trace, transcoders, cuts.products);
            let parts = Parts::new(transcoders, found, &inputs, &outputs, ignored, cuts, keep)?;
            Ok(Self { model, transcoders, cuts, trace, parts })
        };
        circuit_torch::guard(|| tch::no_grad(work))
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
        &self.trace.tokens
    }

    /// Number of tokens.
    #[must_use]
    pub fn n_pos(&self) -> usize {
        self.trace.tokens.len()
    }

    /// How many leading positions have neither features nor errors.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.trace.ignored
    }

    /// How much is done at once.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// What the model's run left behind.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// All active features, ascending.
    #[must_use]
    pub fn active(&self) -> &[FeatureId] {
        &self.parts.active
    }

    /// Their activations, `[n_active]`.
    pub fn activations(&self) -> Tensor {
        Tensor::cat(&self.parts.activations, 0)
    }

    /// The error vectors of a layer at the transcoders' output site, `[pos, d_model]`; zero at ignored positions.
    pub fn errors(&self, layer: Layer) -> &Tensor {
        &self.parts.errors[layer.get()]
    }

    /// What is written into the residual stream at a layer, at each of the first `n_pos` positions `[n, d_model]`: the groups of the
    /// layers whose features write there ([`TranscoderSet::writers`]), of each its features by index, then its error. An error of
    /// a layer below writes nothing here and is zero. Kept, or made anew each time; in the type of factors ([`Products::kind`]).
    ///
    /// # Errors
    /// If there is no such layer or position, or LibTorch fails, for example for want of memory.
    pub fn writes(&self, layer: Layer, n_pos: usize) -> Result<Vec<Tensor>, ReplacementError> {
        let keep = keep(self.model, &self.trace, self.transcoders, self.cuts.products);
        circuit_torch::guard(|| {
            tch::no_grad(|| Ok(self.parts.writes(self.transcoders, layer.get(), n_pos, keep)))
        })
    }

    /// The sum of all that sources write into the residual stream at a layer, `[pos, d_model]`, wide.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn written(&self, layer: Layer) -> Result<Tensor, ReplacementError> {
        let wide = self.model.wide_kind();
        let sums = self.writes(layer, self.n_pos())?.into_iter().map(|writes| {
            // In one order, however they lie.
            writes.f_contiguous()?.f_sum_dim_intlist(0, false, wide)
        });
        Ok(Tensor::f_stack(&sums.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// The order of all sources.
    #[must_use]
    pub fn order(&self) -> &SourceOrder {
        &self.parts.order
    }

    /// The order in which their effects are summed up.
    #[must_use]
    pub fn sum_order(&self) -> &SumOrder {
        &self.parts.sum_order
    }

    /// For each layer the fraction of variance that the transcoder leaves unexplained on this prompt: summed squares of the
    /// errors over summed squares of the MLP outputs less their mean, ignored positions apart. Near 1 or above, the transcoder
    /// explains nothing.
    #[must_use]
    pub fn unexplained(&self) -> &[f64] {
        &self.parts.unexplained
    }
}

/// Makes what is written at a layer's output site into what rows need: in the residual stream, in the type of factors.
fn keep<'a>(
    model: &'a Model,
    trace: &'a Trace,
    transcoders: &TranscoderSet,
    products: Products,
) -> impl Fn(usize, &Tensor, &Tensor) -> Tensor + use<'a> {
    let (site, factors) = (transcoders.info().writes, products.kind(model.wide_kind()));
    move |layer, written, positions| {
        to_stream(&model.blocks()[layer], &trace.layers[layer], site, written, positions).to_kind(factors)
    }
}

/// What is written at the output site, as it arrives in the residual stream: through the norm after the MLP, where the site
/// lies before it. `written [n, d_model]`, each row at its position.
fn to_stream(
    block: &Block,
    frozen: &FrozenLayer,
    site: LayerSite,
    written: &Tensor,
    positions: &Tensor,
) -> Tensor {
    match (site, &block.mlp_post_norm, &frozen.mlp_post_scale) {
        (LayerSite::MlpRawOut, Some(norm), Some(scale)) => {
            norm.push(written, &scale.index_select(0, positions))
        }
        _ => written.shallow_clone(),
    }
}
