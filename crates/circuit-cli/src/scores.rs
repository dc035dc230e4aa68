//! `scores`: how much of the computation a graph explains, whole, pruned, or cut down to chosen features.

use crate::args::ScoresArgs;
use crate::failure::Failure;
use crate::{files, nodes, plan};
use circuit_graph::{Graph, Scores, prune, scores, subgraph_scores};
use circuit_index::Node;
use std::collections::BTreeSet;

pub(crate) fn run(args: ScoresArgs) -> Result<String, Failure> {
    let thresholds = plan::thresholds(args.thresholds)?;
    let graph = files::read_raw(&args.graph)?.graph;
    let pruned = prune(&graph, thresholds);
    let mut rows =
        vec![("full", scores(&graph)), ("pruned", subgraph_scores(&graph, |node| pruned.kept()[node.get()]))];
    if !args.nodes.is_empty() {
        let chosen = chosen(&graph, &args.nodes)?;
        rows.push(("subgraph", subgraph_scores(&graph, |node| chosen.contains(&node.get()))));
    }
    if args.json {
        let entry =
            |s: &Scores| serde_json::json!({"replacement": s.replacement, "completeness": s.completeness});
        let map: serde_json::Map<_, _> =
            rows.iter().map(|(name, s)| ((*name).to_owned(), entry(s))).collect();
        return Ok(format!("{}\n", serde_json::Value::Object(map)));
    }
    let mut text = format!("{:10} {:>11} {:>12}\n", "", "replacement", "completeness");
    for (name, s) in rows {
        text += &format!("{name:10} {:>11} {:>12}\n", share(s.replacement), share(s.completeness));
    }
    Ok(text)
}

/// A score for a reader.
pub(crate) fn share(score: Option<f64>) -> String {
    score.map_or_else(|| "-".into(), |s| format!("{s:.3}"))
}

/// The nodes of features that are named `layer_index_position`.
fn chosen(graph: &Graph, names: &[String]) -> Result<BTreeSet<usize>, Failure> {
    let find = |name: &String| match nodes::find(graph, name) {
        Ok(node) if matches!(nodes::kind(graph, node), Node::Feature(_)) => Ok(node.get()),
        _ => Err(Failure::usage(format!("`{name}` is no feature of this graph"))
            .hint("features are named layer_index_position, as in graph files")),
    };
    names.iter().map(find).collect()
}
