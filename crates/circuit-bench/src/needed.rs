//! The operations that attribution needs, and the bytes it must move: the floor that times are held against. A multiplication and an
//! addition count as two.
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
//! That is what the equations ask for, whatever a program does. Bytes are those of weights, sources and rows, each moved once: what is
//! used again is taken to lie in a cache. Not here: times.

use crate::Shape;
use circuit_attribution::Read;
use circuit_replacement::LocalReplacement;
use tch::Kind;

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

/// Bytes of the weights that a forward pass reads: all layers, the tokens' embeddings, the unembedding.
#[must_use]
pub fn moved_forward(shape: &Shape, kind: Kind) -> f64 {
    let (d, heads) = (shape.d_model as f64, shape.d_head as f64);
    let (q, kv) = (shape.n_heads as f64 * heads, shape.n_kv_heads as f64 * heads);
    let layer = d * (2.0 * q + 2.0 * kv) + 3.0 * d * shape.d_mlp as f64;
    let numbers = shape.n_layers as f64 * layer + d * (shape.d_vocab + shape.n_pos) as f64;
    numbers * kind.elt_size_in_bytes() as f64
}

/// Bytes that encoding reads and writes: all encoders and the decoder rows of active features in the type of the weights, and what
/// they write in fp32.
#[must_use]
pub fn moved_encode(shape: &Shape, kind: Kind, n_active: usize) -> f64 {
    let numbers = (shape.n_layers * shape.n_features + n_active) as f64 * shape.d_model as f64;
    numbers * kind.elt_size_in_bytes() as f64 + 4.0 * (n_active * shape.d_model) as f64
}

/// Bytes that these rows read and write in fp32, if all of them went down together: `W_O`, `W_V` and patterns of all layers, what
/// sources write, the rows' encoder rows, and their sums.
#[must_use]
pub fn moved_rows(replacement: &LocalReplacement<'_>, reads: &[Read]) -> f64 {
    let spec = replacement.model().spec();
    let (n_layers, n_pos, d) = (spec.n_layers(), replacement.n_pos(), spec.d_model);
    let attention = spec.layers.iter().map(|layer| {
        let attn = &layer.attn;
        d * (attn.n_heads + attn.n_kv_heads) * attn.d_head + attn.n_heads * n_pos * n_pos
    });
    let sources = replacement.order().n_sources();
    let sums: usize = reads.iter().map(|read| seen(replacement, read, n_layers)).sum();
    4.0 * (attention.sum::<usize>() + (sources + reads.len()) * d + sums) as f64
}

/// How many sources a read can see.
fn seen(replacement: &LocalReplacement<'_>, read: &Read, n_layers: usize) -> usize {
    let layer = match read {
        Read::Feature(i) => replacement.active()[i.get()].layer.get(),
        Read::Direction(_) => n_layers,
        Read::Stream(layer, ..) => layer.get(),
    };
    replacement.order().visible_from(layer)
}

/// Operations of all encoders, the ignored position apart.
#[must_use]
pub fn needed_encode(shape: &Shape) -> f64 {
    (shape.n_pos - 1) as f64 * shape.n_layers as f64 * 2.0 * shape.d_model as f64 * shape.n_features as f64
}
