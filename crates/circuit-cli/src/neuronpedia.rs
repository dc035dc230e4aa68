//! `--neuronpedia`: files larger than Neuronpedia takes are reported, with thresholds of which a file would fit.
//!
//! Thresholds are searched with estimated sizes; the size of what is recommended is then counted exactly. Not here: what
//! else Neuronpedia wants of a file, which `circuit-format` writes.

use crate::failure::Failure;
use crate::files::kept;
use circuit_format::{GraphFileOptions, GraphJsonSize, graph_json_size, graph_metadata};
use circuit_graph::{Graph, Pruned, Thresholds, prune};
use circuit_index::Notice;
use std::path::Path;

/// The most that Neuronpedia takes in one upload, counted before any packing.
pub(crate) const LIMIT: u64 = 100 << 20;

/// Thresholds are searched in steps of a ten-thousandth: near 1 small ones decide over most links.
const STEPS: f64 = 10_000.0;

/// Which threshold is lowered, while the other stays.
#[derive(Clone, Copy)]
enum Lowered {
    Node,
    Edge,
}

impl Lowered {
    /// The thresholds with the lowered one at a step.
    fn at(self, thresholds: Thresholds, step: u32) -> Result<Thresholds, Failure> {
        let value = f64::from(step) / STEPS;
        Ok(match self {
            Self::Node => Thresholds::new(value, thresholds.edge())?,
            Self::Edge => Thresholds::new(thresholds.node(), value)?,
        })
    }

    fn now(self, thresholds: Thresholds) -> f64 {
        match self {
            Self::Node => thresholds.node(),
            Self::Edge => thresholds.edge(),
        }
    }
}

/// Thresholds, and the exact size of the file that they make.
struct Fit {
    thresholds: Thresholds,
    size: u64,
}

/// A graph, and how its file is written.
struct Case<'a> {
    path: &'a Path,
    graph: &'a Graph,
    options: &'a GraphFileOptions,
    limit: u64,
}

/// A warning if the file of this graph is larger than `limit` bytes; `size` is what was written.
pub(crate) fn check_size(
    path: &Path,
    graph: &Graph,
    (pruned, thresholds): (&Pruned, Thresholds),
    options: &GraphFileOptions,
    (size, limit): (u64, u64),
) -> Result<Option<Notice>, Failure> {
    if size <= limit {
        return Ok(None);
    }
    let case = Case { path, graph, options, limit };
    let now = case.size(pruned, thresholds)?;
    let fits = [case.search(Lowered::Edge, thresholds, now)?, case.search(Lowered::Node, thresholds, now)?];
    let fits: Vec<_> = fits
        .into_iter()
        .flatten()
        .map(|fit| {
            let (node, edge) = (fit.thresholds.node(), fit.thresholds.edge());
            format!("`--node-threshold {node} --edge-threshold {edge}` ({})", mib(fit.size))
        })
        .collect();
    let advice = match fits.is_empty() {
        true => "no thresholds make it small enough; a shorter prompt or a smaller --max-feature-nodes does"
            .to_owned(),
        false => format!("it would fit with {}", fits.join(", or with ")),
    };
    Ok(Some(Notice::warning(format!(
        "{} has {}, and Neuronpedia refuses files of more than {}: {advice}",
        path.display(),
        mib(size),
        mib(limit)
    ))))
}

