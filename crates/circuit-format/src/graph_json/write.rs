//! Writes `<slug>.json` node by node and link by link, and tells its size without writing it: nothing as large as the file is
//! ever in memory. Not here: which nodes and links are kept.

use super::listing::Listing;
use super::neuronpedia::{self, Neuronpedia};
use super::{
    ERROR, FEATURE, LOGIT, LayerLabel, LinkRecord, Metadata, NodeNames, NodeRecord, QParams, SCHEMA_VERSION,
    TOKEN,
};
use crate::atomic::write_atomically;
use crate::cantor::feature_number;
use crate::error::Problem;
use crate::first_token;
use crate::{FormatError, Slug};
use circuit_graph::Graph;
use circuit_index::{FeatureId, Layer, Node, NodeLayout, Notice, Pos, TokenId};
use serde::{Serialize, Serializer};
use serde_json::Map;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What pruning kept of a graph.
#[derive(Clone, Debug)]
pub struct Kept<'a, E> {
    /// For each node in node order, whether it stays.
    pub nodes: &'a [bool],
    /// The edges that stay, as (row, column) of the graph's rows: ascending by row, then by column.
    pub edges: E,
    /// For each node in node order, the cumulative share of influence at its rank.
    pub cumulative: &'a [f32],
}

/// How a graph is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphFileOptions {
    /// Its name.
    pub slug: Slug,
    /// The transcoder set, where it is not the graph's own.
    pub scan: Option<String>,
    /// The set of each layer, where the layers have different ones.
    pub transcoder_list: Vec<String>,
    /// The threshold with which nodes were pruned.
    pub node_threshold: Option<f64>,
    /// What the page shows at first: pins, groups, labels.
    pub view: QParams,
    /// Whether the file is for Neuronpedia, and what to tell it.
    pub neuronpedia: Option<Neuronpedia>,
}

/// A graph file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// How many nodes are in it.
    pub n_nodes: usize,
    /// How many links are in it.
    pub n_links: usize,
    notices: Vec<Notice>,
}

impl Written {
    /// What the user should know about the view in the file: ids that no node has, older names that were replaced.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }
}

/// The bytes of a graph file, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphJsonSize {
    /// Metadata, view and punctuation.
    pub frame: u64,
    /// All nodes.
    pub nodes: u64,
    /// All links.
    pub links: u64,
    /// How many nodes there are.
    pub n_nodes: usize,
    /// How many links there are.
    pub n_links: usize,
}

impl GraphJsonSize {
    /// The size of the file in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.frame + self.nodes + self.links
    }
}

/// The `metadata` of a graph's file.
///
/// # Errors
/// Never for what the types allow: only if the options cannot be put into JSON.
pub fn graph_metadata(graph: &Graph, options: &GraphFileOptions) -> serde_json::Result<Metadata> {
    let first_token = graph.model.first_token.iter();
    let first_token =
        first_token.map(|first| (first_token::KEY.to_owned(), first_token::to_json(first))).collect();
    let mut metadata = Metadata {
        slug: options.slug.as_str().into(),
        scan: options.scan.clone().unwrap_or_else(|| graph.model.scan.clone()),
        transcoder_list: options.transcoder_list.clone(),
        prompt_tokens: graph.token_strings.clone(),
        prompt: graph.prompt.clone(),
        node_threshold: options.node_threshold,
        schema_version: Some(SCHEMA_VERSION),
        other: first_token,
    };
    if let Some(options) = &options.neuronpedia {
        neuronpedia::extend(&mut metadata, &graph.model, options)?;
    }
    Ok(metadata)
}

/// Writes `<slug>.json` into a folder, which is made if it is not there, and adds the graph to the list of graphs.
///
/// # Errors
/// If the list is damaged (then nothing is written), the folder cannot be made, or [`write_graph_json`] fails.
pub fn write_graph_files<E>(
    folder: &Path,
    graph: &Graph,
    kept: &Kept<'_, E>,
    options: &GraphFileOptions,
) -> Result<Written, FormatError>
where
    E: IntoIterator<Item = (usize, usize)> + Clone,
{
    fs::create_dir_all(folder).map_err(FormatError::io(folder, "make this folder"))?;
    let path = folder.join(format!("{}.json", options.slug));
    let metadata = graph_metadata(graph, options).map_err(|source| FormatError::Json {
        path: path.clone(),
        expected: "options that fit JSON",
        source,
    })?;
    let listing = Listing::open(folder)?;
    let written = write_graph_json(&path, graph, kept, &metadata, &options.view)?;
    listing.add(&metadata)?;
    Ok(written)
}

