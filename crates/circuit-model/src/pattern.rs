//! Attention patterns from queries and keys: one formula for the forward pass, and for whoever kept no patterns of it.
//!
//! Patterns grow with the square of a prompt, queries and keys with its length: of a long prompt a run keeps the latter
//! ([`QueriesAndKeys`]), and a layer's pattern is made anew when it is asked for. Not here: what values it mixes.

use crate::ModelError;
use crate::model::Block;
use crate::norm::wide;
use crate::spec::{AttnSpec, Reach};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Queries and keys of one layer of a run, and all else that its pattern is made of.
#[derive(Debug)]
pub struct QueriesAndKeys {
    /// `[batch, pos, head, d_head]` and `[batch, pos, kv_head, d_head]`, as they meet: the values of the sites `RotQ` and `RotK`.
    q: Tensor,
    k: Tensor,
    spec: AttnSpec,
    sinks: Option<Tensor>,
}

impl QueriesAndKeys {
    /// Those of a block: the values that a run without a cache had at its sites `RotQ` and `RotK`.
    #[must_use]
    pub fn new(block: &Block, q: &Tensor, k: &Tensor) -> Self {
        let sinks = block.attn.sinks.as_ref().map(Tensor::shallow_clone);
        Self { q: q.shallow_clone(), k: k.shallow_clone(), spec: block.spec.attn.clone(), sinks }
    }

    /// The pattern `[batch, head, query, key]`, as the forward pass makes it.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn pattern(&self) -> Result<Tensor, ModelError> {
        circuit_torch::guard(|| {
            let n_pos = self.q.size()[1] as usize;
            let mask = mask(self.spec.reach, &(0..n_pos), self.q.device());
            Ok(pattern(scores(&self.spec, &self.q, &self.k, &mask), self.sinks.as_ref()))
        })
    }
}

/// `[query, key]`, true where the query does not see the key. Queries stand at these positions, keys at all up to the last of them.
pub(crate) fn mask(reach: Reach, positions: &Range<usize>, device: Device) -> Tensor {
    let (start, end) = (positions.start as i64, positions.end as i64);
    let ones = Tensor::ones([end - start, end], (Kind::Bool, device));
    let later = ones.triu(start + 1);
    match reach {
        Reach::Global => later,
        Reach::Window(n) => later.logical_or(&ones.tril(start - n.get() as i64)),
    }
}

/// Scores `[batch, head, query, key]` of queries `[batch, pos, head, d_head]` and keys `[batch, pos, kv_head, d_head]`: after scale, cap
/// and mask.
pub(crate) fn scores(spec: &AttnSpec, q: &Tensor, k: &Tensor, mask: &Tensor) -> Tensor {
    let (heads, kv_heads, d_head) = (spec.n_heads as i64, spec.n_kv_heads as i64, spec.d_head as i64);
    let (batch, pos, keys) = (q.size()[0], q.size()[1], k.size()[1]);
    // Query heads in groups that share a key-value head: [batch, kv_head, group, pos, d_head].
    let q = q.view([batch, pos, kv_heads, heads / kv_heads, d_head]).permute([0, 2, 3, 1, 4]);
    let k = k.permute([0, 2, 3, 1]).unsqueeze(2);
    let scores = soft_cap(q.matmul(&k) * spec.scale, spec.soft_cap);
    scores.masked_fill(mask, f64::NEG_INFINITY).view([batch, heads, pos, keys])
}

/// The pattern of scores, in their type.
pub(crate) fn pattern(scores: Tensor, sinks: Option<&Tensor>) -> Tensor {
    let kind = scores.kind();
    let wide = scores.to_kind(wide(kind));
    drop(scores);
    softmax(wide, sinks).to_kind(kind)
}

/// The pattern of scores `[batch, head, query, key]`. A sink is one more key, which every query sees and which has no value:
/// what it takes is missing in the sum.
fn softmax(scores: Tensor, sinks: Option<&Tensor>) -> Tensor {
    let Some(sinks) = sinks else { return scores.softmax(-1, None::<Kind>) };
    let &[batch, heads, pos, keys] = scores.size().as_slice() else {
        unreachable!("scores have four dimensions")
    };
    let sinks = sinks.to_kind(scores.kind()).view([1, heads, 1, 1]).expand([batch, heads, pos, 1], false);
    Tensor::cat(&[scores, sinks], -1).softmax(-1, None::<Kind>).narrow(-1, 0, keys).contiguous()
}

/// `cap · tanh(x / cap)`, or `x` without a cap.
pub(crate) fn soft_cap(x: Tensor, cap: Option<f64>) -> Tensor {
    match cap {
        Some(cap) => (x / cap).tanh() * cap,
        None => x,
    }
}
