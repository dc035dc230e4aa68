//! Cases that the Python circuit-tracer computed on tiny random models: what it pruned, scored and selected.
//!
//! `tests/data/make.py` cut them out of the golden folder.

use crate::support::{as_links, assert_close, assert_same_scores, graph, mask};
use circuit_graph::{Graph, Ranking, Thresholds, prune, scores, subgraph_scores};
use circuit_index::{ActiveIndex, FeatureId, Node, SourceOrder};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn cases() -> Vec<(String, Value, Graph)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files.iter().map(|file| read(file)).collect()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn read(file: &Path) -> (String, Value, Graph) {
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let case: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let [n_layers, n_pos] = ["n_layers", "n_positions"].map(|key| case[key].as_u64().unwrap() as usize);
    let features: Vec<FeatureId> = case["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .map(|f| FeatureId::new(f[0], f[1], f[2]))
        .collect();
    let weights: Vec<f32> =
        case["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap() as f32).collect();

    let n_sources = features.len() + n_layers * n_pos + n_pos;
    let packed = std::fs::read(file.with_extension("rows")).unwrap();
    let mut rest = packed.as_slice();
    let mut values = Vec::new();
    for _ in 0..features.len() + weights.len() {
        let (bits, after) = rest.split_at(n_sources.div_ceil(8));
        rest = after;
        for i in 0..n_sources {
            values.push(if bits[i / 8] >> (i % 8) & 1 == 1 {
                let (value, after) = rest.split_first_chunk().unwrap();
                rest = after;
                f32::from_le_bytes(*value)
            } else {
                0.0
            });
        }
    }
    assert!(rest.is_empty(), "{name}: {} bytes too many", rest.len());
    let graph = graph(n_layers, n_pos, features, &weights, values);
    graph.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
    (name, case, graph)
}

#[test]
fn nodes_edges_and_shares_are_those_of_the_reference() {
    for (name, case, graph) in cases() {
        let n_nodes = graph.layout().n_nodes();
        for expected in case["prune"].as_array().unwrap() {
            let [node, edge] =
                ["node_threshold", "edge_threshold"].map(|key| expected[key].as_f64().unwrap());
            let pruned = prune(&graph, Thresholds::new(node, edge).unwrap());
            assert_eq!(pruned.kept(), mask(n_nodes, numbers(&expected["nodes"])), "{name} at {node} {edge}");
            if expected["edges"].is_array() {
                let edges: Vec<usize> =
                    pruned.edges(&graph).flat_map(|e| [e.target.get(), e.source.get()]).collect();
                assert_eq!(edges, numbers(&expected["edges"]), "{name} at {node} {edge}");
                assert_eq!(pruned.n_edges() * 2, edges.len());
            }
            for (found, expected) in
                pruned.cumulative().iter().zip(expected["cumulative"].as_array().unwrap())
            {
                assert_close(*found, expected.as_f64().unwrap(), 1e-5, &name);
            }
        }
    }
}

#[test]
fn scores_are_those_of_the_reference() {
    for (name, case, graph) in cases() {
        let found = scores(&graph);
        let [replacement, completeness] =
            ["replacement_score", "completeness_score"].map(|key| case[key].as_f64().unwrap());
        assert_close(found.replacement.unwrap(), replacement, 1e-5, &name);
        assert_close(found.completeness.unwrap(), completeness, 1e-5, &name);
    }
}

/// The row of a node in source order, as long as the engine would hand it out.
pub(crate) fn row_in_source_order(graph: &Graph, order: &SourceOrder, row: usize) -> Vec<f32> {
    let layout = graph.layout();
    let mut values = vec![0.0; order.n_sources()];
    for (column, &value) in graph.rows.row(row).iter().enumerate() {
        let place = match layout.node(column.into()).unwrap() {
            Node::Feature(nth) => order.feature(graph.active[nth].layer, graph.active[nth].pos, nth),
            Node::Error(layer, pos) => order.error(layer, pos),
            Node::Token(pos) => order.token(pos),
            Node::Target(_) => unreachable!("no column"),
        };
        values[place] = value;
    }
    values.truncate(match layout.row_node(row) {
        Some(Node::Feature(nth)) => order.visible_from(graph.active[nth].layer.get()),
        _ => order.n_sources(),
    });
    values
}

/// A ranking that knows the targets' rows of a graph whose features are all selected.
pub(crate) fn ranking_of_targets(graph: &Graph) -> Ranking {
    let layout = graph.layout();
    let mut ranking = Ranking::new(layout.n_layers, layout.n_pos, graph.active.clone());
    for (nth, target) in graph.targets.iter().enumerate() {
        let row = row_in_source_order(graph, ranking.order(), layout.row(Node::Target(nth)).unwrap());
        ranking.add_target_row(target.weight, &row).unwrap();
    }
    ranking
}

#[test]
fn the_choice_of_features_is_that_of_the_reference() {
    for (name, case, graph) in cases().into_iter().filter(|(_, case, _)| case["limited"].is_object()) {
        let limited = &case["limited"];
        let [limit, batch, interval] = ["max_feature_nodes", "batch_size", "update_interval"]
            .map(|key| limited[key].as_u64().unwrap() as usize);
        let mut ranking = ranking_of_targets(&graph);
        while ranking.n_features() < limit {
            for feature in ranking.next((limit - ranking.n_features()).min(batch * interval)).unwrap() {
                let row = row_in_source_order(&graph, ranking.order(), feature.get());
                ranking.add_feature_row(feature, &row).unwrap();
            }
        }

        let (selected, rows) = ranking.into_rows().unwrap();
        let expected = numbers(&limited["selected"]);
        assert_eq!(selected, expected.iter().copied().map(ActiveIndex::from).collect::<Vec<_>>(), "{name}");
        // The rows handed out are those of the full graph, without the features not chosen.
        let layout = graph.layout();
        let columns: Vec<usize> =
            expected.iter().copied().chain(layout.errors()).chain(layout.tokens()).collect();
        for (found, row) in rows.iter().zip(expected.into_iter().chain(layout.n_features..layout.n_rows())) {
            let full = graph.rows.row(row);
            assert_eq!(
                found,
                columns.iter().map(|&column| full[column]).collect::<Vec<_>>(),
                "{name}, row {row}"
            );
        }
    }
}

#[test]
fn an_unpruned_graph_has_the_same_scores_as_links() {
    for (name, _, graph) in cases() {
        let links = as_links(&graph);
        assert_same_scores(links.scores(), scores(&graph), 1e-9, &name);
        let pruned = prune(&graph, Thresholds::new(0.6, 0.98).unwrap());
        let kept = pruned.kept();
        let rows = subgraph_scores(&graph, |node| kept[node.get()]);
        assert_same_scores(links.subgraph_scores(|node| kept[node]), rows, 1e-6, &name);
    }
}
