//! Writes a tiny hand-made graph as graph JSON and as safetensors, reads the latter back, and prints where they are.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use circuit_format::{
    GraphFileOptions, Kept, QParams, Slug, read_safetensors, write_graph_files, write_safetensors,
};
use circuit_graph::{Graph, ModelInfo, Rows, Target};
use circuit_index::{ActiveIndex, FeatureId, TokenId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One layer, two tokens, one feature, one target. Columns: feature, two errors, two tokens.
    let graph = Graph {
        prompt: "The sky".into(),
        tokens: vec![TokenId(1), TokenId(900)],
        token_strings: vec!["The".into(), " sky".into()],
        active: vec![FeatureId::new(0, 1, 7)],
        activations: vec![3.25],
        selected: vec![ActiveIndex(0)],
        targets: vec![Target { label: " is".into(), token_id: TokenId(31), weight: 0.64 }],
        rows: Rows::new(5, vec![0.0, 0.0, 0.0, 0.5, 2.5, 1.5, 0.0, -0.25, 0.0, 0.75])?,
        model: ModelInfo {
            name: "toy".into(),
            architecture: "ToyForCausalLM".into(),
            n_layers: 1,
            d_model: 8,
            d_head: 8,
            n_heads: 1,
            n_key_value_heads: 1,
            d_mlp: 16,
            d_vocab: 1000,
            tokenizer_vocab: 1000,
            dtype: "float32".into(),
            scan: "acme/toy-transcoders".into(),
            first_token: None,
        },
    };
    let folder = std::env::temp_dir().join("circuit-format-example");
    let options = GraphFileOptions {
        slug: Slug::new("toy-sky")?,
        scan: None,
        transcoder_list: Vec::new(),
        node_threshold: Some(1.0),
        view: QParams::default(),
        neuronpedia: None,
    };
    // Everything that is not zero stays; `circuit-graph` prunes real graphs.
    let edges = [(0, 3), (0, 4), (1, 0), (1, 2), (1, 4)];
    let kept = Kept { nodes: &[true; 6], edges, cumulative: &[0.4, 1.0, 0.9, 0.8, 0.7, 1.0] };
    let written = write_graph_files(&folder, &graph, &kept, &options)?;
    println!("{} ({} nodes, {} links)", written.path.display(), written.n_nodes, written.n_links);

    let raw = folder.join("toy-sky.safetensors");
    write_safetensors(&raw, &graph)?;
    assert_eq!(read_safetensors(&raw)?, graph);
    println!("{}", raw.display());
    Ok(())
}
