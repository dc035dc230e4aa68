//! Influence: how much of what the targets say comes through a node, over all paths.
//!
//! With `A[t, s]` the direct effect of source `s` on target `t`, `M[t, s] = |A[t, s]| / max(Σ_s |A[t, s]|, 1e-10)` and `w`
//! the weights of the targets, the influence of all nodes is `I = w · (M + M² + …)` (Ameisen et al., *Circuit Tracing*,
//! methods, "Graph pruning"; written there with the inverse `(1 - M)⁻¹ - 1`). The series need not be summed: it solves
//! `I[s] = Σ_t M[t, s] · (I[t] + w[t])`, and a row that reads at layer `l` has entries only at sources of lower layers. So
//! one pass over the rows, targets first and then layer by layer downward, is a backward substitution and exact.
//!
//! `M` is never stored: a row and the inverse of its sum are enough. No pruning and no scores here.

use crate::{Graph, Rows};
use circuit_index::{FeatureId, Layer, Node, NodeLayout, Pos};
use rayon::prelude::*;
use std::ops::Range;

/// What a row's sum of absolute effects is at least taken to be, so that an empty row stays empty.
const SUM_FLOOR: f64 = 1e-10;

/// Columns that one task adds to: their sums, 32 KiB, stay in the nearest cache.
const COLUMNS_PER_TASK: usize = 4096;

/// The influence `I = w · (M + M² + …)` of each node, in node order, in units of target weight: a source with 0.3 has
/// three tenths of a target of weight 1 pass through it. A target's own weight is not part of it, so targets have 0.
#[must_use]
pub fn influence(graph: &Graph) -> Vec<f64> {
    let flow = Flow::of(graph);
    flow.influence(&flow.inverse_sums(None))
}

/// Rows that read at the same depth: none of them sees another, all of them see the same columns.
pub(crate) struct Level {
    /// The rows.
    pub(crate) rows: Range<usize>,
    /// The columns that can differ from zero in them: features below, errors below, tokens.
    pub(crate) columns: [Range<usize>; 3],
}

/// The levels from the outputs down: the targets, then each layer that has features, the last layer first.
pub(crate) fn levels(layout: &NodeLayout, features: impl Iterator<Item = FeatureId>) -> Vec<Level> {
    let mut sizes = vec![0; layout.n_layers];
    for feature in features {
        sizes[feature.layer.get()] += 1;
    }
    let mut end = layout.n_features;
    let mut levels = vec![Level {
        rows: end..layout.n_rows(),
        columns: [layout.features(), layout.errors(), layout.tokens()],
    }];
    for (layer, size) in sizes.into_iter().enumerate().rev().filter(|&(_, size)| size > 0) {
        let first = end - size;
        let errors_end = layout.index(Node::Error(Layer::from(layer), Pos(0))).get();
        let columns = [0..first, layout.errors().start..errors_end, layout.tokens()];
        levels.push(Level { rows: first..end, columns });
        end = first;
    }
    levels
}

/// Rows and target weights, seen as the linear system of the module's header.
pub(crate) struct Flow<'a> {
    /// Direct effects `A`.
    pub(crate) rows: &'a Rows,
    /// The order of the nodes.
    pub(crate) layout: NodeLayout,
    /// The rows by depth, targets first.
    pub(crate) levels: Vec<Level>,
    /// `w`, one for each target.
    pub(crate) weights: Vec<f64>,
}

impl<'a> Flow<'a> {
    /// The system of a whole graph.
    pub(crate) fn of(graph: &'a Graph) -> Self {
        Self::new(&graph.rows, graph.layout(), graph.selected_features(), target_weights(graph))
    }

    /// The system of `rows`, laid out as `layout` says, for these features in node order.
    pub(crate) fn new(
        rows: &'a Rows,
        layout: NodeLayout,
        features: impl Iterator<Item = FeatureId>,
        weights: Vec<f64>,
    ) -> Self {
        let levels = levels(&layout, features);
        debug_assert_eq!(
            hidden_entry(rows, &layout, &levels),
            None,
            "(row, column) sees what is not below it"
        );
        Self { rows, layout, levels, weights }
    }

