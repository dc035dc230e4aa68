//! Effects of single sources, measured: under full freezing ([`effects`]: what a graph's columns must say), and in the model as it is
//! ([`removals`]: what a graph can only predict).
//!
//! It knows nothing of how the graph was computed: additions, held values and forward passes alone.

use crate::InterventionError;
use circuit_index::{ActiveIndex, Layer, LayerSite, Pos, Site};
use circuit_model::{Hooks, TokenBatch};
use circuit_replacement::{FrozenPass, LocalReplacement};
use tch::{Kind, Tensor};

/// Sources side by side in one pass, of a short prompt.
const TOGETHER: usize = 32;
/// So many positions in one pass, at least one prompt's: logits of all of them exist at once.
const POSITIONS: usize = 2048;

/// Something that writes into the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An active feature.
    Feature(ActiveIndex),
    /// What a transcoder leaves unexplained.
    Error(Layer, Pos),
    /// A token's embedding.
    Token(Pos),
}

/// What is held while a source is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    Nothing,
    /// Attention patterns; norms and MLPs respond.
    Patterns,
}

/// What moved when each source was added once more, or removed.
#[derive(Debug)]
pub struct Effects {
    /// `[source, feature]`: every active feature's pre-activation.
    pub features: Tensor,
    /// `[source, d_vocab]`: every logit at the last position before any soft cap, less their mean.
    pub logits: Tensor,
}

/// Measures the effects of sources under full freezing, in the type of the computation.
///
/// # Errors
/// If a source is not there, or a run fails.
pub fn effects(replacement: &LocalReplacement<'_>, sources: &[Source]) -> Result<Effects, InterventionError> {
    moved(replacement, sources, 1.0, &|hooks, tokens| {
        let mut pass = FrozenPass::new(replacement.trace(), replacement.transcoders(), hooks);
        let _logits = replacement.model().forward(tokens, &mut pass)?;
        Ok(pass.into_inner())
    })
}

/// Measures what moves in the model itself when each source is removed: MLPs, norms and (unless held) patterns respond. Removing an
/// active feature is what setting it to 0 is ([`crate::Change::Set`]).
///
/// # Errors
/// As [`effects`].
pub fn removals(
    replacement: &LocalReplacement<'_>,
    sources: &[Source],
    hold: Hold,
) -> Result<Effects, InterventionError> {
    moved(replacement, sources, -1.0, &|mut hooks, tokens| {
        for l in 0..replacement.model().spec().n_layers() {
            let site = Site::Block(Layer::from(l), LayerSite::Pattern);
            if hold == Hold::Patterns
                && let Some(pattern) = replacement.trace().frozen(site)?
            {
                hooks = hooks.hold(site, pattern);
            }
        }
        let _logits = replacement.model().forward(tokens, &mut hooks)?;
        Ok(hooks)
    })
}

/// A forward pass with hooks, and whatever else is held.
type Forward<'f> = &'f dyn for<'h> Fn(Hooks<'h>, &TokenBatch) -> Result<Hooks<'h>, InterventionError>;

/// What moves when each source writes `more` times more than it does.
fn moved(
    replacement: &LocalReplacement<'_>,
    sources: &[Source],
    more: f64,
    forward: Forward<'_>,
) -> Result<Effects, InterventionError> {
    let undisturbed = run(replacement, &[], more, forward)?;
    let together = (POSITIONS / replacement.n_pos()).clamp(1, TOGETHER);
    let moved = sources.chunks(together).map(|together| {
        let (features, logits) = run(replacement, together, more, forward)?;
        Ok((features.f_sub(&undisturbed.0)?, logits.f_sub(&undisturbed.1)?))
    });
    // Without sources there is nothing to join but this.
    let none = Ok((undisturbed.0.f_narrow(0, 0, 0)?, undisturbed.1.f_narrow(0, 0, 0)?));
    let moved: Vec<_> = std::iter::once(none).chain(moved).collect::<Result<_, InterventionError>>()?;
    let (features, logits): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
    let (features, logits) = (Tensor::f_cat(&features, 0)?, Tensor::f_cat(&logits, 0)?);
    let mean = logits.f_mean_dim(-1, true, None::<Kind>)?;
    Ok(Effects { features, logits: logits.f_sub(&mean)? })
}

