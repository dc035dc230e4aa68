//! Properties on random small graphs: one substitution equals the power series, and what pruning must never remove.

use crate::support::{as_links, assert_same_scores, graph};
use circuit_graph::{
    Graph, Pruned, Thresholds, influence, prune, scores, strongest_paths, subgraph_scores, total_effects,
};
use circuit_index::{FeatureId, NodeIndex, NodeLayout};
use proptest::prelude::*;

/// Random graphs of up to 3 layers and 3 positions: a feature sees lower layers and no later position.
fn graphs() -> impl Strategy<Value = Graph> {
    let sizes = (1..=3_usize, 1..=3_usize, 1..=3_usize, 0..=6_usize);
    sizes.prop_flat_map(|(n_layers, n_pos, n_targets, n_features)| {
        let places = prop::collection::btree_set((0..n_layers, 0..n_pos, 0..9_usize), 0..=n_features);
        let weights = prop::collection::vec(0.01..1.0_f32, n_targets);
        (Just((n_layers, n_pos)), places, weights, any::<u64>()).prop_map(
            |((n_layers, n_pos), places, weights, seed)| {
                let features: Vec<_> = places.into_iter().map(|(l, p, i)| FeatureId::new(l, p, i)).collect();
                let layout =
                    NodeLayout { n_features: features.len(), n_layers, n_pos, n_targets: weights.len() };
                let mut state = seed;
                let mut values = vec![0.0; layout.n_rows() * layout.n_sources()];
                for (at, value) in values.iter_mut().enumerate() {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let (row, column) = (at / layout.n_sources(), at % layout.n_sources());
                    let layer = features.get(row).map_or(n_layers, |f| f.layer.get());
                    let source_layer = match column {
                        c if c < features.len() => Some(features[c].layer.get()),
                        c if c < layout.errors().end => Some((c - features.len()) / n_pos),
                        _ => None,
                    };
                    if source_layer.is_none_or(|l| l < layer) {
                        *value = ((state >> 40) as f32 / (1 << 24) as f32) * 2.0 - 1.0;
                    }
                }
                graph(n_layers, n_pos, features, &weights, values)
            },
        )
    })
}

/// `w · (M + M² + …)`, added up power by power.
fn power_series(graph: &Graph) -> Vec<f64> {
    let layout = graph.layout();
    let mut now = vec![0.0; layout.n_nodes()];
    for (i, target) in graph.targets.iter().enumerate() {
        now[layout.n_sources() + i] = f64::from(target.weight);
    }
    let mut sum = vec![0.0; layout.n_nodes()];
    while now.iter().any(|&x| x > 0.0) {
        let mut next = vec![0.0; layout.n_nodes()];
        for row in 0..layout.n_rows() {
            let node = layout.index(layout.row_node(row).unwrap()).get();
            let values = graph.rows.row(row);
            let total: f64 = values.iter().map(|v| f64::from(v.abs())).sum::<f64>().max(1e-10);
            for (column, value) in values.iter().enumerate() {
                next[column] += now[node] * f64::from(value.abs()) / total;
            }
        }
        sum.iter_mut().zip(&next).for_each(|(sum, x)| *sum += x);
        now = next;
    }
    sum
}

/// What a source does to a row over all paths: followed one by one, down from the row.
fn over_all_paths(graph: &Graph, source: usize, row: usize) -> f64 {
    let values = graph.rows.row(row);
    let through = |feature: usize| match f64::from(values[feature]) {
        0.0 => 0.0,
        value => value / f64::from(graph.activations[feature]) * over_all_paths(graph, source, feature),
    };
    f64::from(values[source]) + (0..graph.layout().n_features).map(through).sum::<f64>()
}

