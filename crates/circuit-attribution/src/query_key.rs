//! Why a head looks where it looks: an attention score taken apart into pairs of sources.
//!
//! With norm denominators held (those over heads included), a head's query at one position and its key at another are each linear in
//! what sources write, plus a constant: `q = q_0 + Σ_i q_i`, `k = k_0 + Σ_j k_j`. The score before any soft cap is
//! `scale · q · k`, so every pair of sources has a share `scale · q_i · k_j`, and all shares together are the score. The
//! vectors `q_i` are rows of the same pull-back as the graph's: each component of the query is a read of the stream before the layer
//! (`Model::score_reads`: projection, norms and the turn of its position folded into one matrix).
//!
//! The constants are what is left of the run when no source writes anything: biases of all kinds, learned positions, and the MLP
//! outputs at ignored positions. They are computed by such a run and not as a remainder, so that the sum can be
//! compared with the measured score. Not here: what the head does with the values (`PullBack::row_by_head`).

use crate::{AttributionError, PullBack, Read};
use circuit_index::{Layer, LayerSite, Pos, Site};
use circuit_model::{Hooks, ScoreEnd, ScoreScales, TokenBatch};
use circuit_replacement::{FrozenPass, LocalReplacement};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Rows of the table of pairs that are looked through at once.
const PAIR_ROWS: i64 = 1024;

/// One side of a pair: a source, by its place in [`circuit_index::SourceOrder`], or what no source writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A source.
    Source(usize),
    /// Biases, learned positions, and MLP outputs at ignored positions.
    Constant,
}

/// A pair of parts and its share of a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// On the query's side.
    pub query: Part,
    /// On the key's side.
    pub key: Part,
    /// `scale · q_i · k_j`.
    pub share: f64,
}

/// A head's query at one position, taken apart; gives the scores of any key position.
pub struct QueryKey<'p, 'a> {
    pull_back: &'p PullBack<'a>,
    layer: Layer,
    head: usize,
    query: Pos,
    /// `[n_sources + 1, d_head]`, the constant last.
    parts: Tensor,
    /// Queries and keys of the run, and of the run without sources, at this layer.
    run: Ends,
    constant: Ends,
}

/// Rotated queries `[pos, head, d_head]` and keys `[pos, kv_head, d_head]` of a layer, wide.
struct Ends {
    queries: Tensor,
    keys: Tensor,
}

/// One attention score, taken apart.
#[derive(Debug)]
pub struct ScoreParts {
    /// The score before any soft cap, as the model computed it.
    pub measured: f64,
    /// The sum of all pairs' shares.
    pub total: f64,
    /// `[n_sources + 1, d_head]`: parts of the query, times the scale of scores.
    query: Tensor,
    /// `[n_sources + 1, d_head]`: parts of the key.
    key: Tensor,
}

impl<'p, 'a> QueryKey<'p, 'a> {
    /// Takes the query of a head at a position apart.
    ///
    /// # Errors
    /// If there is no such layer, head or position, or LibTorch fails.
    pub fn new(
        pull_back: &'p PullBack<'a>,
        layer: Layer,
        head: usize,
        query: Pos,
    ) -> Result<Self, AttributionError> {
        let replacement = pull_back.replacement();
        let spec = replacement.model().spec();
        within("layer", layer.get(), spec.n_layers())?;
        within("head", head, spec.layers[layer.get()].attn.n_heads)?;
        within("position", query.get(), replacement.n_pos())?;
        let run = run(replacement, layer)?;
        let constant = run_without_sources(replacement, layer)?;
        let mut this = Self { pull_back, layer, head, query, parts: Tensor::new(), run, constant };
        this.parts = this.end(ScoreEnd::Query, query)?;
        Ok(this)
    }

    /// Takes the score on a key position apart.
    ///
    /// # Errors
    /// If the query does not see that position, or LibTorch fails.
    pub fn score(&self, key: Pos) -> Result<ScoreParts, AttributionError> {
        within("key position (the query sees none after itself)", key.get(), self.query.get() + 1)?;
        let spec = &self.pull_back.replacement().model().spec().layers[self.layer.get()].attn;
        let key_parts = self.end(ScoreEnd::Key, key)?;
        circuit_torch::guard(|| {
            let query = &self.parts * spec.scale;
            let of_run = |t: Tensor| t.to_kind(Kind::Double);
            let q = of_run(self.value(&self.run, ScoreEnd::Query, self.query));
            let k = of_run(self.value(&self.run, ScoreEnd::Key, key));
            let sum = |t: &Tensor| t.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double);
            let measured = q.dot(&k).double_value(&[]) * spec.scale;
            let total = sum(&query).dot(&sum(&key_parts)).double_value(&[]);
            Ok(ScoreParts { measured, total, query, key: key_parts })
        })
    }

    fn value(&self, ends: &Ends, end: ScoreEnd, pos: Pos) -> Tensor {
        let spec = &self.pull_back.replacement().model().spec().layers[self.layer.get()].attn;
        let (values, head) = match end {
            ScoreEnd::Query => (&ends.queries, self.head),
            ScoreEnd::Key => (&ends.keys, self.head / (spec.n_heads / spec.n_kv_heads)),
        };
        values.get(pos.get() as i64).get(head as i64)
    }

    /// One end of a score by what makes it up, `[n_sources + 1, d_head]`.
    fn end(&self, end: ScoreEnd, pos: Pos) -> Result<Tensor, AttributionError> {
        let replacement = self.pull_back.replacement();
        let trace = replacement.trace();
        let spec = &replacement.model().spec().layers[self.layer.get()].attn;
        let (norm, nth) = match end {
            ScoreEnd::Query => (LayerSite::QNormScale, self.head),
            ScoreEnd::Key => (LayerSite::KNormScale, self.head / (spec.n_heads / spec.n_kv_heads)),
        };
        let place = pos.get() as i64;
        let reads = circuit_torch::guard(|| {
            let over_head = trace.frozen(Site::Block(self.layer, norm))?;
            let scales = ScoreScales {
                attn: trace.layers[self.layer.get()].attn_scale.get(place).double_value(&[0]),
                head: over_head.map(|s| s.double_value(&[0, place, nth as i64, 0])),
            };
            Ok::<_, AttributionError>(
                replacement.model().score_reads(end, self.layer, self.head, pos, scales),
            )
        })?;
        let rows = (0..reads.size()[0]).map(|i| Read::Stream(self.layer, pos, reads.get(i)));
        let rows = self.pull_back.dense_rows(&rows.collect::<Vec<_>>())?; // [d_head, n_sources]
        let constant = self.value(&self.constant, end, pos).unsqueeze(0);
        Ok(Tensor::f_cat(&[rows.f_tr()?, constant], 0)?)
    }
}

