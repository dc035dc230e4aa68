//! What `attribute` tells: for a reader, or as one JSON object.

use crate::nodes::{id, name, shown};
use crate::scores::share;
use circuit_graph::{
    FirstToken, Graph, Path, Pruned, scores, strongest_features, strongest_paths, subgraph_scores,
};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// How many features and paths are told.
const FEATURES: usize = 10;
const PATHS: usize = 5;

/// All there is to tell.
pub(crate) struct Summary<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) pruned: &'a Pruned,
    /// Share of the influence on features that were not selected.
    pub(crate) unselected: f64,
    /// Where other tools put another token in front of the model's prompts: which.
    pub(crate) other_tools: Option<&'a str>,
    pub(crate) written: &'a [PathBuf],
}

impl Summary<'_> {
    pub(crate) fn text(&self) -> String {
        let (graph, pruned) = (self.graph, self.pruned);
        let layout = graph.layout();
        let mut text = String::from("Prompt\n ");
        for (p, token) in graph.token_strings.iter().enumerate() {
            let _ = write!(text, " {p}:{}", shown(token));
        }
        if let Some(other_tools) = self.other_tools {
            let _ = write!(text, "\n  First token: {other_tools}");
        }
        text += "\n\nTargets\n";
        for target in &graph.targets {
            let _ = writeln!(text, "  {:<20} {:.3}", shown(&target.label), target.weight);
        }
        let kept = |range: std::ops::Range<usize>| pruned.kept()[range].iter().filter(|k| **k).count();
        let _ = writeln!(text, "\nGraph");
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<20} {value}");
        };
        line("active features", graph.active.len().to_string());
        line("selected features", layout.n_features.to_string());
        line("influence elsewhere", format!("{:.3} on features not selected", self.unselected));
        line(
            "kept nodes",
            format!(
                "{} ({} features, {} errors, {} tokens, {} targets)",
                kept(0..layout.n_nodes()),
                kept(layout.features()),
                kept(layout.errors()),
                kept(layout.tokens()),
                kept(layout.targets())
            ),
        );
        line("kept edges", pruned.n_edges().to_string());
        let (full, part) = (scores(graph), subgraph_scores(graph, |node| pruned.kept()[node.get()]));
        line(
            "replacement score",
            format!("{} full, {} pruned", share(full.replacement), share(part.replacement)),
        );
        line(
            "completeness score",
            format!("{} full, {} pruned", share(full.completeness), share(part.completeness)),
        );

        text += "\nStrongest features   activation  influence\n";
        for node in strongest_features(graph, pruned, FEATURES) {
            let activation = graph.activations[graph.selected[node.get()].get()];
            let influence = pruned.influence()[node.get()];
            let _ = writeln!(text, "  {:<24} {activation:>7.3} {influence:>10.4}", name(graph, node));
        }
        text += "\nStrongest paths to the first target\n";
        for Path { nodes, strength, raises } in strongest_paths(graph, pruned, None, 0, PATHS) {
            let nodes: Vec<_> = nodes.into_iter().map(|n| name(graph, n)).collect();
            let _ =
                writeln!(text, "  {}{strength:.4}  {}", if raises { '+' } else { '-' }, nodes.join(" > "));
        }
        if !self.written.is_empty() {
            text += "\nFiles\n";
            for path in self.written {
                let _ = writeln!(text, "  {}", path.display());
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let (graph, pruned) = (self.graph, self.pruned);
        let (full, part) = (scores(graph), subgraph_scores(graph, |node| pruned.kept()[node.get()]));
        let targets = graph.targets.iter();
        let targets: Vec<Value> = targets
            .map(|t| json!({"label": t.label, "token_id": t.token_id.0, "weight": t.weight}))
            .collect();
        let features = strongest_features(graph, pruned, FEATURES).into_iter().map(|node| {
            json!({
                "node": id(graph, node),
                "activation": graph.activations[graph.selected[node.get()].get()],
                "influence": pruned.influence()[node.get()],
            })
        });
        let paths = strongest_paths(graph, pruned, None, 0, PATHS).into_iter().map(|path| {
            let nodes: Vec<_> = path.nodes.iter().map(|&n| id(graph, n)).collect();
            json!({"nodes": nodes, "strength": path.strength, "raises": path.raises})
        });
        let first_token = match &graph.model.first_token {
            Some(FirstToken::Token { id, text }) => {
                json!({"id": id.0, "text": text, "other_tools": self.other_tools})
            }
            Some(FirstToken::Nothing) => json!("none"),
            None => Value::Null,
        };
        json!({
            "prompt": graph.prompt,
            "tokens": graph.tokens.iter().map(|t| t.0).collect::<Vec<_>>(),
            "token_strings": graph.token_strings,
            "first_token": first_token,
            "targets": targets,
            "active_features": graph.active.len(),
            "selected_features": graph.selected.len(),
            "unselected_influence": self.unselected,
            "kept_nodes": pruned.nodes().count(),
            "kept_edges": pruned.n_edges(),
            "scores": {
                "full": {"replacement": full.replacement, "completeness": full.completeness},
                "pruned": {"replacement": part.replacement, "completeness": part.completeness},
            },
            "strongest_features": features.collect::<Vec<_>>(),
            "strongest_paths": paths.collect::<Vec<_>>(),
            "files": self.written.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
        })
    }
}