/// Every path from these nodes to a target along kept edges, with its strength and sign: found by trying them all.
fn all_paths(
    graph: &Graph,
    pruned: &Pruned,
    begins: &dyn Fn(usize) -> bool,
    target: usize,
) -> Vec<(Vec<NodeIndex>, f64, bool)> {
    let layout = graph.layout();
    let (mut open, mut found) =
        (vec![(vec![NodeIndex::from(layout.n_sources() + target)], 1.0, true)], Vec::new());
    while let Some((path, strength, raises)) = open.pop() {
        if begins(path[0].get()) {
            found.push((path, strength, raises));
            continue;
        }
        let Some(row) = layout.node(path[0]).and_then(|node| layout.row(node)) else { continue };
        let sum: f64 = graph.rows.row(row).iter().map(|v| f64::from(v.abs())).sum();
        for edge in pruned.edges(graph).filter(|edge| edge.target == path[0]) {
            let longer = std::iter::once(edge.source).chain(path.iter().copied()).collect();
            let weight = f64::from(edge.weight);
            open.push((longer, strength * weight.abs() / sum, raises != (weight < 0.0)));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn substitution_is_the_power_series(graph in graphs()) {
        for (found, expected) in influence(&graph).into_iter().zip(power_series(&graph)) {
            prop_assert!((found - expected).abs() <= 1e-6 * expected.max(1e-3), "{} {}", found, expected);
        }
    }

    #[test]
    fn total_effects_add_up_all_paths(mut graph in graphs(), activations in prop::collection::vec(0.1..4.0_f32, 6), negative in any::<u8>()) {
        for (i, activation) in graph.activations.iter_mut().enumerate() {
            *activation = if negative >> i & 1 == 1 { -activations[i] } else { activations[i] };
        }
        let layout = graph.layout();
        let sources: Vec<NodeIndex> = (0..layout.n_sources()).map(NodeIndex::from).collect();
        let found = total_effects(&graph, &sources);
        prop_assert_eq!(found.len(), sources.len());
        for (source, found) in found.iter().enumerate() {
            prop_assert_eq!(found.len(), layout.n_rows());
            for (row, found) in found.iter().enumerate() {
                let expected = over_all_paths(&graph, source, row);
                prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{} {}", found, expected);
            }
        }
        // One alone is what it is among others.
        prop_assert_eq!(&total_effects(&graph, &sources[sources.len() - 1..])[0], &found[sources.len() - 1]);
    }

    #[test]
    fn links_score_as_rows_do(graph in graphs(), kept in any::<u64>()) {
        let keep = |node: usize| kept >> (node % 64) & 1 == 1;
        let links = as_links(&graph);
        assert_same_scores(links.scores(), scores(&graph), 1e-9, "whole");
        let rows = subgraph_scores(&graph, |node| keep(node.get()));
        // Merged rows are rounded to 32 bits.
        assert_same_scores(links.subgraph_scores(keep), rows, 1e-6, "subgraph");
    }

    #[test]
    fn tokens_and_targets_always_stay(graph in graphs(), node in 0.0..=1.0_f64, edge in 0.0..=1.0_f64) {
        let pruned = prune(&graph, Thresholds::new(node, edge).unwrap());
        let layout = graph.layout();
        prop_assert!(layout.tokens().chain(layout.targets()).all(|n| pruned.kept()[n]));
        for edge in pruned.edges(&graph) {
            prop_assert!(pruned.kept()[edge.source.get()] && pruned.kept()[edge.target.get()]);
            prop_assert!(edge.weight != 0.0);
        }
    }

    #[test]
    fn the_strongest_paths_are_those_of_all(graph in graphs(), edge in 0.5..=1.0_f64, count in 1..=20_usize, from in any::<prop::sample::Index>()) {
        let pruned = prune(&graph, Thresholds::new(1.0, edge).unwrap());
        let layout = graph.layout();
        let from = NodeIndex::from(from.index(layout.n_sources()));
        let enters = |node: usize| node >= layout.n_features && node < layout.n_sources();
        for from in [None, Some(from)] {
            let begins = |node: usize| from.map_or(enters(node), |from| from.get() == node);
            for target in 0..layout.n_targets {
                let all = all_paths(&graph, &pruned, &begins, target);
                let found = strongest_paths(&graph, &pruned, from, target, count);
                prop_assert_eq!(found.len(), all.len().min(count));
                for (path, (_, strength, _)) in found.iter().zip(&all) {
                    prop_assert!((path.strength - strength).abs() <= 1e-12, "{:?}", path);
                    let same = all.iter().find(|(nodes, ..)| *nodes == path.nodes);
                    prop_assert_eq!(same.map(|(_, _, raises)| *raises), Some(path.raises));
                }
            }
        }
    }
}
