//! Runs `tests/spec/*.md`: small graphs, and what pruning and scoring make of them, in words and numbers.
//!
//! Names in a `graph` block: features as listed, `e<layer>.<position>` errors, `t<position>` tokens, targets as listed.
//! A later block speaks of the graph above it.

use crate::support::{as_links, assert_close, assert_same_scores, graph, mask};
use circuit_graph::{Graph, Thresholds, influence, prune, scores, subgraph_scores};
use circuit_index::FeatureId;
use std::path::Path;

struct Named {
    graph: Graph,
    names: Vec<String>, // in node order
}

impl Named {
    /// `layers 2`, `tokens 1`, `features a=0.0` (layer.position), `targets x=0.5` (weight), `x: a 1, t0 -2` (sources).
    fn read(block: &str) -> Self {
        let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("");
        let [n_layers, n_pos] = ["layers ", "tokens "].map(|key| field(key).trim().parse::<usize>().unwrap());
        let pairs = |key: &str| {
            field(key).split_whitespace().filter_map(|word| word.split_once('=')).collect::<Vec<_>>()
        };
        let place =
            |text: &str| text.split_once('.').map(|(l, p)| (l.parse().unwrap(), p.parse().unwrap())).unwrap();
        let (features, targets) = (pairs("features "), pairs("targets "));

        let ids = features
            .iter()
            .enumerate()
            .map(|(i, (_, at))| FeatureId::new(place(at).0, place(at).1, i))
            .collect();
        let weights: Vec<f32> = targets.iter().map(|(_, weight)| weight.parse().unwrap()).collect();
        let mut names: Vec<String> = features.iter().map(|f| f.0.to_owned()).collect();
        names.extend((0..n_layers).flat_map(|l| (0..n_pos).map(move |p| format!("e{l}.{p}"))));
        names.extend((0..n_pos).map(|p| format!("t{p}")));
        let n_sources = names.len();
        names.extend(targets.iter().map(|t| t.0.to_owned()));

        let mut values = vec![0.0; (features.len() + targets.len()) * n_sources];
        for (reader, sources) in block.lines().filter_map(|line| line.split_once(':')) {
            let row = features.iter().chain(&targets).position(|(name, _)| *name == reader).unwrap();
            for source in sources.split(',') {
                let (name, weight) = source.trim().split_once(' ').unwrap();
                let column = names.iter().position(|n| n == name).unwrap();
                values[row * n_sources + column] = weight.trim().parse().unwrap();
            }
        }
        let graph = graph(n_layers, n_pos, ids, &weights, values);
        graph.validate().unwrap();
        Self { graph, names }
    }

    fn node(&self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no node `{name}`"))
    }

    fn check(&self, words: &[&str], block: &str, at: &str) {
        let lines =
            || block.lines().map(|line| line.split_once(':').unwrap_or_else(|| panic!("{at}: `{line}`")));
        match words {
            ["influence"] => {
                for (name, value) in lines() {
                    let found = influence(&self.graph)[self.node(name)];
                    assert_close(found, value.trim().parse().unwrap(), 1e-6, &format!("{at}, {name}"));
                }
            }
            ["prune", node, edge] => {
                let thresholds = Thresholds::new(node.parse().unwrap(), edge.parse().unwrap()).unwrap();
                let pruned = prune(&self.graph, thresholds);
                for (key, value) in lines() {
                    match key {
                        "nodes" => {
                            let expected =
                                mask(self.names.len(), value.split_whitespace().map(|name| self.node(name)));
                            assert_eq!(pruned.kept(), expected, "{at}: nodes");
                        }
                        "edges" => {
                            let edge = |text: &str| {
                                text.split_once("<-").map(|(t, s)| (self.node(t), self.node(s))).unwrap()
                            };
                            let expected: Vec<_> = value.split_whitespace().map(edge).collect();
                            let found: Vec<_> =
                                pruned.edges(&self.graph).map(|e| (e.target.get(), e.source.get())).collect();
                            assert_eq!(found, expected, "{at}: edges");
                        }
                        name => {
                            let share = pruned.cumulative()[self.node(name)];
                            assert_close(
                                share,
                                value.trim().parse().unwrap(),
                                1e-6,
                                &format!("{at}, {name}"),
                            );
                        }
                    }
                }
            }
            ["scores", removed @ ..] => {
                // Each example is scored twice: as rows and as links.
                let links = as_links(&self.graph);
                let (found, by_links) = match removed {
                    [] => (scores(&self.graph), links.scores()),
                    ["without", names @ ..] => {
                        let removed: Vec<_> = names.iter().map(|name| self.node(name)).collect();
                        let found = subgraph_scores(&self.graph, |node| !removed.contains(&node.get()));
                        (found, links.subgraph_scores(|node| !removed.contains(&node)))
                    }
                    _ => panic!("{at}: unknown block"),
                };
                assert_same_scores(by_links, found, 1e-6, at);
                for (key, value) in lines() {
                    let found = if key == "replacement" { found.replacement } else { found.completeness };
                    match value.trim() {
                        "undefined" => assert_eq!(found, None, "{at}, {key}"),
                        number => assert_close(
                            found.unwrap(),
                            number.parse().unwrap(),
                            1e-6,
                            &format!("{at}, {key}"),
                        ),
                    }
                }
            }
            _ => panic!("{at}: unknown block"),
        }
    }
}

#[test]
fn the_specification_holds() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/pruning.md");
    let text = std::fs::read_to_string(file).unwrap();
    let mut graph = None;
    let mut n_checked = 0;
    // Every second part is the inside of a block.
    let parts: Vec<&str> = text.split("```").collect();
    for (i, block) in parts.iter().enumerate().skip(1).step_by(2) {
        let (head, body) = block.split_once('\n').unwrap();
        let line = parts[..i].iter().map(|part| part.matches('\n').count()).sum::<usize>() + 1;
        let at = format!("pruning.md:{line} `{head}`");
        if head == "graph" {
            graph = Some(Named::read(body));
        } else {
            let graph: &Named = graph.as_ref().expect("a graph comes first");
            graph.check(&head.split_whitespace().collect::<Vec<_>>(), body, &at);
            n_checked += 1;
        }
    }
    assert!(n_checked > 0, "no blocks found");
}
