//! The operations that attribution needs: the floor that times are held against. A multiplication and an addition count as two.
//!
//! A row at layer `l` and position `p` needs, with `H` query and `K` key-value heads of width `dh`:
//!
//! ```text
//! value path:   2 d (H + K) dh        for each layer below its own and each position up to p
//!               at its own layer W_O meets one position alone: 2 d H dh, and 2 d K dh for each position up to p
//! pattern:      2 H dh (p+1)(p+2)/2   for each layer below its own; 2 H dh (p+1) at its own
//! sources:      2 d                   for each source it sees
//! ```
//!
//! That is what the equations ask for, whatever a program does. Not here: times.

use crate::Shape;
use circuit_attribution::Read;
use circuit_replacement::LocalReplacement;

/// Operations that the rows of these reads need.
#[must_use]
pub fn needed_rows(replacement: &LocalReplacement<'_>, reads: &[Read]) -> f64 {
    let spec = replacement.model().spec();
    let (n_layers, n_pos) = (spec.n_layers(), replacement.n_pos());
    let d = spec.d_model as f64;
    let order = replacement.order();
    // Sources written below each layer at positions up to p, tokens among them.
    let mut seen = vec![vec![0.0; n_pos]; n_layers + 1];
    for (l, at_layer) in seen.iter_mut().enumerate() {
        let mut sum = 0.0;
        for (p, at) in at_layer.iter_mut().enumerate() {
            let written = (0..l).map(|below| order.group(below.into(), p.into()).len());
            sum += (written.sum::<usize>() + 1) as f64;
            *at = sum;
        }
    }
    let heads = |l: usize| {
        let attn = &spec.layers[l].attn;
        ((attn.n_heads * attn.d_head) as f64, (attn.n_kv_heads * attn.d_head) as f64)
    };
    let row = |read: &Read| {
        // The layer whose attention meets one position of it, and the layer whose sources it does not see.
        let (own, below, p) = match read {
            Read::Feature(i) => {
                let f = replacement.active()[i.get()];
                (f.layer.get(), f.layer.get(), f.pos.get())
            }
            Read::Direction(_) => (n_layers - 1, n_layers, n_pos - 1),
            Read::Stream(layer, pos, _) => {
                return (0..layer.get()).map(|l| through(heads(l), d, pos.get())).sum();
            }
        };
        let positions = (p + 1) as f64;
        let (q, kv) = heads(own);
        let at_own = 2.0 * d * q + 2.0 * d * kv * positions + 2.0 * q * positions;
        at_own + (0..own).map(|l| through(heads(l), d, p)).sum::<f64>() + 2.0 * d * seen[below][p]
    };
    reads.iter().map(row).sum()
}

/// Down through the attention of a layer, at all positions up to p.
fn through((q, kv): (f64, f64), d: f64, p: usize) -> f64 {
    let positions = (p + 1) as f64;
    positions * 2.0 * d * (q + kv) + positions * (positions + 1.0) * q
}

/// Operations of a forward pass with the unembedding at every position.
#[must_use]
pub fn needed_forward(shape: &Shape) -> f64 {
    let (d, heads) = (shape.d_model as f64, shape.d_head as f64);
    let (q, kv) = (shape.n_heads as f64 * heads, shape.n_kv_heads as f64 * heads);
    let layer = 2.0 * d * (2.0 * q + 2.0 * kv) + 6.0 * d * shape.d_mlp as f64;
    let pattern = 2.0 * 2.0 * q * (shape.n_pos as f64 + 1.0) / 2.0;
    shape.n_pos as f64 * (shape.n_layers as f64 * (layer + pattern) + 2.0 * d * shape.d_vocab as f64)
}

/// Operations of all encoders, the ignored position apart.
#[must_use]
pub fn needed_encode(shape: &Shape) -> f64 {
    (shape.n_pos - 1) as f64 * shape.n_layers as f64 * 2.0 * shape.d_model as f64 * shape.n_features as f64
}
