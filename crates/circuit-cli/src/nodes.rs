//! Nodes of a graph as users name them: by their ids in graph files, targets also by their words. Only names are here.

use crate::failure::Failure;
use circuit_graph::Graph;
use circuit_index::{Layer, Node, NodeIndex, Pos, TokenId};

/// A node as graph files name it.
pub(crate) fn id(graph: &Graph, node: NodeIndex) -> String {
    match kind(graph, node) {
        Node::Feature(i) => graph.active[graph.selected[i].get()].to_string(),
        Node::Error(layer, pos) => error_id(layer, pos),
        Node::Token(pos) => token_id(&graph.tokens, pos),
        Node::Target(i) => {
            let (layer, last) = (graph.model.n_layers + 1, graph.tokens.len() - 1);
            format!("{layer}_{}_{last}", graph.targets[i].token_id)
        }
    }
}

/// An error as graph files name it.
pub(crate) fn error_id(layer: Layer, pos: Pos) -> String {
    format!("{layer}_-1_{pos}")
}

/// A token as graph files name it.
pub(crate) fn token_id(tokens: &[TokenId], pos: Pos) -> String {
    format!("E_{}_{pos}", tokens[pos.get()])
}

/// A node for a reader: what it is, and at which word.
pub(crate) fn name(graph: &Graph, node: NodeIndex) -> String {
    let word = |p: Pos| shown(&graph.token_strings[p.get()]);
    match kind(graph, node) {
        Node::Feature(i) => {
            let f = graph.active[graph.selected[i].get()];
            format!("{f} at {}", word(f.pos))
        }
        Node::Error(layer, pos) => format!("error {layer} at {}", word(pos)),
        Node::Token(pos) => format!("token {}", word(pos)),
        Node::Target(i) => format!("output {}", shown(&graph.targets[i].label)),
    }
}

/// The node of a name: an id of graph files, or a target's words.
pub(crate) fn find(graph: &Graph, text: &str) -> Result<NodeIndex, Failure> {
    let nodes = || (0..graph.layout().n_nodes()).map(NodeIndex::from);
    if let Some(node) = nodes().find(|&node| id(graph, node) == text) {
        return Ok(node);
    }
    let labelled = |node: &NodeIndex| match kind(graph, *node) {
        Node::Target(i) => graph.targets[i].label.trim() == text.trim(),
        _ => false,
    };
    let mut found = nodes().filter(labelled);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => Err(Failure::usage(format!("`{text}` is more than one target of this graph"))
            .hint("name it by its id in graph files")),
        _ => Err(Failure::usage(format!("`{text}` is no node of this graph")).hint(
            "nodes are named as in graph files: layer_index_position for features, layer_-1_position for errors, \
             E_token_position for tokens; targets also by their words",
        )),
    }
}

/// What a node is.
pub(crate) fn kind(graph: &Graph, node: NodeIndex) -> Node {
    graph.layout().node(node).expect("a node of this graph")
}

/// A token in quotes, line breaks and the like escaped.
pub(crate) fn shown(token: &str) -> String {
    format!("\"{}\"", token.escape_debug())
}