/// Pre-activations of active features (biases left out) and last logits, `[source, ..]`; one row without sources.
fn run(
    replacement: &LocalReplacement<'_>,
    sources: &[Source],
    more: f64,
    forward: Forward<'_>,
) -> Result<(Tensor, Tensor), InterventionError> {
    let (model, set) = (replacement.model(), replacement.transcoders());
    let reads = (0..model.spec().n_layers()).map(|l| Site::Block(Layer::from(l), set.info().reads));
    let mut hooks = Hooks::new().record(reads).record([Site::LogitsBeforeCap]);
    let batch = sources.len().max(1);
    for (row, &source) in sources.iter().enumerate() {
        for (site, pos, write) in writes(replacement, source)? {
            let shape = [batch as i64, replacement.n_pos() as i64, write.size()[0]];
            let addition = Tensor::f_zeros(shape, (write.kind(), write.device()))?;
            addition.get(row as i64).get(pos).f_copy_(&(write * more))?;
            hooks = hooks.add(site, addition);
        }
    }
    let tokens = TokenBatch::new(replacement.tokens(), model)?.repeat(batch);
    let values = forward(hooks, &tokens)?.finish()?;
    circuit_torch::guard(|| {
        let wide = model.wide_kind();
        let mut features = Vec::new();
        for l in 0..model.spec().n_layers() {
            let layer = Layer::from(l);
            let input = values[&Site::Block(layer, set.info().reads)].to_kind(wide); // [source, pos, d_model]
            for p in 0..replacement.n_pos() {
                let here = replacement.order().group_features(layer, Pos::from(p));
                let indices: Vec<_> = here.map(|i| i64::from(replacement.active()[i].index.0)).collect();
                if !indices.is_empty() {
                    let rows =
                        set.layers()[l].encoder_rows(&Tensor::from_slice(&indices).to_device(input.device()));
                    features.push(input.select(1, p as i64).matmul(&rows.tr()));
                }
            }
        }
        let none = || Tensor::zeros([batch as i64, 0], (wide, model.device()));
        let features = if features.is_empty() { none() } else { Tensor::cat(&features, 1) };
        Ok((features, values[&Site::LogitsBeforeCap].select(1, -1).to_kind(wide)))
    })
}

/// At which sites and positions a source writes, and what.
fn writes(
    replacement: &LocalReplacement<'_>,
    source: Source,
) -> Result<Vec<(Site, i64, Tensor)>, InterventionError> {
    let (set, n_pos) = (replacement.transcoders(), replacement.n_pos());
    let n_layers = set.layers().len();
    let missing = || InterventionError::NoSuchSource(format!("{source:?}"));
    let site = |l: usize| Site::Block(Layer::from(l), set.info().writes);
    circuit_torch::guard(|| match source {
        Source::Token(pos) if pos.get() < n_pos => {
            let pos = pos.get() as i64;
            Ok(vec![(Site::Embed, pos, replacement.trace().token_vectors.get(pos))])
        }
        Source::Error(layer, pos) if layer.get() < n_layers && pos.get() < n_pos => {
            let pos = pos.get() as i64;
            Ok(vec![(site(layer.get()), pos, replacement.errors(layer).get(pos))])
        }
        Source::Feature(i) => {
            let feature = replacement.active().get(i.get()).ok_or_else(missing)?;
            let transcoder = &set.layers()[feature.layer.get()];
            let index = Tensor::from_slice(&[i64::from(feature.index.0)]);
            let activation = replacement.activations().get(i.get() as i64);
            let rows = transcoder.decoder_rows(&index).get(0) * activation; // [n_outputs, d_model]
            let outputs = (feature.layer.get()..n_layers).take(transcoder.n_outputs());
            let pos = i64::from(feature.pos.0);
            Ok(outputs.enumerate().map(|(j, l)| (site(l), pos, rows.get(j as i64))).collect())
        }
        _ => Err(missing()),
    })
}
