//! Replacement and completeness: how much of the model's computation a graph explains.
//!
//! After Ameisen et al. (*Circuit Tracing*, methods, "Evaluating graphs"), with `I`, `M` and `w` of the influence module:
//!
//! - replacement `= I(tokens) / (I(tokens) + I(errors))`: the share of end-to-end paths that begin at a token;
//! - completeness `= Σ_n (I[n] + w[n]) · (1 - Σ_e M[n, e]) / Σ_n (I[n] + w[n])`, `e` over errors: the share of a node's input
//!   that no error provides, on average over all nodes. Nodes without inputs count as fully explained.
//!
//! Since `Σ_n (I[n] + w[n]) · M[n, e] = I[e]`, completeness is `1 - I(errors) / Σ_n (I[n] + w[n])`, so both need only `I`.
//!
//! On a subgraph, removed features must not vanish from the account: what they write, the subgraph leaves unexplained.
//! So each is merged into the error node of its layer and position. Effects are linear in what a source writes, so the
//! merged node's effect is the sum of its parts' effects, with their signs. Then both scores are those of the merged
//! graph. Only features can be removed; which errors, tokens or edges a pruned graph shows makes no difference.

use crate::influence::{Flow, target_weights};
use crate::{Graph, Rows};
use circuit_index::{FeatureId, Node, NodeIndex, NodeLayout};
use rayon::prelude::*;
use std::borrow::Cow;

/// How much of the computation a graph explains; each between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Share of the influence that begins at tokens rather than errors. `None` if neither has any.
    pub replacement: Option<f64>,
    /// Share of inputs that come from features and tokens rather than errors, averaged over nodes by influence.
    /// `None` if no target has a weight.
    pub completeness: Option<f64>,
}

impl Scores {
    /// The formulas of the module's header, from `I(tokens)`, `I(errors)` and `Σ_n (I[n] + w[n])`.
    pub(crate) fn of(tokens: f64, errors: f64, all: f64) -> Self {
        Self {
            replacement: (tokens + errors > 0.0).then(|| tokens / (tokens + errors)),
            completeness: (all > 0.0).then(|| 1.0 - errors / all),
        }
    }
}

/// The scores of the full graph.
#[must_use]
pub fn scores(graph: &Graph) -> Scores {
    score(&Flow::of(graph))
}

/// The scores of the subgraph that keeps, of all features, those that `keep` says yes to; the others count as error of
/// their layer and position. For a pruned graph: `|node| pruned.kept()[node.get()]`.
#[must_use]
pub fn subgraph_scores(graph: &Graph, keep: impl Fn(NodeIndex) -> bool) -> Scores {
    let (rows, layout, features) = merge_removed(graph, keep);
    score(&Flow::new(&rows, layout, features.into_iter(), target_weights(graph)))
}

fn score(flow: &Flow<'_>) -> Scores {
    let influence = flow.influence(&flow.inverse_sums(None));
    let tokens: f64 = influence[flow.layout.tokens()].iter().sum();
    let errors: f64 = influence[flow.layout.errors()].iter().sum();
    let all = influence.iter().sum::<f64>() + flow.weights.iter().sum::<f64>();
    Scores::of(tokens, errors, all)
}

/// The graph without the removed features, their outgoing weights added to the error of their layer and position.
fn merge_removed(
    graph: &Graph,
    keep: impl Fn(NodeIndex) -> bool,
) -> (Cow<'_, Rows>, NodeLayout, Vec<FeatureId>) {
    let full = graph.layout();
    let mut kept = Vec::new();
    let mut features = Vec::new();
    let mut removed = Vec::new(); // (column of the feature, column of the error)
    for (column, feature) in graph.selected_features().enumerate() {
        if keep(column.into()) {
            kept.push(column);
            features.push(feature);
        } else {
            removed.push((column, full.index(Node::Error(feature.layer, feature.pos)).get()));
        }
    }
    if removed.is_empty() {
        return (Cow::Borrowed(&graph.rows), full, features);
    }

    let layout = NodeLayout { n_features: kept.len(), ..full };
    let mut values = vec![0.0; layout.n_rows() * layout.n_sources()];
    let from_rows: Vec<usize> = kept.iter().copied().chain(full.n_features..full.n_rows()).collect();
    values.par_chunks_exact_mut(layout.n_sources()).zip(from_rows).for_each(|(to, row)| {
        let from = graph.rows.row(row);
        for (value, &column) in to.iter_mut().zip(&kept) {
            *value = from[column];
        }
        to[layout.errors()].copy_from_slice(&from[full.errors()]);
        to[layout.tokens()].copy_from_slice(&from[full.tokens()]);
        // Features are ordered by layer and position, so those of one error stand together.
        for parts in removed.chunk_by(|a, b| a.1 == b.1) {
            let error = parts[0].1;
            let sum: f64 = parts.iter().map(|&(column, _)| f64::from(from[column])).sum();
            to[error - full.errors().start + layout.errors().start] = (sum + f64::from(from[error])) as f32;
        }
    });
    let rows = Rows::new(layout.n_sources(), values).expect("rows of this layout");
    (Cow::Owned(rows), layout, features)
}
