//! Graphs for tests: everything about them that no algorithm looks at is made up here.

use circuit_graph::{Graph, ModelInfo, Rows, Target};
use circuit_index::{ActiveIndex, FeatureId, NodeLayout, TokenId};

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