fn within(what: &'static str, found: usize, count: usize) -> Result<(), AttributionError> {
    if found < count { Ok(()) } else { Err(AttributionError::Nowhere { what, found, count }) }
}

impl ScoreParts {
    /// The pairs with the largest shares, by absolute value, at most `count`, largest first.
    ///
    /// # Errors
    /// If LibTorch fails.
    pub fn pairs(&self, count: usize) -> Result<Vec<Pair>, AttributionError> {
        circuit_torch::guard(|| tch::no_grad(|| self.largest(count)))
    }

    fn largest(&self, count: usize) -> Result<Vec<Pair>, AttributionError> {
        let n = self.query.size()[0];
        let part = |place: i64| if place == n - 1 { Part::Constant } else { Part::Source(place as usize) };
        let mut largest = Vec::new();
        let mut first = 0;
        while first < n {
            let rows = PAIR_ROWS.min(n - first);
            let shares = self.query.narrow(0, first, rows).matmul(&self.key.tr()).view(-1);
            let kept = (count as i64).min(rows * n);
            let (_, places) = shares.abs().topk(kept, -1, true, false);
            let values = shares.index_select(0, &places).to_kind(Kind::Double);
            let places = Vec::<i64>::try_from(places.to_device(Device::Cpu))?;
            let values = Vec::<f64>::try_from(values.to_device(Device::Cpu))?;
            largest.extend(places.iter().zip(values).map(|(place, share)| Pair {
                query: part(first + place / n),
                key: part(place % n),
                share,
            }));
            first += rows;
        }
        largest.retain(|pair: &Pair| pair.share != 0.0);
        largest.sort_by(|a, b| match b.share.abs().total_cmp(&a.share.abs()) {
            Ordering::Equal => (a.query, a.key).cmp(&(b.query, b.key)),
            unequal => unequal,
        });
        largest.truncate(count);
        Ok(largest)
    }

    /// All shares, `[n_sources + 1, n_sources + 1]`: query's part by key's part, constants last. Square: for small prompts.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn all_pairs(&self) -> Result<Tensor, AttributionError> {
        Ok(self.query.f_matmul(&self.key.f_tr()?)?)
    }
}

fn run(replacement: &LocalReplacement<'_>, layer: Layer) -> Result<Ends, AttributionError> {
    let mut hooks = Hooks::new().record(ends(layer));
    let tokens = TokenBatch::new(replacement.tokens(), replacement.model())?;
    let _logits = replacement.model().forward(&tokens, &mut hooks)?;
    taken(replacement, &hooks.finish()?, layer)
}

/// The frozen run in which no source writes anything.
fn run_without_sources(replacement: &LocalReplacement<'_>, layer: Layer) -> Result<Ends, AttributionError> {
    let model = replacement.model();
    let nothing = circuit_torch::guard(|| {
        let shape = [1, replacement.n_pos() as i64, model.spec().d_model as i64];
        Ok::<_, AttributionError>(Tensor::zeros(shape, (model.kind(), model.device())))
    })?;
    let mut hooks = Hooks::new().record(ends(layer)).hold(Site::Embed, nothing);
    for l in (0..model.spec().n_layers()).map(Layer::from) {
        let written = replacement.written(l)?.f_neg()?.f_unsqueeze(0)?;
        hooks = hooks.add(Site::Block(l, LayerSite::MlpOut), written);
    }
    let tokens = TokenBatch::new(replacement.tokens(), model)?;
    let mut pass = FrozenPass::new(replacement.trace(), replacement.transcoders(), hooks);
    let _logits = model.forward(&tokens, &mut pass)?;
    taken(replacement, &pass.into_inner().finish()?, layer)
}

fn ends(layer: Layer) -> [Site; 2] {
    [LayerSite::RotQ, LayerSite::RotK].map(|site| Site::Block(layer, site))
}

fn taken(
    replacement: &LocalReplacement<'_>,
    values: &BTreeMap<Site, Tensor>,
    layer: Layer,
) -> Result<Ends, AttributionError> {
    let wide = replacement.model().wide_kind();
    let [queries, keys] =
        ends(layer).map(|site| values[&site].f_select(0, 0).and_then(|t| t.f_to_kind(wide)));
    Ok(Ends { queries: queries?, keys: keys? })
}
