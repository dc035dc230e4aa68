//! Reads graph files of this and other producers: both forms of error ids, both feature numberings, links that lead
//! nowhere, ids that two nodes share.

use super::{ATTENTION, ERROR, GraphFile, LOGIT, NodeRecord, TOKEN};
use crate::atomic::write_atomically;
use crate::cantor::feature_of_number;
use crate::{FormatError, Slug};
use circuit_index::{FeatureId, FeatureIndex, Layer, Pos, TokenId};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A graph file, and what in it deserves a warning.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadGraph {
    /// The file.
    pub file: GraphFile,
    /// Its links as places of nodes.
    pub links: ResolvedLinks,
}

/// Links as places in `nodes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedLinks {
    /// The links whose ends are both there, in file order.
    pub links: Vec<ResolvedLink>,
    /// How many links were left out because an end is missing.
    pub dangling: usize,
    /// Ids that several nodes have: links to them go to the first such node. Older files name the error of layer l at
    /// position p like feature l of layer 0 there.
    pub ambiguous: Vec<String>,
}

/// One link between two places in `nodes`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResolvedLink {
    /// The node that writes.
    pub source: usize,
    /// The node that reads.
    pub target: usize,
    /// The direct effect.
    pub weight: f64,
}

/// What a node of a file is, whatever its id looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// A feature.
    Feature(FeatureId),
    /// The error of a layer at a position.
    Error(Layer, Pos),
    /// The token at a position.
    Token(Pos),
    /// A target: its token, or a number past the vocabulary.
    Logit(TokenId),
    /// Something else, or a feature whose index the file does not tell.
    Other,
}

/// Reads `<slug>.json`.
///
/// # Errors
/// If the file cannot be read, or is no graph file.
pub fn read_graph_json(path: &Path) -> Result<ReadGraph, FormatError> {
    let bytes = fs::read(path).map_err(FormatError::io(path, "read"))?;
    let file: GraphFile = serde_json::from_slice(&bytes).map_err(|source| FormatError::Json {
        path: path.into(),
        expected: "a graph file (metadata, qParams, nodes, links)",
        source,
    })?;
    let links = file.resolve_links();
    Ok(ReadGraph { file, links })
}

impl GraphFile {
    /// Links as places of nodes.
    #[must_use]
    pub fn resolve_links(&self) -> ResolvedLinks {
        let mut resolved = ResolvedLinks::default();
        // The first place of each id, and whether a second was reported.
        let mut places: HashMap<&str, (usize, bool)> = HashMap::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let (first, reported) = places.entry(&node.node_id).or_insert((place, false));
            if *first != place && !*reported {
                *reported = true;
                resolved.ambiguous.push(node.node_id.clone());
            }
        }
        for link in &self.links {
            match (places.get(&*link.source), places.get(&*link.target)) {
                (Some(&(source, _)), Some(&(target, _))) => {
                    resolved.links.push(ResolvedLink { source, target, weight: link.weight });
                }
                _ => resolved.dangling += 1,
            }
        }
        resolved
    }

    /// Writes the file again, unknown keys included, as `<slug>.json` in `folder`.
    ///
    /// # Errors
    /// If the slug cannot name a graph, or the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let slug = Slug::new(&self.metadata.slug)?;
        write_atomically(&folder.join(format!("{slug}.json")), |out| {
            Ok(serde_json::to_writer_pretty(out, self)?)
        })
    }
}

impl NodeRecord {
    /// What the node is. `schema_version` is that of the file's metadata: it says how features are numbered.
    #[must_use]
    pub fn kind(&self, schema_version: Option<u64>) -> NodeKind {
        let Some(pos) = u32::try_from(self.ctx_idx).ok().map(Pos) else { return NodeKind::Other };
        let layer = self.layer.number().map(Layer);
        match (self.feature_type.as_str(), layer) {
            (TOKEN, _) => NodeKind::Token(pos),
            (LOGIT, _) => match self.feature.and_then(|v| u32::try_from(v).ok()) {
                Some(token) => NodeKind::Logit(TokenId(token)),
                None => NodeKind::Other,
            },
            (ERROR, Some(layer)) => NodeKind::Error(layer, pos),
            (_, None) => NodeKind::Other,
            (other, _) if ATTENTION.contains(&other) => NodeKind::Other,
            (_, Some(layer)) => match self.feature_index(layer, schema_version) {
                Some(index) => NodeKind::Feature(FeatureId { layer, pos, index }),
                None => NodeKind::Other,
            },
        }
    }

    /// The index within the layer: from an id `layer_index_position` of that layer, else from the number.
    fn feature_index(&self, layer: Layer, schema_version: Option<u64>) -> Option<FeatureIndex> {
        if let [l, index, _] = *self.node_id.split('_').collect::<Vec<_>>()
            && l.parse() == Ok(layer.0)
            && let Ok(index) = index.parse()
        {
            return Some(FeatureIndex(index));
        }
        let number = u64::try_from(self.feature?).ok()?;
        if schema_version.unwrap_or(0) >= super::SCHEMA_VERSION {
            let (l, index) = feature_of_number(number)?;
            return (l == layer).then_some(index);
        }
        // Older files: the layer's digits, then the index padded with zeros to five or six. Layer 0 has no digits.
        let digits = number.to_string();
        if layer.0 == 0 {
            return digits.parse().ok().map(FeatureIndex);
        }
        digits.strip_prefix(&layer.to_string())?.parse().ok().map(FeatureIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    fn node(id: &str, feature: i64, layer: serde_json::Value, feature_type: &str) -> NodeRecord {
        let node = json!({"node_id": id, "feature": feature, "layer": layer, "ctx_idx": 5,
            "feature_type": feature_type, "jsNodeId": "", "clerp": null});
        NodeRecord::deserialize(&node).unwrap()
    }

    #[test]
    fn kinds_do_not_depend_on_the_form_of_ids() {
        let feature = NodeKind::Feature(FeatureId::new(23, 5, 8855));
        for (node, schema, kind) in [
            (node("23_8855_5", 0, json!("23"), "cross layer transcoder"), None, feature),
            (node("x", 2_308_855, json!("23"), "unexplored node"), None, feature),
            (node("x", 23_008_855, json!(23), "cross layer transcoder"), Some(0), feature),
            (node("x", 39_422_736, json!("23"), "cross layer transcoder"), Some(1), feature),
            (node("0_2_5", -1, json!("2"), ERROR), Some(1), NodeKind::Error(Layer(2), Pos(5))),
            (node("2_-1_5", -1, json!("2"), ERROR), Some(1), NodeKind::Error(Layer(2), Pos(5))),
            (node("E_9_5", 5, json!("E"), TOKEN), Some(1), NodeKind::Token(Pos(5))),
            (node("27_9_5", 9, json!("27"), LOGIT), Some(1), NodeKind::Logit(TokenId(9))),
            (node("3_lor_4_5", 9, json!("3"), "lorsa"), Some(1), NodeKind::Other),
            (node("x", 7, json!("23"), "cross layer transcoder"), Some(1), NodeKind::Other),
        ] {
            assert_eq!(node.kind(schema), kind, "{node:?}");
        }
    }
}
