//! `verify`: are a graph's edges what they say? Adds nodes once more, one by one, under full freezing, and compares what moves.

use crate::closer_args::VerifyArgs;
use crate::failure::{Code, Failure};
use crate::files;
use crate::nodes::{self, id, kind};
use crate::open::Opened;
use circuit_graph::Graph;
use circuit_index::{ActiveIndex, Node, NodeIndex};
use circuit_intervention::{Source, effects};
use circuit_replacement::LocalReplacement;
use serde_json::json;
use std::fmt::Write as _;
use tch::Kind;

/// Of the largest number of a row, at least of 1: rounding of float32.
const TOLERANCE: f64 = 1e-4;

/// One node's worst difference, in multiples of what is allowed.
struct Checked {
    node: NodeIndex,
    worst: f64,
    median: f64,
    /// Where the worst is.
    at: NodeIndex,
}

pub(crate) fn run(args: VerifyArgs) -> Result<(String, Result<(), Failure>), Failure> {
    let graph = files::read_raw(&args.graph)?.graph;
    let sample = sample(&args, &graph)?;
    let opened = Opened::new(&args.model)?;
    let replacement = opened.on(&graph.tokens)?;
    let active = places(&args, &graph, &replacement)?;
    let sources = sample.iter().map(|&node| match kind(&graph, node) {
        Node::Feature(i) => Source::Feature(active[i]),
        Node::Error(layer, pos) => Source::Error(layer, pos),
        Node::Token(pos) => Source::Token(pos),
        Node::Target(_) => unreachable!("targets write nothing"),
    });
    let measured = effects(&replacement, &sources.collect::<Vec<_>>())?;
    let on_cpu = |t: &tch::Tensor| {
        let flat = t.to_kind(Kind::Double).to_device(tch::Device::Cpu).contiguous().view(-1);
        Vec::<f64>::try_from(flat).map_err(|e: tch::TchError| Failure::new(Code::Device, e.to_string()))
    };
    let (features, logits) = (on_cpu(&measured.features)?, on_cpu(&measured.logits)?);
    let (n_active, d_vocab) = (replacement.active().len(), opened.model.spec().d_vocab);

    let layout = graph.layout();
    // Rows whose effect can be measured, and where: a direction of its own is not held by the file.
    let rows = (0..layout.n_rows()).filter_map(|row| match layout.row_node(row)? {
        Node::Feature(i) => Some((row, Column::Feature(active[i].get()))),
        Node::Target(i) => {
            let token = graph.targets[i].token_id.get();
            (token < d_vocab).then_some((row, Column::Token(token)))
        }
        _ => None,
    });
    let rows: Vec<(usize, Column)> = rows.collect();
    let allowed: Vec<f64> = rows
        .iter()
        .map(|(row, _)| graph.rows.row(*row).iter().fold(1.0, |m, v| f64::from(v.abs()).max(m)) * TOLERANCE)
        .collect();
    let checked = sample.iter().enumerate().map(|(nth, &node)| {
        let mut off: Vec<(f64, usize)> = rows
            .iter()
            .zip(&allowed)
            .map(|((row, column), allowed)| {
                let found = match column {
                    Column::Feature(i) => features[nth * n_active + i],
                    Column::Token(token) => logits[nth * d_vocab + token],
                };
                let difference = (found - f64::from(graph.rows.row(*row)[node.get()])).abs();
                (if difference.is_nan() { f64::INFINITY } else { difference / allowed }, *row)
            })
            .collect();
        off.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (worst, row) = off.last().copied().unwrap_or((0.0, 0));
        let at = layout.row_node(row).map_or(node, |n| layout.index(n));
        Checked { node, worst, median: off.get(off.len() / 2).map_or(0.0, |o| o.0), at }
    });
    let checked: Vec<Checked> = checked.collect();
    let failed = checked.iter().filter(|c| c.worst > 1.0).count();
    let text = if args.json {
        as_json(&graph, &checked, rows.len())
    } else {
        as_text(&graph, &checked, rows.len(), args.top)
    };
    let verdict = match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            Code::Other,
            format!(
                "{}: {failed} of {} nodes do not have the effects that the graph states",
                args.graph.display(),
                checked.len()
            ),
        )
        .hint("was the graph made with this model and set, and the same --ignored-positions?")),
    };
    Ok((text, verdict))
}

/// Where a row's effect is measured.
enum Column {
    Feature(usize),
    Token(usize),
}

/// The nodes to check: named ones, all, or evenly spread over features, errors and tokens.
fn sample(args: &VerifyArgs, graph: &Graph) -> Result<Vec<NodeIndex>, Failure> {
    let layout = graph.layout();
    if !args.nodes.is_empty() {
        let find = |name: &String| match nodes::find(graph, name)? {
            node if node.get() < layout.n_sources() => Ok(node),
            _ => Err(Failure::usage(format!("`{name}` is a target: it writes nothing"))),
        };
        return args.nodes.iter().map(find).collect();
    }
    if args.all {
        return Ok((0..layout.n_sources()).map(NodeIndex::from).collect());
    }
    let spread = |range: std::ops::Range<usize>| {
        let step = range.len().div_ceil(args.sample.max(1)).max(1);
        range.step_by(step).map(NodeIndex::from)
    };
    Ok(spread(layout.features()).chain(spread(layout.errors())).chain(spread(layout.tokens())).collect())
}

/// The graph's features among those active now.
fn places(
    args: &VerifyArgs,
    graph: &Graph,
    replacement: &LocalReplacement<'_>,
) -> Result<Vec<ActiveIndex>, Failure> {
    let place = |feature| {
        replacement.active().binary_search(&feature).map(ActiveIndex::from).map_err(|_| {
            Failure::new(
                Code::Input,
                format!("{}: feature {feature} is not active with this model and set", args.graph.display()),
            )
            .hint("was the graph made with this model and set, and the same --ignored-positions?")
        })
    };
    graph.selected_features().map(place).collect()
}

fn as_text(graph: &Graph, checked: &[Checked], n_rows: usize, top: usize) -> String {
    let layout = graph.layout();
    let mut text = format!(
        "{} nodes added once more, each against {n_rows} rows; 1.00 is the largest difference allowed\n\n",
        checked.len()
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
    let mut failed: Vec<_> = checked.iter().filter(|c| c.worst > 1.0).collect();
    failed.sort_by(|a, b| b.worst.total_cmp(&a.worst));
    for c in failed.iter().take(top) {
        let _ = writeln!(
            text,
            "  differs: {} on {}, {:.1} times what is allowed",
            id(graph, c.node),
            id(graph, c.at),
            c.worst
        );
    }
    let _ = writeln!(text, "\n{}", if failed.is_empty() { "pass" } else { "FAIL" });
    text
}

fn as_json(graph: &Graph, checked: &[Checked], n_rows: usize) -> String {
    let nodes = checked.iter().map(|c| {
        json!({"node": id(graph, c.node), "worst": c.worst, "median": c.median, "worst_on": id(graph, c.at)})
    });
    let pass = checked.iter().all(|c| c.worst <= 1.0);
    format!(
        "{}\n",
        json!({"pass": pass, "rows": n_rows, "tolerance": TOLERANCE, "nodes": nodes.collect::<Vec<_>>()})
    )
}
