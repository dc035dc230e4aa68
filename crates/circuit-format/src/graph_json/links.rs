//! The links of a graph file alone, as [`circuit_graph::LinkGraph`] scores them: ids as places, no labels, no numbers of
//! features. Reads a hundred megabytes without keeping more than the links.

use super::{ATTENTION, ERROR, LOGIT, LayerLabel, TOKEN};
use crate::FormatError;
use crate::error::Problem;
use circuit_graph::{Link, LinkGraph, LinkNode};
use circuit_index::{Layer, Pos};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// What scores need of a graph file.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFile {
    graph: LinkGraph,
    places: HashMap<String, usize>,
}

impl LinkFile {
    /// The links.
    #[must_use]
    pub fn graph(&self) -> &LinkGraph {
        &self.graph
    }

    /// The place of a node; of several with the same id, the first.
    #[must_use]
    pub fn place(&self, node_id: &str) -> Option<usize> {
        self.places.get(node_id).copied()
    }
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    nodes: Vec<Node<'a>>,
    #[serde(borrow)]
    links: Vec<FileLink<'a>>,
}

#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow)]
    node_id: Cow<'a, str>,
    layer: LayerLabel,
    ctx_idx: i64,
    #[serde(borrow)]
    feature_type: Cow<'a, str>,
    #[serde(default)]
    token_prob: Option<f64>,
}

#[derive(Deserialize)]
struct FileLink<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    weight: f64,
}

/// Reads the links of the content `file` of a graph file; `path` is for errors. Links that lead nowhere are left out, as
/// everywhere. `None` if the graph has attention nodes, for which scores are not defined.
///
/// # Errors
/// If it is no graph file, or the links do not make a graph: see [`LinkGraph::new`].
pub fn read_link_file(path: &Path, file: &[u8]) -> Result<Option<LinkFile>, FormatError> {
    let file: File<'_> = serde_json::from_slice(file).map_err(|source| FormatError::Json {
        path: path.into(),
        expected: "a graph file (metadata, qParams, nodes, links)",
        source,
    })?;
    if file.nodes.iter().any(|node| ATTENTION.contains(&&*node.feature_type)) {
        return Ok(None);
    }
    let nodes = file.nodes.iter().map(Node::kind).collect::<Result<Vec<_>, _>>();
    let nodes = nodes.map_err(|problem| problem.at(path))?;
    let mut places = HashMap::with_capacity(nodes.len());
    for (place, node) in file.nodes.iter().enumerate() {
        places.entry(node.node_id.to_string()).or_insert(place);
    }
    let links = file.links.iter().filter_map(|link| {
        let (source, target) = (*places.get(&*link.source)?, *places.get(&*link.target)?);
        Some(Link { source, target, weight: link.weight })
    });
    let graph = LinkGraph::new(nodes, links).map_err(FormatError::graph(path))?;
    Ok(Some(LinkFile { graph, places }))
}

impl Node<'_> {
    fn kind(&self) -> Result<LinkNode, Problem> {
        Ok(match &*self.feature_type {
            TOKEN => LinkNode::Token,
            LOGIT => LinkNode::Target(self.token_prob.unwrap_or(0.0)),
            kind => {
                let place = self.layer.number().zip(u32::try_from(self.ctx_idx).ok());
                let Some((layer, pos)) = place else {
                    let found = format_args!("layer {:?}, position {}", self.layer, self.ctx_idx);
                    let what = format_args!("node {}", self.node_id);
                    return Err(Problem::new(what, "a layer and a position", found));
                };
                match kind {
                    ERROR => LinkNode::Error(Layer(layer), Pos(pos)),
                    // Older files call a feature an unexplored node; what is unknown is shown as a feature, too.
                    _ => LinkNode::Feature(Layer(layer), Pos(pos)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(nodes: Value, links: Value) -> Result<Option<LinkFile>, String> {
        let file = json!({"metadata": {}, "qParams": null, "nodes": nodes, "links": links}).to_string();
        read_link_file(Path::new("g.json"), file.as_bytes()).map_err(|e| e.to_string())
    }

    fn node(id: &str, layer: Value, kind: &str) -> Value {
        json!({"node_id": id, "layer": layer, "ctx_idx": 2, "feature_type": kind, "token_prob": 0.5, "clerp": "\"\\u00fc"})
    }

    #[test]
    fn nodes_and_links_come_by_id() {
        let nodes = json!([
            node("E_\u{e9}", json!("E"), TOKEN),
            node("a", json!("0"), "unexplored node"),
            node("a", json!(0), ERROR),
            node("x", json!("27"), LOGIT),
        ]);
        let link = |source: &str, target: &str| json!({"source": source, "target": target, "weight": 2.0});
        let file =
            read(nodes, json!([link("E_\u{e9}", "a"), link("a", "x"), link("a", "gone")])).unwrap().unwrap();
        // Of two nodes with one id the first has the links.
        assert_eq!((file.place("a"), file.place("x"), file.place("gone")), (Some(1), Some(3), None));
        let place = (Layer(0), Pos(2));
        assert_eq!(
            file.graph().nodes(),
            [
                LinkNode::Token,
                LinkNode::Feature(place.0, place.1),
                LinkNode::Error(place.0, place.1),
                LinkNode::Target(0.5)
            ]
        );
        assert_eq!(file.graph().scores().replacement, Some(1.0));
    }

    #[test]
    fn what_cannot_be_scored_is_told_apart_from_what_is_wrong() {
        assert_eq!(read(json!([node("l", json!(1), "lorsa")]), json!([])), Ok(None));
        let error = read(json!([node("a", json!("E"), "cross layer transcoder")]), json!([])).unwrap_err();
        assert!(error.contains("g.json") && error.contains("node a"), "{error}");
        let circle = json!([{"source": "a", "target": "a", "weight": 1}]);
        assert!(read(json!([node("a", json!(1), "x")]), circle).unwrap_err().contains("circle"));
        assert!(read(json!({}), json!([])).unwrap_err().contains("expected a graph file"));
    }
}
