//! Total effects: what moves when a source is added once more and every feature above responds, as the graph has it.
//!
//! A direct effect `A[t, s]` is one hop: all other features are held. Where nothing holds them, a feature `m` that moves by `x[m]`
//! writes `x[m] / a[m]` times more of what it writes (`a` its activation), and that goes on: the graph's linear model says
//!
//! `x[t] = A[t, s] + Σ_m A[t, m] · x[m] / a[m]`,
//!
//! the sum over all paths from `s` to `t`. Errors and tokens pass nothing on: nothing moves them. A row sees lower layers alone, so
//! one pass from the lowest layer up solves it exactly (forward substitution); the inverse `(1 - A / a)⁻¹` is never made.
//!
//! It is the effect of a small change in the local replacement model: the model whose patterns and denominators are held, and whose
//! MLPs are the transcoders and their errors. Of a large change it is a prediction. It knows nothing of features that were not
//! selected, of inactive ones that a change switches on, of active ones that it switches off, and of patterns that move.

use crate::Graph;
use crate::influence::{Level, levels};
use circuit_index::NodeIndex;
use rayon::prelude::*;

/// Sources carried along together: a row of the graph is read once for so many.
const TOGETHER: usize = 64;

/// For each of `sources` the change of every row (selected features' pre-activations, then targets) when that source is added once
/// more: the direct effect and all that features pass on. A removed source does the same with the opposite sign.
///
/// # Panics
/// If a node is none that writes.
#[must_use]
pub fn total_effects(graph: &Graph, sources: &[NodeIndex]) -> Vec<Vec<f64>> {
    let levels = levels(&graph.layout(), graph.selected_features());
    sources.chunks(TOGETHER).flat_map(|some| carried_up(graph, &levels, some)).collect()
}

fn carried_up(graph: &Graph, levels: &[Level], sources: &[NodeIndex]) -> Vec<Vec<f64>> {
    let (layout, width) = (graph.layout(), sources.len());
    let mut moved = vec![0.0; layout.n_rows() * width]; // [row, source]
    for level in levels.iter().rev() {
        let (below, here) = moved.split_at_mut(level.rows.start * width);
        let features = level.columns[0].clone();
        let here = here[..level.rows.len() * width].par_chunks_exact_mut(width).zip(level.rows.clone());
        here.for_each(|(sums, row)| {
            let values = graph.rows.row(row);
            for (sum, source) in sums.iter_mut().zip(sources) {
                *sum = f64::from(values[source.get()]);
            }
            for (feature, moved) in features.clone().zip(below.chunks_exact(width)) {
                let per_unit = f64::from(values[feature]) / f64::from(activation(graph, feature));
                // No effect; or an activation that a file has rounded to 0.
                if per_unit == 0.0 || !per_unit.is_finite() {
                    continue;
                }
                for (sum, moved) in sums.iter_mut().zip(moved) {
                    *sum += per_unit * moved;
                }
            }
        });
    }
    let of = |nth| (0..layout.n_rows()).map(|row| moved[row * width + nth]).collect();
    (0..width).map(of).collect()
}

fn activation(graph: &Graph, feature: usize) -> f32 {
    graph.activations[graph.selected[feature].get()]
}
