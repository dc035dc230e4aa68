//! The two orders of a graph's nodes, and the names of hook sites.
//!
//! `cargo run -p circuit-index --example order`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_index::{FeatureId, Layer, LayerSite, Node, NodeLayout, Pos, Site, SourceOrder};

fn main() {
    // Two layers, two tokens, two active features, one target.
    let active = [FeatureId::new(0, 1, 31), FeatureId::new(1, 1, 4)];

    // In files: features, errors (layer-major), tokens, targets.
    let layout = NodeLayout { n_features: active.len(), n_layers: 2, n_pos: 2, n_targets: 1 };
    for i in 0..layout.n_nodes() {
        println!("node {i}: {:?}", layout.node(i.into()).expect("within the layout"));
    }
    println!("the error of layer 1 at position 0 is node {}", layout.index(Node::Error(Layer(1), Pos(0))));

    // In computation: tokens, then what each layer writes, so that a layer sees a prefix.
    let order = SourceOrder::new(2, 2, &active);
    println!("layer 1 sees {} of {} sources", order.visible_from(1), order.n_sources());

    // At the edges a site has TransformerLens's name.
    let site: Site = "blocks.1.hook_resid_mid".parse().expect("a known hook");
    assert_eq!(site, Site::Block(Layer(1), LayerSite::ResidMid));
    println!("{site}");
}
