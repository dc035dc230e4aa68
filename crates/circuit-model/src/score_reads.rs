//! What an attention score reads: the two linear maps from the residual stream to a head's rotated query and key, with norm
//! denominators held.
//!
//! `score = scale · q · k` before any soft cap, with `q = Rot_p(gain_q ⊙ (W_Q P(gain_1 ⊙ x) / s_1 + b) / s_q)` and `k` likewise
//! (`s_q` only where queries have a norm, `Rot_p` only where positions rotate). With `s_1` and `s_q` held this is affine in the stream
//! `x`; here is its matrix. Not here: what the stream is made of, and the constants.

use crate::Model;
use crate::rope::RopeTables;
use circuit_index::{Layer, Pos};
use tch::Tensor;

/// The two ends of an attention score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreEnd {
    /// The query, at the position that attends.
    Query,
    /// The key, at the position that is attended to.
    Key,
}

/// Norm denominators of one run at one end of a score.
#[derive(Clone, Copy, Debug)]
pub struct ScoreScales {
    /// Of the norm before attention, at the end's position.
    pub attn: f64,
    /// Of the norm over the head, where there is one.
    pub head: Option<f64>,
}

impl Model {
    /// `[d_head, d_model]`, wide: how the query or key of a (query) head at a position, normed and rotated, follows from the
    /// residual stream before the layer there, constants left out. Heads of one group have the same key.
    ///
    /// # Panics
    /// If the model has no such layer or head.
    pub fn score_reads(
        &self,
        end: ScoreEnd,
        layer: Layer,
        head: usize,
        pos: Pos,
        scales: ScoreScales,
    ) -> Tensor {
        let block = &self.blocks[layer.get()];
        let spec = &block.spec.attn;
        let (projection, nth) = match end {
            ScoreEnd::Query => (&block.attn.q, head),
            ScoreEnd::Key => (&block.attn.k, head / (spec.n_heads / spec.n_kv_heads)),
        };
        let d_head = spec.d_head as i64;
        let W = projection.weight.narrow(0, nth as i64 * d_head, d_head).to_kind(self.wide_kind());
        let norm = &block.attn_norm;
        let mut reads = norm.centre(&(W * norm.gain())).tr() / scales.attn; // [d_model, d_head]
        if let (Some(norms), Some(scale)) = (&block.attn.qk_norm, scales.head) {
            reads = norms[usize::from(end == ScoreEnd::Key)].push(&reads, &Tensor::from(scale));
        }
        if let Some(rope) = &spec.rope {
            let tables = RopeTables::new(rope, pos.get()..pos.get() + 1, spec.d_head, &reads);
            reads = tables.rotate_at_first(&reads);
        }
        reads.tr()
    }
}
