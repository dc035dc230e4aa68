//! `<slug>.json`: a pruned graph as Neuronpedia's page and circuit-tracer's read it. The wire types, for both ways.
//!
//! Keys are written in circuit-tracer's order; keys that are not known are kept where a file is read and written again.
//! Read [`GraphFile`] first. Writing is in `write`, the tolerant reading of other producers' files in `read` and
//! `view`, the list of graphs in `listing`. What a server needs that does not read graphs: `head`, `splice`, `check`,
//! `links`. Not here: which nodes and edges are kept, and the page.

mod check;
mod head;
mod links;
mod listing;
mod neuronpedia;
mod read;
mod splice;
mod view;
mod view_ids;
mod write;

pub use check::{CheckError, CheckedGraph, Fault, check_graph_json};
pub use head::read_graph_head;
pub use links::{LinkFile, read_link_file};
pub use listing::{LISTING_FILE, read_listing, update_listing};
pub use neuronpedia::{FeatureDetails, GenerationSettings, Info, Neuronpedia};
pub use read::{NodeKind, ReadGraph, ResolvedLink, ResolvedLinks, read_graph_json};
pub use splice::{with_slug, with_view};
pub use view::QParams;
pub use view_ids::NodeNames;
pub use write::{
    GraphFileOptions, GraphJsonSize, Kept, Written, graph_json_size, graph_metadata, write_graph_files,
    write_graph_json,
};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

/// What this crate writes into `schema_version`: feature numbers are Cantor's.
pub const SCHEMA_VERSION: u64 = 1;

/// `feature_type` of every feature, per-layer transcoders included.
pub(crate) const FEATURE: &str = "cross layer transcoder";
/// `feature_type` of an error node.
pub(crate) const ERROR: &str = "mlp reconstruction error";
/// `feature_type` of a token.
pub(crate) const TOKEN: &str = "embedding";
/// `feature_type` of a target.
pub(crate) const LOGIT: &str = "logit";

/// `feature_type`s of Neuronpedia's attention nodes, which are no features of a transcoder.
pub(crate) const ATTENTION: [&str; 4] = ["lorsa", "lorsa error", "bias", "unknown"];

/// A whole graph file in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphFile {
    /// What the graph is of.
    pub metadata: Metadata,
    /// The saved state of the page.
    #[serde(rename = "qParams")]
    pub q_params: QParams,
    /// The nodes.
    pub nodes: Vec<NodeRecord>,
    /// The edges.
    pub links: Vec<LinkRecord>,
    /// Keys that this crate does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `metadata`, and the entry of a graph in the listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The graph's name: the file's without `.json`.
    pub slug: String,
    /// Which transcoder set provides feature pages.
    pub scan: String,
    /// The set of each layer, where the layers have different ones; otherwise empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub transcoder_list: Vec<String>,
    /// Each token decoded by itself.
    pub prompt_tokens: Vec<String>,
    /// The prompt.
    pub prompt: String,
    /// The threshold with which nodes were pruned; switches the page's slider on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_threshold: Option<f64>,
    /// 1 for Cantor's feature numbers; absent for the older numbering by digits.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u64>,
    /// Keys that this crate does not know, and Neuronpedia's.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One of `nodes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The name that links, pins and supernodes use. Unique in our files, not in every file.
    pub node_id: String,
    /// The feature's number, a token's position, a target's token, -1 for errors.
    #[serde(default, deserialize_with = "whole")]
    pub feature: Option<i64>,
    /// The layer; `E` for tokens.
    pub layer: LayerLabel,
    /// The position.
    #[serde(deserialize_with = "whole_number")]
    pub ctx_idx: i64,
    /// What the node is.
    pub feature_type: String,
    /// A target's probability, otherwise 0.
    #[serde(default, deserialize_with = "null_as_default")]
    pub token_prob: f64,
    /// Whether it is the first target.
    #[serde(default, deserialize_with = "null_as_default")]
    pub is_target_logit: bool,
    /// Always 0.
    #[serde(default, deserialize_with = "whole_or_zero")]
    pub run_idx: i64,
    /// Always 0.
    #[serde(default, deserialize_with = "whole_or_zero")]
    pub reverse_ctx_idx: i64,
    /// An older name, not unique.
    #[serde(rename = "jsNodeId", default, deserialize_with = "null_as_default")]
    pub js_node_id: String,
    /// The label.
    #[serde(default, deserialize_with = "null_as_default")]
    pub clerp: String,
    /// The cumulative share of influence at the node's rank (small is important); none for targets.
    #[serde(default)]
    pub influence: Option<f64>,
    /// A feature's activation.
    #[serde(default)]
    pub activation: Option<f64>,
    /// Keys that this crate does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One of `links`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The id of the node that writes.
    pub source: String,
    /// The id of the node that reads.
    pub target: String,
    /// The direct effect of the source on the target.
    pub weight: f64,
    /// Keys that this crate does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layer of a node: text in circuit-tracer's files, text or a number in Neuronpedia's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerLabel {
    /// A number.
    Number(#[serde(deserialize_with = "whole_number")] i64),
    /// Text: digits, or `E` for tokens.
    Text(String),
}

impl LayerLabel {
    /// The layer as a number, `None` for tokens.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Number(n) => u32::try_from(*n).ok(),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// A whole number, however it is spelled: for JSON, 5.0 is as whole as 5, and tools that know one kind of number write it.
pub(crate) fn as_whole(number: &Number) -> Option<i64> {
    // Beyond this, 64 bits end.
    let exact = |x: &f64| x.fract() == 0.0 && x.abs() < 9.2e18;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
    number.as_i64().or_else(|| number.as_f64().filter(exact).map(|x| x as i64))
}

fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(from: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else { return Ok(None) };
    match as_whole(&number).and_then(|whole| T::try_from(whole).ok()) {
        Some(whole) => Ok(Some(whole)),
        None => Err(D::Error::custom(format_args!("expected a whole number, found {number}"))),
    }
}

fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    whole(from)?.ok_or_else(|| D::Error::custom("expected a whole number, found null"))
}

fn whole_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(whole(from)?.unwrap_or_default())
}

/// Other producers write null where they have nothing.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