/// Writes one graph file. Links whose ends were not both kept are left out, and so are features and errors without a
/// link; tokens and targets stay.
///
/// # Errors
/// If the graph or `kept` is inconsistent, or the file cannot be written.
pub fn write_graph_json<E>(
    path: &Path,
    graph: &Graph,
    kept: &Kept<'_, E>,
    metadata: &Metadata,
    view: &QParams,
) -> Result<Written, FormatError>
where
    E: IntoIterator<Item = (usize, usize)> + Clone,
{
    graph.validate().map_err(FormatError::graph(path))?;
    let content = Content::new(graph, kept).map_err(|problem| problem.at(path))?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let (view, notices) = content.view(view, &file_name);
    let file = content.file(metadata, &view);
    write_atomically(path, |out| Ok(serde_json::to_writer_pretty(out, &file)?))?;
    Ok(Written { path: path.into(), n_nodes: content.n_nodes(), n_links: content.edges().count(), notices })
}

/// The size of the file that [`write_graph_json`] would write, exact to the byte. Takes about as long as writing it.
///
/// # Errors
/// If the graph or `kept` is inconsistent; `path` is for the message alone.
pub fn graph_json_size<E>(
    path: &Path,
    graph: &Graph,
    kept: &Kept<'_, E>,
    metadata: &Metadata,
    view: &QParams,
) -> Result<GraphJsonSize, FormatError>
where
    E: IntoIterator<Item = (usize, usize)> + Clone,
{
    graph.validate().map_err(FormatError::graph(path))?;
    let content = Content::new(graph, kept).map_err(|problem| problem.at(path))?;
    let (view, _) = content.view(view, "");
    let file = content.file(metadata, &view);
    let none = || Stream(std::iter::empty::<()>);
    let bytes = |file: &dyn Fn(&mut Counter) -> serde_json::Result<()>| {
        let mut counter = Counter(0);
        let counted = file(&mut counter).map_err(|source| FormatError::Json {
            path: path.into(),
            expected: "numbers and text that fit JSON",
            source,
        });
        counted.map(|()| counter.0)
    };
    let q_params = &view;
    let frame = bytes(&|out| {
        serde_json::to_writer_pretty(out, &File { metadata, q_params, nodes: none(), links: none() })
    })?;
    let with_nodes = bytes(&|out| {
        let nodes = Stream(|| content.node_records());
        serde_json::to_writer_pretty(out, &File { metadata, q_params, nodes, links: none() })
    })?;
    let all = bytes(&|out| serde_json::to_writer_pretty(out, &file))?;
    let (n_nodes, n_links) = (content.n_nodes(), content.edges().count());
    Ok(GraphJsonSize { frame, nodes: with_nodes - frame, links: all - with_nodes, n_nodes, n_links })
}

/// Counts what is written into it.
struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// [`super::GraphFile`] for writing.
#[derive(Serialize)]
struct File<'a, N: Serialize, L: Serialize> {
    metadata: &'a Metadata,
    #[serde(rename = "qParams")]
    q_params: &'a QParams,
    nodes: N,
    links: L,
}

/// A list that is made while it is written.
struct Stream<F>(F);

impl<I: Iterator<Item: Serialize>, F: Fn() -> I> Serialize for Stream<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0())
    }
}

/// An edge of the file: the row that holds its weight, and its ends in node order.
struct Edge {
    row: usize,
    target: usize,
    source: usize,
}

struct Content<'a, E> {
    graph: &'a Graph,
    layout: NodeLayout,
    kept: &'a Kept<'a, E>,
    /// For each node, whether it is in the file.
    shown: Vec<bool>,
}

impl<'a, E: IntoIterator<Item = (usize, usize)> + Clone> Content<'a, E> {
    fn new(graph: &'a Graph, kept: &'a Kept<'a, E>) -> Result<Self, Problem> {
        let layout = graph.layout();
        let n = layout.n_nodes();
        for (what, found) in [("kept nodes", kept.nodes.len()), ("cumulative shares", kept.cumulative.len())]
        {
            if found != n {
                return Err(Problem::new(what, format_args!("one for each of {n} nodes"), found));
            }
        }
        let mut last = None;
        for edge in kept.edges.clone() {
            if edge.0 >= layout.n_rows() || edge.1 >= layout.n_sources() {
                let size = format_args!("places in {} rows of {}", layout.n_rows(), layout.n_sources());
                return Err(Problem::new("kept edges", size, format_args!("{edge:?}")));
            }
            if last >= Some(edge) {
                let order = format_args!("ascending places, after {last:?} a greater one");
                return Err(Problem::new("kept edges", order, format_args!("{edge:?}")));
            }
            last = Some(edge);
        }
        let largest = graph.selected_features().max_by_key(|f| (f.layer.get() + f.index.get(), f.index));
        if let Some(f) = largest.filter(|f| number_as_signed(*f).is_none()) {
            return Err(Problem::new("feature number", "one of 63 bits", format_args!("that of {f}")));
        }

        let mut content = Self { graph, layout, kept, shown: vec![false; n] };
        let mut shown = vec![false; n];
        for edge in content.edges() {
            shown[edge.target] = true;
            shown[edge.source] = true;
        }
        for (i, shown) in shown.iter_mut().enumerate().skip(layout.tokens().start) {
            *shown = kept.nodes[i];
        }
        content.shown = shown;
        Ok(content)
    }

