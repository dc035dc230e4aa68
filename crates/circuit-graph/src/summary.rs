//! What to tell a reader first: the features with most influence and the strongest paths through a pruned graph.
//!
//! The strength of a path `s → … → t` is the product of `M` along it, where `M[t, s]` is the absolute direct effect divided by
//! the row's sum in the *full* graph: the share of what the target says that comes down exactly this path. Over all paths
//! of the full graph from tokens and errors to one target, strengths add up to 1 (less what enters features without
//! inputs). Only paths along kept edges are looked for. Words and printing are the command line's.

use crate::influence::Flow;
use crate::{Graph, Pruned};
use circuit_index::{Node, NodeIndex};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A path to a target, from where information enters, a token or an error, or from a chosen node.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The nodes on it, where it begins first, the target last.
    pub nodes: Vec<NodeIndex>,
    /// Product of the normalised absolute effects along it, between 0 and 1.
    pub strength: f64,
    /// Whether more of the first node raises the target: an even number of its effects are negative.
    pub raises: bool,
}

/// The kept features with most influence on the targets, at most `count`, strongest first, ties by place.
#[must_use]
pub fn strongest_features(graph: &Graph, pruned: &Pruned, count: usize) -> Vec<NodeIndex> {
    let influence = |node: &NodeIndex| pruned.influence()[node.get()];
    let mut features: Vec<_> =
        pruned.nodes().take_while(|node| graph.layout().features().contains(&node.get())).collect();
    features.sort_by(|a, b| influence(b).total_cmp(&influence(a)));
    features.truncate(count);
    features
}

/// The strongest paths of `pruned`, which was made of `graph`, to the n-th target, at most `count`, strongest first: from tokens and
/// errors, or from one node alone. A feature at which paths begin is not followed further down.
///
/// Best-first search from the target down. It is led by the exact strength of the best way on from each node, so that it
/// looks at nothing but the paths it returns and their side branches.
///
/// # Panics
/// If there is no such target.
#[must_use]
pub fn strongest_paths(
    graph: &Graph,
    pruned: &Pruned,
    from: Option<NodeIndex>,
    target: usize,
    count: usize,
) -> Vec<Path> {
    let flow = Flow::of(graph);
    let layout = flow.layout;
    let inverse_sums = flow.inverse_sums(None);
    // The kept sources of a row with M[t, s] and whether the effect is negative.
    let sources = |row: usize| {
        let (values, inverse) = (graph.rows.row(row), inverse_sums[row]);
        pruned.row(row).iter().map(move |&column| {
            let value = values[column as usize];
            (column as usize, f64::from(value.abs()) * inverse, value < 0.0)
        })
    };
    let begins = |node: usize| match from {
        Some(from) => from.get() == node,
        None => layout.errors().contains(&node) || layout.tokens().contains(&node),
    };
    // Strength of the best path that ends at a node; 1 where paths begin. Rows of features ascend by layer.
    let mut best: Vec<f64> = (0..layout.n_sources()).map(|node| f64::from(u8::from(begins(node)))).collect();
    for row in layout.features().filter(|&row| !begins(row)) {
        best[row] = sources(row).map(|(source, share, _)| share * best[source]).fold(0.0, f64::max);
    }

    let start = layout.index(Node::Target(target));
    let mut steps: Vec<(NodeIndex, usize)> = Vec::new(); // a node and the step towards the target
    let mut open =
        BinaryHeap::from([Open { bound: 1.0, strength: 1.0, raises: true, node: start, towards: 0 }]);
    let mut paths = Vec::new();
    while paths.len() < count
        && let Some(here) = open.pop()
    {
        let step = steps.len();
        steps.push((here.node, here.towards));
        if begins(here.node.get()) {
            let mut nodes = vec![here.node];
            let mut at = step;
            while at != 0 {
                at = steps[at].1;
                nodes.push(steps[at].0);
            }
            paths.push(Path { nodes, strength: here.strength, raises: here.raises });
            continue;
        }
        let Some(row) = layout.node(here.node).and_then(|node| layout.row(node)) else { continue };
        for (source, share, negative) in sources(row) {
            let strength = here.strength * share;
            let bound = strength * best[source];
            if bound > 0.0 {
                let raises = here.raises != negative;
                open.push(Open { bound, strength, raises, node: source.into(), towards: step });
            }
        }
    }
    paths
}

/// The end of a path that still has to be followed down.
struct Open {
    /// Strength of the best path that goes on from here.
    bound: f64,
    strength: f64,
    raises: bool,
    node: NodeIndex,
    towards: usize,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        let strongest = self.bound.total_cmp(&other.bound);
        strongest.then_with(|| (other.towards, other.node).cmp(&(self.towards, self.node)))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}
