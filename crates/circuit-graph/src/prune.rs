//! Pruning: the nodes and edges that carry a given share of the influence, and nothing left dangling.
//!
//! After Ameisen et al. (*Circuit Tracing*, methods, "Graph pruning"), as the Python circuit-tracer does it
//! (docs/method.md, "Influence, pruning, scores"). With `I`, `M` and `w` as in the influence module:
//!
//! 1. nodes: the threshold is the score at the first place, in descending order of `I`, where the cumulative share
//!    reaches `node`; everything at least as high stays, and so does every token and target;
//! 2. edges: rows and columns of removed nodes become zero, which gives `M'` and `I'`; the score of an edge is
//!    `M'[t, s] · (I'[t] + w[t])`, and the threshold for the share `edge` is found in the same way;
//! 3. features and errors without an outgoing edge go, and features without an incoming one, again and again.
//!
//! A share of 1 stops at the smallest score that is not zero (the reference then keeps every zero edge: a fault).
//!
//! Step 3 needs no repetition here: the graph has no cycles, so what survives it are the features on a path of kept
//! edges from a token or an error to a target, and the errors where one begins. `M'` is never stored, edges are never
//! sorted. The graph itself stays as it is.

use crate::influence::Flow;
use crate::threshold::{Blocks, threshold};
use crate::{Graph, GraphError};
use circuit_index::{NodeIndex, NodeLayout};
use rayon::prelude::*;
use std::ops::Range;

/// Which shares of the influence to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    node: f64,
    edge: f64,
}

impl Thresholds {
    /// Shares between 0 (the strongest alone) and 1 (everything that is not zero). The paper uses 0.8 and 0.98.
    ///
    /// # Errors
    /// If one of them is outside 0..=1 or not a number.
    pub fn new(node: f64, edge: f64) -> Result<Self, GraphError> {
        for (name, value) in [("node threshold", node), ("edge threshold", edge)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(GraphError::Threshold { name, value });
            }
        }
        Ok(Self { node, edge })
    }

    /// Share of the influence that the kept nodes carry together.
    #[must_use]
    pub fn node(&self) -> f64 {
        self.node
    }

    /// Share of the edge scores that the kept edges carry together.
    #[must_use]
    pub fn edge(&self) -> f64 {
        self.edge
    }
}

/// A kept edge: a direct effect of one node on another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The node that is affected: a feature or a target.
    pub target: NodeIndex,
    /// The node that affects it: a feature, an error or a token.
    pub source: NodeIndex,
    /// The entry of [`Graph::rows`]: not normalised, with its sign.
    pub weight: f32,
}

/// What pruning leaves of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruned {
    layout: NodeLayout,
    kept: Vec<bool>,
    /// For each row the columns of its kept edges, ascending. Weights stay in the graph.
    sources: Vec<Vec<u32>>,
    influence: Vec<f64>,
    cumulative: Vec<f64>,
}

impl Pruned {
    /// Whether each node stays, in node order.
    #[must_use]
    pub fn kept(&self) -> &[bool] {
        &self.kept
    }

    /// The nodes that stay, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.kept.iter().enumerate().filter(|&(_, &kept)| kept).map(|(node, _)| node.into())
    }

    /// Number of edges that stay.
    #[must_use]
    pub fn n_edges(&self) -> usize {
        self.sources.iter().map(Vec::len).sum()
    }

    /// The columns of the edges that stay in a row of [`Graph::rows`], ascending.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u32] {
        &self.sources[row]
    }

    /// The edges that stay, row after row of `graph`, which must be the graph that was pruned.
    pub fn edges<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = Edge> + 'a {
        self.sources.iter().zip(graph.rows.iter()).enumerate().flat_map(|(row, (sources, values))| {
            let node = self.layout.row_node(row).map(|node| self.layout.index(node));
            let edge = move |&column: &u32| {
                let weight = values[column as usize];
                Some(Edge { target: node?, source: (column as usize).into(), weight })
            };
            sources.iter().filter_map(edge)
        })
    }

    /// The influence of each node of the full graph, in node order; see [`crate::influence`].
    #[must_use]
    pub fn influence(&self) -> &[f64] {
        &self.influence
    }

    /// For each node, in node order, the share of all influence that it and the nodes above it have together, nodes
    /// ordered by influence in the full graph, ties by place. Between 0 and 1; all 0 if there is no influence at all.
    #[must_use]
    pub fn cumulative(&self) -> &[f64] {
        &self.cumulative
    }
}

/// Prunes a graph to the nodes and edges that carry the given shares of the influence. Takes no more memory than a
/// fraction of the graph's, as long as the edge threshold does not keep nearly everything.
#[must_use]
pub fn prune(graph: &Graph, thresholds: Thresholds) -> Pruned {
    let flow = Flow::of(graph);
    let layout = flow.layout;
    let influence = flow.influence(&flow.inverse_sums(None));
    let (kept_at, cumulative) = rank_nodes(&influence, thresholds.node);
    let mut kept: Vec<bool> = influence.iter().map(|&i| kept_at.is_some_and(|least| i >= least)).collect();
    kept[layout.tokens()].fill(true);
    kept[layout.targets()].fill(true);

    let mut sources = strongest_edges(&flow, &kept, thresholds.edge);
    drop_dangling(&flow, &mut kept, &mut sources);
    Pruned { layout, kept, sources, influence, cumulative }
}