impl Case<'_> {
    fn size(&self, pruned: &Pruned, thresholds: Thresholds) -> Result<GraphJsonSize, Failure> {
        let mut options = self.options.clone();
        options.node_threshold = Some(thresholds.node());
        if let Some(neuronpedia) = &mut options.neuronpedia {
            neuronpedia.edge_threshold = Some(thresholds.edge());
        }
        let metadata = graph_metadata(self.graph, &options).map_err(|e| {
            Failure::new(crate::failure::Code::Output, format!("{}: {e}", self.path.display()))
        })?;
        let (edges, cumulative) = kept(self.graph, pruned);
        let kept = circuit_format::Kept { nodes: pruned.kept(), edges, cumulative: &cumulative };
        graph_json_size(self.path, self.graph, &kept, &metadata, &options.view).map_err(Failure::writing)
    }

    /// The highest value of one threshold with which the file fits.
    fn search(
        &self,
        lowered: Lowered,
        thresholds: Thresholds,
        now: GraphJsonSize,
    ) -> Result<Option<Fit>, Failure> {
        let each = |bytes: u64, n: usize| bytes as f64 / n.max(1) as f64;
        let (node, link) = (each(now.nodes, now.n_nodes), each(now.links, now.n_links));
        let estimate = |step: u32| -> Result<f64, Failure> {
            let pruned = prune(self.graph, lowered.at(thresholds, step)?);
            Ok(now.frame as f64 + node * pruned.nodes().count() as f64 + link * pruned.n_edges() as f64)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and STEPS")]
        let mut above = (lowered.now(thresholds) * STEPS).ceil() as u32;
        let mut target = self.limit as f64;
        // Ids and weights are not of one length, so that the estimate may be a little too low: then less is aimed at.
        while above > 0 {
            let (mut low, mut high) = (0, above);
            // Steps below `low` fit, those from `high` on do not.
            while low < high {
                let middle = low.midpoint(high);
                match estimate(middle)? <= target {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            let Some(step) = low.checked_sub(1) else { return Ok(None) };
            let found = lowered.at(thresholds, step)?;
            let size = self.size(&prune(self.graph, found), found)?.total();
            if size <= self.limit {
                return Ok(Some(Fit { thresholds: found, size }));
            }
            target *= self.limit as f64 / size as f64 * 0.999;
            above = step;
        }
        Ok(None)
    }
}

/// Bytes as MiB. Limits of tests are smaller, so that small sizes keep their digits.
fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib.fract() == 0.0 { format!("{mib} MiB") } else { format!("{mib:.1} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_format::{Neuronpedia, QParams, write_graph_files};
    use circuit_graph::{ModelInfo, Rows, Target};
    use circuit_index::{ActiveIndex, FeatureId, Layer, Node, NodeLayout, TokenId};

    const N_LAYERS: usize = 3;
    const PER_LAYER: usize = 40;

    /// Three layers of features that read everything below them, each weight another.
    fn graph() -> Graph {
        let features: Vec<_> =
            (0..N_LAYERS * PER_LAYER).map(|i| FeatureId::new(i / PER_LAYER, 1, i % PER_LAYER)).collect();
        let layout = NodeLayout { n_features: features.len(), n_layers: N_LAYERS, n_pos: 2, n_targets: 2 };
        let layer_of = |node: Option<Node>| match node {
            Some(Node::Feature(i)) => features[i].layer.get(),
            Some(Node::Error(Layer(layer), _)) => layer as usize,
            Some(Node::Token(_)) | None => 0,
            Some(Node::Target(_)) => N_LAYERS,
        };
        let mut values = Vec::new();
        for row in 0..layout.n_rows() {
            let reads = layer_of(layout.row_node(row));
            for column in 0..layout.n_sources() {
                let node = layout.node(column.into());
                let is_below = matches!(node, Some(Node::Token(_))) || layer_of(node) < reads;
                let weight = 1.0 / (1.0 + (row * 31 + column * 17) as f32 % 997.0);
                values.push(if is_below { weight } else { 0.0 });
            }
        }
        Graph {
            prompt: "a b".into(),
            tokens: vec![TokenId(1), TokenId(2)],
            token_strings: vec!["a".into(), " b".into()],
            activations: vec![1.5; features.len()],
            selected: (0..features.len()).map(ActiveIndex::from).collect(),
            active: features,
            targets: (0..2)
                .map(|i| Target { label: format!("x{i}"), token_id: TokenId(i), weight: 0.4 })
                .collect(),
            rows: Rows::new(layout.n_sources(), values).unwrap(),
            model: ModelInfo {
                name: "acme/toy".into(),
                architecture: "Toy".into(),
                n_layers: N_LAYERS,
                d_model: 1,
                d_head: 1,
                n_heads: 1,
                n_key_value_heads: 1,
                d_mlp: 1,
                d_vocab: 9,
                tokenizer_vocab: 9,
                dtype: "float32".into(),
                scan: "acme/toy".into(),
                first_token: None,
            },
        }
    }

    /// Writes the file with two thresholds. Returns its size, and the warning for a given size limit.
    fn written(graph: &Graph, (node, edge): (f64, f64), limit: u64) -> (u64, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let thresholds = Thresholds::new(node, edge).unwrap();
        let options = GraphFileOptions {
            slug: circuit_format::Slug::new("big").unwrap(),
            scan: None,
            transcoder_list: Vec::new(),
            node_threshold: Some(node),
            view: QParams::default(),
            neuronpedia: Some(Neuronpedia { edge_threshold: Some(edge), ..Neuronpedia::default() }),
        };
        let pruned = prune(graph, thresholds);
        let (edges, cumulative) = kept(graph, &pruned);
        let kept = circuit_format::Kept { nodes: pruned.kept(), edges, cumulative: &cumulative };
        let path = write_graph_files(folder.path(), graph, &kept, &options).unwrap().path;
        let size = std::fs::metadata(&path).unwrap().len();
        let counted =
            Case { path: &path, graph, options: &options, limit }.size(&pruned, thresholds).unwrap();
        assert_eq!(counted.total(), size, "the size is counted to the byte");
        let said = check_size(&path, graph, (&pruned, thresholds), &options, (size, limit)).unwrap();
        (size, said.map(|notice| notice.to_string()))
    }

    #[test]
    fn what_fits_is_not_mentioned() {
        let graph = graph();
        let (size, said) = written(&graph, (1.0, 1.0), u64::MAX);
        assert_eq!(said, None);
        assert_eq!(written(&graph, (1.0, 1.0), size).1, None);
        assert!(written(&graph, (1.0, 1.0), size - 1).1.is_some());
    }

    #[test]
    fn the_thresholds_that_are_named_make_a_file_that_fits() {
        let graph = graph();
        let (full, _) = written(&graph, (1.0, 1.0), u64::MAX);
        for limit in [full - 1, full * 3 / 4, full / 2, full / 5] {
            for thresholds in [(1.0, 1.0), (1.0, 0.98), (0.95, 1.0)] {
                let (size, said) = written(&graph, thresholds, limit);
                let Some(said) = said else {
                    assert!(size <= limit);
                    continue;
                };
                let named: Vec<(f64, f64)> = said
                    .split("--node-threshold ")
                    .skip(1)
                    .map(|rest| {
                        let (node, rest) = rest.split_once(" --edge-threshold ").unwrap();
                        (node.parse().unwrap(), rest.split('`').next().unwrap().parse().unwrap())
                    })
                    .collect();
                assert_eq!(named.len(), 2, "{said}");
                assert!(named[0].0 == thresholds.0 && named[1].1 == thresholds.1, "{said}");
                for fit in named {
                    let (size, again) = written(&graph, fit, limit);
                    assert!(size <= limit && again.is_none(), "{fit:?}: {size} of {limit}, {said}");
                }
            }
        }
        let (_, said) = written(&graph, (1.0, 1.0), 100);
        assert!(said.unwrap().contains("no thresholds"));
    }
}
