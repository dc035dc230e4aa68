//! Graphs for tests: everything about them that no algorithm looks at is made up here.

use circuit_graph::{Graph, Link, LinkGraph, LinkNode, ModelInfo, Rows, Scores, Target};
use circuit_index::{ActiveIndex, FeatureId, Node, NodeLayout, TokenId};

/// A graph from what algorithms look at. Values are those of the rows, targets last.
pub(crate) fn graph(
    n_layers: usize,
    n_pos: usize,
    features: Vec<FeatureId>,
    weights: &[f32],
    values: Vec<f32>,
) -> Graph {
    let n_targets = weights.len();
    let layout = NodeLayout { n_features: features.len(), n_layers, n_pos, n_targets };
    let target =
        |(i, &weight): (usize, &f32)| Target { label: format!("x{i}"), token_id: TokenId(0), weight };
    Graph {
        prompt: String::new(),
        tokens: vec![TokenId(0); n_pos],
        token_strings: vec![String::new(); n_pos],
        activations: vec![1.0; features.len()],
        selected: (0..features.len()).map(ActiveIndex::from).collect(),
        active: features,
        targets: weights.iter().enumerate().map(target).collect(),
        rows: Rows::new(layout.n_sources(), values).unwrap(),
        model: ModelInfo {
            name: "none".into(),
            architecture: "none".into(),
            n_layers,
            d_model: 1,
            d_head: 1,
            n_heads: 1,
            n_key_value_heads: 1,
            d_mlp: 1,
            d_vocab: 1,
            tokenizer_vocab: 1,
            dtype: "float32".into(),
            scan: "none".into(),
            first_token: None,
        },
    }
}

/// Whether each node is in the list.
pub(crate) fn mask(n_nodes: usize, nodes: impl IntoIterator<Item = usize>) -> Vec<bool> {
    let mut mask = vec![false; n_nodes];
    nodes.into_iter().for_each(|node| mask[node] = true);
    mask
}

/// Fails unless two numbers differ by at most `tolerance`.
#[track_caller]
pub(crate) fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: found {found}, expected {expected}");
}

/// The same graph as a list of links, nodes in node order.
pub(crate) fn as_links(graph: &Graph) -> LinkGraph {
    let layout = graph.layout();
    let features: Vec<_> = graph.selected_features().collect();
    let node = |place: usize| match layout.node(place.into()).unwrap() {
        Node::Feature(nth) => LinkNode::Feature(features[nth].layer, features[nth].pos),
        Node::Error(layer, pos) => LinkNode::Error(layer, pos),
        Node::Token(_) => LinkNode::Token,
        Node::Target(nth) => LinkNode::Target(graph.targets[nth].weight.into()),
    };
    let links = graph.rows.iter().enumerate().flat_map(|(row, values)| {
        let target = layout.index(layout.row_node(row).unwrap()).get();
        let link = move |(source, &weight): (usize, &f32)| Link { source, target, weight: weight.into() };
        values.iter().enumerate().filter(|(_, weight)| **weight != 0.0).map(link)
    });
    LinkGraph::new((0..layout.n_nodes()).map(node).collect(), links).unwrap()
}

/// Fails unless both pairs of scores are defined alike and differ by at most `tolerance`.
#[track_caller]
pub(crate) fn assert_same_scores(found: Scores, expected: Scores, tolerance: f64, what: &str) {
    for (found, expected) in
        [(found.replacement, expected.replacement), (found.completeness, expected.completeness)]
    {
        assert_eq!(found.is_some(), expected.is_some(), "{what}");
        assert_close(found.unwrap_or_default(), expected.unwrap_or_default(), tolerance, what);
    }
}