    fn n_nodes(&self) -> usize {
        self.shown.iter().filter(|&&shown| shown).count()
    }

    /// A view for these nodes, and what is to be said about it; `file` names the file in messages.
    fn view(&self, view: &QParams, file: &str) -> (QParams, Vec<Notice>) {
        if *view == QParams::default() {
            return (view.clone(), Vec::new());
        }
        let names = self.node_records().map(|node| (node.node_id, node.js_node_id));
        view.for_nodes(&NodeNames::new(names), file)
    }

    fn file<'b>(&'b self, metadata: &'b Metadata, view: &'b QParams) -> impl Serialize + 'b {
        File {
            metadata,
            q_params: view,
            nodes: Stream(|| self.node_records()),
            links: Stream(|| self.link_records()),
        }
    }

    /// The edges whose ends were both kept. The nodes of columns come first in node order, so a column is its own node.
    fn edges(&self) -> impl Iterator<Item = Edge> {
        self.kept.edges.clone().into_iter().filter_map(|(row, source)| {
            let target = self.layout.index(self.layout.row_node(row)?).get();
            (self.kept.nodes[target] && self.kept.nodes[source]).then_some(Edge { row, target, source })
        })
    }

    fn node_records(&self) -> impl Iterator<Item = NodeRecord> {
        let shown = self.shown.iter().enumerate().filter(|(_, shown)| **shown);
        shown.filter_map(|(i, _)| Some(self.node_record(i, self.layout.node(i.into())?)))
    }

    fn link_records(&self) -> impl Iterator<Item = LinkRecord> {
        self.edges().filter_map(|edge| {
            Some(LinkRecord {
                source: self.node_id(self.layout.node(edge.source.into())?),
                target: self.node_id(self.layout.node(edge.target.into())?),
                weight: self.graph.rows.row(edge.row)[edge.source].into(),
                other: Map::new(),
            })
        })
    }

    fn feature(&self, nth: usize) -> FeatureId {
        self.graph.active[self.graph.selected[nth].get()]
    }

    fn last_pos(&self) -> usize {
        self.layout.n_pos - 1
    }

    /// Targets stand two above the last layer, as in the reference.
    fn target_layer(&self) -> usize {
        self.layout.n_layers + 1
    }

    fn node_id(&self, node: Node) -> String {
        match node {
            Node::Feature(nth) => self.feature(nth).to_string(),
            Node::Error(layer, pos) => format!("{layer}_-1_{pos}"),
            Node::Token(pos) => format!("E_{}_{pos}", self.graph.tokens[pos.get()]),
            Node::Target(nth) => {
                format!("{}_{}_{}", self.target_layer(), self.graph.targets[nth].token_id, self.last_pos())
            }
        }
    }

    fn node_record(&self, place: usize, node: Node) -> NodeRecord {
        let blank = |number: i64, layer: String, pos: usize, kind: &str, js_node_id: String| NodeRecord {
            node_id: self.node_id(node),
            feature: Some(number),
            layer: LayerLabel::Text(layer),
            ctx_idx: i64::try_from(pos).unwrap_or(i64::MAX),
            feature_type: kind.into(),
            token_prob: 0.0,
            is_target_logit: false,
            run_idx: 0,
            reverse_ctx_idx: 0,
            js_node_id,
            clerp: String::new(),
            influence: Some(self.kept.cumulative[place].into()),
            activation: None,
            other: Map::new(),
        };
        match node {
            Node::Feature(nth) => {
                let f = self.feature(nth);
                let name = format!("{}_{}-0", f.layer, f.index);
                // Checked in `new`.
                let number = number_as_signed(f).unwrap_or_default();
                let activation = self.graph.activations[self.graph.selected[nth].get()];
                let record = blank(number, f.layer.to_string(), f.pos.get(), FEATURE, name);
                NodeRecord { activation: Some(activation.into()), ..record }
            }
            Node::Error(layer, pos) => {
                blank(-1, layer.to_string(), pos.get(), ERROR, format!("{layer}_-1-{pos}"))
            }
            Node::Token(pos @ Pos(number)) => {
                let TokenId(token) = self.graph.tokens[pos.get()];
                blank(number.into(), "E".into(), pos.get(), TOKEN, format!("E_{token}-{pos}"))
            }
            Node::Target(nth) => {
                let target = &self.graph.targets[nth];
                let TokenId(token) = target.token_id;
                let (pos, prob) = (self.last_pos(), f64::from(target.weight));
                let name = format!("L_{token}-{pos}");
                let record =
                    blank(token.into(), Layer::from(self.target_layer()).to_string(), pos, LOGIT, name);
                NodeRecord {
                    token_prob: prob,
                    is_target_logit: nth == 0,
                    clerp: format!("Output \"{}\" (p={prob:.3})", target.label),
                    influence: None,
                    ..record
                }
            }
        }
    }
}

fn number_as_signed(feature: FeatureId) -> Option<i64> {
    feature_number(feature.layer, feature.index).and_then(|number| i64::try_from(number).ok())
}