/// The threshold on nodes, `None` if nothing has influence, and each node's cumulative share.
fn rank_nodes(influence: &[f64], share: f64) -> (Option<f64>, Vec<f64>) {
    let mut order: Vec<usize> = (0..influence.len()).collect();
    order.sort_by(|&a, &b| influence[b].total_cmp(&influence[a])); // stable: ties stay in node order
    let total: f64 = order.iter().map(|&node| influence[node]).sum();
    let mut cumulative = vec![0.0; influence.len()];
    if total <= 0.0 {
        return (None, cumulative);
    }
    let mut sum = 0.0;
    let mut least = None;
    let mut reached = false;
    for &node in &order {
        sum += influence[node];
        cumulative[node] = sum / total;
        if !reached && influence[node] > 0.0 {
            least = Some(influence[node]);
            // At share 1 rounding must not hide the smallest scores.
            reached = share < 1.0 && cumulative[node] >= share;
        }
    }
    (least, cumulative)
}

/// For each row the columns whose score `M'[t, s] · (I'[t] + w[t])` reaches the threshold.
fn strongest_edges(flow: &Flow<'_>, kept: &[bool], share: f64) -> Vec<Vec<u32>> {
    let scores = EdgeScores::new(flow, kept);
    let mut sources = vec![Vec::new(); flow.layout.n_rows()];
    if let Some(least) = threshold(&scores, share) {
        let chosen: Vec<Vec<u32>> = (0..scores.rows.len())
            .into_par_iter()
            .map(|block| {
                let mut columns = Vec::new();
                scores.each(block, |column, score| {
                    if score >= least {
                        columns.push(column);
                    }
                });
                columns.shrink_to_fit();
                columns
            })
            .collect();
        for (row, columns) in scores.rows.iter().zip(chosen) {
            sources[row.row] = columns;
        }
    }
    sources
}

/// The scores of the edges between kept nodes, computed anew at each visit: that is cheaper than to store them. They
/// are taken per unit of target weight, which moves no threshold and keeps them between 0 and 1.
struct EdgeScores<'a> {
    flow: &'a Flow<'a>,
    /// The kept columns, ascending.
    columns: Vec<u32>,
    rows: Vec<ScoredRow>,
}

/// A row through which something flows.
struct ScoredRow {
    row: usize,
    /// `(I'[t] + w[t]) / Σ_s |A'[t, s]|`, which makes a weight a score.
    scale: f64,
    /// What the row can see, as parts of the list of kept columns.
    seen: [Range<usize>; 3],
}

impl<'a> EdgeScores<'a> {
    fn new(flow: &'a Flow<'a>, kept: &[bool]) -> Self {
        let inverse_sums = flow.inverse_sums(Some(kept));
        let influence = flow.influence(&inverse_sums);
        let total_weight: f64 = flow.weights.iter().sum();
        let columns: Vec<u32> =
            (0_u32..).zip(&kept[..flow.layout.n_sources()]).filter(|c| *c.1).map(|c| c.0).collect();
        let place = |column: usize| columns.partition_point(|&kept| (kept as usize) < column);
        let mut rows = Vec::new();
        for level in flow.levels.iter().rev() {
            let seen = level.columns.clone().map(|part| place(part.start)..place(part.end));
            for row in level.rows.clone() {
                // Zero for a removed row, one that nothing flows to, and if no target has a weight.
                let scale = flow.through(row, &influence) * inverse_sums[row];
                if scale > 0.0 {
                    rows.push(ScoredRow { row, scale: scale / total_weight, seen: seen.clone() });
                }
            }
        }
        Self { flow, columns, rows }
    }

    /// Calls `f` with column and score of each edge of the n-th scored row, columns ascending.
    fn each(&self, nth: usize, mut f: impl FnMut(u32, f32)) {
        let ScoredRow { row, scale, seen } = &self.rows[nth];
        let values = self.flow.rows.row(*row);
        for part in seen {
            for &column in &self.columns[part.clone()] {
                f(column, (f64::from(values[column as usize].abs()) * scale) as f32);
            }
        }
    }
}

impl Blocks for EdgeScores<'_> {
    fn n_blocks(&self) -> usize {
        self.rows.len()
    }

    fn visit(&self, block: usize, mut f: impl FnMut(f32)) {
        self.each(block, |_, score| f(score));
    }
}

/// Removes what is on no path of kept edges from a token or an error to a target, and its edges.
fn drop_dangling(flow: &Flow<'_>, kept: &mut [bool], sources: &mut [Vec<u32>]) {
    let layout = flow.layout;
    let features = layout.features();
    // Rows of features ascend by layer, so one sweep down from the targets finds all that reach one,
    let mut reaches = vec![false; layout.n_sources()];
    for row in (0..layout.n_rows()).rev() {
        if !features.contains(&row) || reaches[row] {
            sources[row].iter().for_each(|&column| reaches[column as usize] = true);
        }
    }
    // and one sweep up all that are reached.
    let mut fed = vec![true; layout.n_sources()];
    for row in features.clone() {
        fed[row] = sources[row].iter().any(|&column| fed[column as usize]);
    }
    for node in features.start..layout.errors().end {
        kept[node] &= reaches[node] && fed[node];
    }
    for (row, columns) in sources.iter_mut().enumerate() {
        let row_is_kept = kept[flow.node(row)];
        columns.retain(|&column| row_is_kept && kept[column as usize]);
    }
}
