//! From rows of direct effects to a pruned graph, its scores and its strongest path, on a graph made by hand.
//!
//! `cargo run -p circuit-graph --example prune`

#![allow(clippy::print_stdout)] // an example shows what it does

use circuit_graph::{Graph, GraphError, ModelInfo, Rows, Target, Thresholds, prune, scores, strongest_paths};
use circuit_index::{ActiveIndex, FeatureId, TokenId};

fn main() -> Result<(), GraphError> {
    // Two layers, one token, a feature in each layer. Columns: the features, the errors of both layers, the token.
    let rows = Rows::new(
        5,
        [
            [0.0, 0.0, 0.0, 0.0, 2.0],  // the feature of layer 0 sees the token alone
            [3.0, 0.0, -1.0, 0.0, 0.0], // that of layer 1 what layer 0 writes
            [0.0, 1.0, 0.0, 1.0, 2.0],  // the target sees everything
        ]
        .concat(),
    )?;
    let graph = Graph {
        prompt: "Dallas".into(),
        tokens: vec![TokenId(7)],
        token_strings: vec!["Dallas".into()],
        active: vec![FeatureId::new(0, 0, 31), FeatureId::new(1, 0, 4)],
        activations: vec![1.5, 0.5],
        selected: vec![ActiveIndex(0), ActiveIndex(1)],
        targets: vec![Target { label: "Austin".into(), token_id: TokenId(9), weight: 1.0 }],
        rows,
        model: ModelInfo {
            name: "by hand".into(),
            architecture: "none".into(),
            n_layers: 2,
            d_model: 1,
            d_head: 1,
            n_heads: 1,
            n_key_value_heads: 1,
            d_mlp: 1,
            d_vocab: 10,
            tokenizer_vocab: 10,
            dtype: "float32".into(),
            scan: "none".into(),
            first_token: None,
        },
    };
    graph.validate()?;

    println!("{:?}", scores(&graph));
    let pruned = prune(&graph, Thresholds::new(1.0, 0.9)?);
    for edge in pruned.edges(&graph) {
        println!("node {} -> node {}: {:+}", edge.source, edge.target, edge.weight);
    }
    for path in strongest_paths(&graph, &pruned, None, 0, 2) {
        println!("{:?} carries {:.3} of {}", path.nodes, path.strength, graph.targets[0].label);
    }
    Ok(())
}
