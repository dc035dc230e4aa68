//! The frozen half of `verify`: nodes are added once more, one by one, with everything else held, and what moves is compared with the
//! graph's columns. It passes or fails.

use super::{AT_A_TIME, Case, Measured, TOLERANCE};
use crate::failure::Failure;
use crate::nodes::id;
use circuit_index::NodeIndex;
use circuit_intervention::effects;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One node's worst difference, in multiples of what is allowed.
pub(super) struct Checked {
    node: NodeIndex,
    worst: f64,
    median: f64,
    /// Where the worst is.
    at: NodeIndex,
}

impl Checked {
    /// Whether the node has the effects that the graph states.
    pub(super) fn holds(&self) -> bool {
        self.worst <= 1.0
    }
}

pub(super) fn check(case: &Case<'_>, nodes: &[NodeIndex]) -> Result<Vec<Checked>, Failure> {
    let mut checked = Vec::new();
    for some in nodes.chunks(AT_A_TIME) {
        let sources: Vec<_> = some.iter().map(|&node| case.source(node)).collect();
        let measured = Measured::new(case, &effects(case.replacement, &sources)?)?;
        checked.extend(some.iter().enumerate().map(|(nth, &node)| compare(case, &measured, nth, node)));
    }
    Ok(checked)
}

/// The n-th of what was measured, against the node's column.
fn compare(case: &Case<'_>, measured: &Measured, nth: usize, node: NodeIndex) -> Checked {
    let off = case.rows.iter().map(|row| {
        let stated = f64::from(case.graph.rows.row(row.row)[node.get()]);
        let difference = (measured.of(nth, &row.place) - stated).abs();
        (if difference.is_nan() { f64::INFINITY } else { difference / row.rounding }, row.row)
    });
    let mut off: Vec<(f64, usize)> = off.collect();
    off.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (worst, row) = off.last().copied().unwrap_or((0.0, 0));
    let layout = case.graph.layout();
    let at = layout.row_node(row).map_or(node, |n| layout.index(n));
    Checked { node, worst, median: off.get(off.len() / 2).map_or(0.0, |o| o.0), at }
}

pub(super) fn as_text(case: &Case<'_>, checked: &[Checked], top: usize) -> String {
    let layout = case.graph.layout();
    let mut text = format!(
        "{} nodes added once more, each against {} rows; 1.00 is the largest difference allowed\n\n",
        checked.len(),
        case.rows.len()
    );
    let _ = writeln!(text, "  {:<10} {:>6} {:>8} {:>8}", "kind", "nodes", "worst", "median");
    for (name, range) in
        [("features", layout.features()), ("errors", layout.errors()), ("tokens", layout.tokens())]
    {
        let own: Vec<_> = checked.iter().filter(|c| range.contains(&c.node.get())).collect();
        let worst = own.iter().map(|c| c.worst).fold(0.0, f64::max);
        let mut medians: Vec<_> = own.iter().map(|c| c.median).collect();
        medians.sort_by(f64::total_cmp);
        let median = medians.get(medians.len() / 2).copied().unwrap_or(0.0);
        let _ = writeln!(text, "  {name:<10} {:>6} {worst:>8.2} {median:>8.2}", own.len());
    }
    let mut failed: Vec<_> = checked.iter().filter(|c| !c.holds()).collect();
    failed.sort_by(|a, b| b.worst.total_cmp(&a.worst));
    for c in failed.iter().take(top) {
        let (node, at) = (id(case.graph, c.node), id(case.graph, c.at));
        let _ = writeln!(text, "  differs: {node} on {at}, {:.1} times what is allowed", c.worst);
    }
    let _ = writeln!(text, "\n{}", if failed.is_empty() { "pass" } else { "FAIL" });
    text
}

pub(super) fn as_json(case: &Case<'_>, checked: &[Checked]) -> Value {
    let id = |node| id(case.graph, node);
    let nodes = checked
        .iter()
        .map(|c| json!({"node": id(c.node), "worst": c.worst, "median": c.median, "worst_on": id(c.at)}));
    json!({
        "pass": checked.iter().all(Checked::holds),
        "rows": case.rows.len(),
        "tolerance": TOLERANCE,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}
