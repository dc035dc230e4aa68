//! The unfrozen half of `verify`: features are removed from the model itself, one by one, and what then happens to all features above and
//! to the targets is compared with what the graph predicts. There is no right figure: it is told, and neither passes nor fails.
//!
//! In the model nothing holds the features in between, so the prediction is not the edge but the total effect, over all paths
//! (`circuit_graph::total_effects`); removing a feature is its opposite. Where the two differ the graph leaves something out: patterns
//! and denominators that move, MLPs that do not do what their transcoders say, features that a change switches on or off, features
//! that were not selected. Pairs are those that could differ from 0: features above and not earlier, and targets.

use super::{AT_A_TIME, Case, Measured, TOLERANCE};
use crate::failure::{Code, Failure};
use crate::nodes::{id, kind};
use circuit_graph::{Agreement, Pair, Reach, agreement_by_distance, total_effects};
use circuit_index::{Node, NodeIndex};
use circuit_intervention::{Hold, removals};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// What was predicted, and what happened.
pub(super) struct Comparison {
    pub(super) pairs: Vec<Pair>,
    /// How many features were removed.
    pub(super) removed: usize,
    pub(super) patterns_held: bool,
    /// Features through which the graph has paths, and those active.
    selected: usize,
    active: usize,
    pub(super) by_distance: Vec<(RangeInclusive<usize>, Agreement)>,
    pub(super) features: Agreement,
    pub(super) targets: Agreement,
}

pub(super) fn compare(
    case: &Case<'_>,
    features: &[NodeIndex],
    patterns_held: bool,
) -> Result<Comparison, Failure> {
    let hold = if patterns_held { Hold::Patterns } else { Hold::Nothing };
    let mut pairs = Vec::new();
    for some in features.chunks(AT_A_TIME) {
        let sources: Vec<_> = some.iter().map(|&node| case.source(node)).collect();
        let measured = Measured::new(case, &removals(case.replacement, &sources, hold)?)?;
        let predicted = total_effects(case.graph, some);
        for (nth, (&source, predicted)) in some.iter().zip(&predicted).enumerate() {
            for row in &case.rows {
                let Some(reach) = reach(case, source, row.row) else { continue };
                let measured = measured.of(nth, &row.place);
                if !measured.is_finite() {
                    return Err(Failure::new(
                        Code::Other,
                        format!(
                            "without feature {} the model's values are not finite",
                            id(case.graph, source)
                        ),
                    ));
                }
                pairs.push(Pair { reach, predicted: -predicted[row.row], measured, rounding: row.rounding });
            }
        }
    }
    let (selected, active) = (case.graph.selected.len(), case.graph.active.len());
    Ok(Comparison::new(pairs, features.len(), patterns_held, selected, active))
}

/// How far it is from a feature to a row that it could move.
fn reach(case: &Case<'_>, source: NodeIndex, row: usize) -> Option<Reach> {
    let feature = |node| match node {
        Node::Feature(i) => Some(case.graph.active[case.graph.selected[i].get()]),
        _ => None,
    };
    let from = feature(kind(case.graph, source))?;
    let Some(to) = feature(case.graph.layout().row_node(row)?) else { return Some(Reach::Target) };
    let layers = to.layer.get().checked_sub(from.layer.get()).filter(|&layers| layers > 0)?;
    (to.pos >= from.pos).then_some(Reach::Layers(layers))
}

impl Comparison {
    pub(super) fn new(
        pairs: Vec<Pair>,
        removed: usize,
        patterns_held: bool,
        selected: usize,
        active: usize,
    ) -> Self {
        let of = |target: bool| pairs.iter().filter(move |pair| (pair.reach == Reach::Target) == target);
        let (features, targets) = (Agreement::of(of(false)), Agreement::of(of(true)));
        let by_distance = agreement_by_distance(&pairs);
        Self { pairs, removed, patterns_held, selected, active, by_distance, features, targets }
    }

    /// What was held, in words.
    pub(super) fn held(&self) -> &'static str {
        if self.patterns_held { "attention patterns held" } else { "nothing held" }
    }

    /// Each group under its name: by distance, then all features, and targets.
    pub(super) fn groups(&self) -> impl Iterator<Item = (String, &Agreement)> {
        let by_distance = self.by_distance.iter().map(|(layers, found)| (distance(layers), found));
        by_distance.chain([("all features".into(), &self.features), ("targets".into(), &self.targets)])
    }

    pub(super) fn as_text(&self) -> String {
        let Self { removed, selected, active, .. } = self;
        let mut text = format!("{removed} features removed from the model, one by one, {}\n", self.held());
        let _ = writeln!(
            text,
            "predicted: the graph's total effects, over all paths through its {selected} features ({active} are active)\n"
        );
        let _ = writeln!(
            text,
            "  {:<14} {:>8} {:>8} {:>9} {:>10} {:>7}",
            "layers above", "pairs", "Pearson", "Spearman", "same sign", "slope"
        );
        for (name, found) in self.groups() {
            let share = found.same_sign.map_or_else(|| "-".into(), |s| format!("{:.1} %", 100.0 * s));
            let _ = writeln!(
                text,
                "  {name:<14} {:>8} {:>8} {:>9} {share:>10} {:>7}",
                found.pairs,
                figure(found.pearson),
                figure(found.spearman),
                figure(found.slope)
            );
        }
        let left_out = self.features.left_out + self.targets.left_out;
        let _ = writeln!(
            text,
            "\nEffects on features are changes of pre-activation, those on targets of logits less their mean. {left_out} pairs are \
             left out,\nwhose effects, predicted and measured, are below rounding: {TOLERANCE} of the largest edge of their row, at least of 1."
        );
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let figures = |found: &Agreement| {
            json!({
                "pairs": found.pairs, "left_out": found.left_out, "pearson": found.pearson,
                "spearman": found.spearman, "same_sign": found.same_sign, "slope": found.slope,
            })
        };
        let by_distance = self.by_distance.iter().map(|(layers, found)| {
            let mut value = figures(found);
            value["layers"] = json!([layers.start(), layers.end()]);
            value
        });
        json!({
            "removed": self.removed,
            "held": if self.patterns_held { "attention" } else { "nothing" },
            "selected_features": self.selected,
            "active_features": self.active,
            "by_distance": by_distance.collect::<Vec<_>>(),
            "features": figures(&self.features),
            "targets": figures(&self.targets),
        })
    }
}

fn distance(layers: &RangeInclusive<usize>) -> String {
    match layers.start() == layers.end() {
        true => layers.start().to_string(),
        false => format!("{} to {}", layers.start(), layers.end()),
    }
}

/// A figure, or that there is none.
pub(super) fn figure(of: Option<f64>) -> String {
    of.map_or_else(|| "-".into(), |x| format!("{x:.3}"))
}