    /// One over each row's sum of absolute effects, zero for a removed row. With `kept`, one flag for each node, the
    /// sums are those of the matrix whose removed rows and columns are zero.
    pub(crate) fn inverse_sums(&self, kept: Option<&[bool]>) -> Vec<f64> {
        // 0 or 1 as numbers: a product is quicker than a branch in the innermost loop.
        let factors: Option<Vec<f32>> =
            kept.map(|kept| kept.iter().map(|&k| f32::from(u8::from(k))).collect());
        let mut inverses = vec![0.0; self.layout.n_rows()];
        for level in &self.levels {
            let rows = inverses[level.rows.clone()].par_iter_mut().zip(level.rows.clone());
            rows.filter(|(_, row)| kept.is_none_or(|kept| kept[self.node(*row)])).for_each(
                |(inverse, row)| {
                    let values = self.rows.row(row);
                    let sum = |columns: &Range<usize>| match &factors {
                        Some(factors) => sum_abs_masked(&values[columns.clone()], &factors[columns.clone()]),
                        None => sum_abs(&values[columns.clone()]),
                    };
                    *inverse = inverse_sum(level.columns.iter().map(sum).sum());
                },
            );
        }
        inverses
    }

    /// `I` of each node, given one over the sum of each row. Where rows were left out (inverse zero), entries of
    /// removed columns are of no meaning.
    pub(crate) fn influence(&self, inverse_sums: &[f64]) -> Vec<f64> {
        let mut influence = vec![0.0; self.layout.n_nodes()];
        for level in &self.levels {
            // What flows out of a row is final here: it gets influence only from levels that are done.
            let factors: Vec<(usize, f64)> = level
                .rows
                .clone()
                .map(|row| (row, self.through(row, &influence) * inverse_sums[row]))
                .filter(|&(_, factor)| factor > 0.0)
                .collect();
            for columns in &level.columns {
                let tasks = influence[columns.clone()].par_chunks_mut(COLUMNS_PER_TASK).enumerate();
                tasks.for_each(|(task, sums)| {
                    let start = columns.start + task * COLUMNS_PER_TASK;
                    for &(row, factor) in &factors {
                        add_abs(sums, factor, &self.rows.row(row)[start..start + sums.len()]);
                    }
                });
            }
        }
        influence
    }

    /// `I[t] + w[t]` of a row's node: what arrives there to be passed on to its sources.
    pub(crate) fn through(&self, row: usize, influence: &[f64]) -> f64 {
        match self.layout.row_node(row) {
            Some(Node::Target(target)) => self.weights[target],
            _ => influence[self.node(row)],
        }
    }

    /// The place in node order of a row's node.
    pub(crate) fn node(&self, row: usize) -> usize {
        self.layout.row_node(row).map_or(usize::MAX, |node| self.layout.index(node).get())
    }
}

/// What makes a weight a share of its row, given the row's sum of absolute effects.
pub(crate) fn inverse_sum(sum: f64) -> f64 {
    1.0 / sum.max(SUM_FLOOR)
}

/// `w`: the weights of the targets.
pub(crate) fn target_weights(graph: &Graph) -> Vec<f64> {
    graph.targets.iter().map(|target| f64::from(target.weight)).collect()
}

/// The first entry (row, column) that is not zero although its source is written at the row's layer or above.
pub(crate) fn hidden_entry(rows: &Rows, layout: &NodeLayout, levels: &[Level]) -> Option<(usize, usize)> {
    levels.iter().find_map(|level| {
        let hidden = [level.columns[0].end..layout.features().end, level.columns[1].end..layout.errors().end];
        level.rows.clone().find_map(|row| {
            let values = rows.row(row);
            hidden.iter().find_map(|columns| {
                let at = values[columns.clone()].iter().position(|&value| value != 0.0)?;
                Some((row, columns.start + at))
            })
        })
    })
}

/// `Σ |values[i]|`, always added in the same order.
pub(crate) fn sum_abs(values: &[f32]) -> f64 {
    // Eight running sums, because one alone would wait for each addition to finish.
    let mut lanes = [0.0; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value.abs());
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|value| f64::from(value.abs())).sum::<f64>()
}

/// `Σ |values[i]| · factors[i]` for factors 0 or 1, always added in the same order.
fn sum_abs_masked(values: &[f32], factors: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((chunks, rest), (factor_chunks, factor_rest)) = (values.as_chunks::<8>(), factors.as_chunks::<8>());
    for (chunk, factor) in chunks.iter().zip(factor_chunks) {
        for ((lane, value), factor) in lanes.iter_mut().zip(chunk).zip(factor) {
            *lane += f64::from(value.abs() * factor);
        }
    }
    let rest = rest.iter().zip(factor_rest).map(|(value, factor)| f64::from(value.abs() * factor));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

/// `sums[i] += factor · |values[i]|`.
pub(crate) fn add_abs(sums: &mut [f64], factor: f64, values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * f64::from(value.abs());
    }
}
