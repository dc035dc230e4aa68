//! `explain-edge`: which attention heads carry an edge of a graph, layer by layer. `paths`: the strongest paths between two nodes.

use crate::closer_args::{ExplainEdgeArgs, PathsArgs};
use crate::failure::{Code, Failure};
use crate::nodes::{self, id, kind, name};
use crate::open::Opened;
use crate::{files, plan, rerun};
use circuit_attribution::{PullBack, Read, TargetChoice};
use circuit_graph::{Graph, Path, prune, strongest_paths};
use circuit_index::{Layer, Node, NodeIndex, SourceOrder};
use circuit_replacement::LocalReplacement;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path as FilePath;

/// How far an edge, computed anew, may lie from the graph's: rounding of float32 on another machine or device.
const SAME: f64 = 1e-3;

/// One layer's attention between the ends of an edge.
struct Between {
    layer: Layer,
    /// What passes through each head.
    heads: Vec<f64>,
    bypass: f64,
}

pub(crate) fn explain_edge(args: ExplainEdgeArgs) -> Result<String, Failure> {
    let graph = files::read_raw(&args.graph)?.graph;
    let (from, to) = (nodes::find(&graph, &args.from)?, nodes::find(&graph, &args.to)?);
    let Some(row) = graph.layout().row(kind(&graph, to)) else {
        return Err(Failure::usage(format!(
            "`{}` reads nothing: errors and tokens have no incoming edges",
            args.to
        )));
    };
    if from.get() >= graph.rows.n_columns() {
        return Err(Failure::usage(format!(
            "`{}` writes nothing: targets have no outgoing edges",
            args.from
        )));
    }
    let edge = f64::from(graph.rows.row(row)[from.get()]);
    let layers = attention_between(&graph, from, to);
    if let Some(layer) = args.layer
        && !layers.contains(&layer)
    {
        return Err(Failure::usage(format!(
            "the attention of layer {layer} does not lie between {} and {}",
            args.from, args.to
        ))
        .hint(if layers.is_empty() {
            "none does".into()
        } else {
            format!("layers {} to {} do", layers.start, layers.end - 1)
        }));
    }
    let layers = args.layer.map_or(layers, |layer| layer..layer + 1);

    let opened = Opened::new(&args.model)?;
    rerun::check_first_token(&graph, args.model.first_token.as_ref(), &opened.tokenizer)?;
    let replacement = opened.on(&graph.tokens)?;
    let source = place(&args.graph, &graph, &replacement, from)?;
    let read = read(&args.graph, &graph, &replacement, to)?;
    let pull_back = PullBack::new(&replacement)?;
    let shares = layers.map(|l| {
        let layer = Layer::from(l);
        let mut heads = rerun::numbers(&pull_back.row_by_head(&read, layer)?.select(1, source as i64))?;
        let bypass = heads.pop().unwrap_or_default();
        Ok(Between { layer, heads, bypass })
    });
    let shares: Vec<Between> = shares.collect::<Result<_, Failure>>()?;
    for between in &shares {
        let sum = between.heads.iter().sum::<f64>() + between.bypass;
        let largest = graph.rows.row(row).iter().fold(1.0, |m, v| f64::from(v.abs()).max(m));
        if (sum - edge).abs() > SAME * largest {
            return Err(Failure::new(
                Code::Input,
                format!(
                    "{}: the edge from {} to {} is {edge}, this model and set give {sum}",
                    args.graph.display(),
                    args.from,
                    args.to
                ),
            )
            .hint(rerun::SAME_INPUTS));
        }
    }
    Ok(if args.json {
        as_json(&graph, from, to, edge, &shares)
    } else {
        as_text(&graph, from, to, edge, &shares, args.top)
    })
}

/// The layers whose attention lies between the ends of an edge. What is written at a layer meets attention from the next one on; a
/// feature reads above its own layer's.
fn attention_between(graph: &Graph, from: NodeIndex, to: NodeIndex) -> std::ops::Range<usize> {
    let feature = |i: usize| graph.active[graph.selected[i].get()].layer.get();
    let first = match kind(graph, from) {
        Node::Feature(i) => feature(i) + 1,
        Node::Error(layer, _) => layer.get() + 1,
        Node::Token(_) | Node::Target(_) => 0,
    };
    let end = match kind(graph, to) {
        Node::Feature(i) => feature(i) + 1,
        _ => graph.model.n_layers,
    };
    first..end.max(first)
}

/// The place of a source in the order of the computation.
fn place(
    path: &FilePath,
    graph: &Graph,
    replacement: &LocalReplacement<'_>,
    node: NodeIndex,
) -> Result<usize, Failure> {
    let order: &SourceOrder = replacement.order();
    Ok(match kind(graph, node) {
        Node::Feature(i) => {
            let nth = rerun::active(path, graph, replacement, i)?;
            let feature = replacement.active()[nth.get()];
            order.feature(feature.layer, feature.pos, nth.get())
        }
        Node::Error(layer, pos) => order.error(layer, pos),
        Node::Token(pos) => order.token(pos),
        Node::Target(_) => unreachable!("targets write nothing"),
    })
}

/// What a node reads.
fn read(
    path: &FilePath,
    graph: &Graph,
    replacement: &LocalReplacement<'_>,
    node: NodeIndex,
) -> Result<Read, Failure> {
    match kind(graph, node) {
        Node::Feature(i) => Ok(Read::Feature(rerun::active(path, graph, replacement, i)?)),
        Node::Target(i) => {
            let target = &graph.targets[i];
            if target.token_id.get() >= graph.model.d_vocab {
                return Err(Failure::usage(format!(
                    "target `{}` is a direction of its own, which graphs do not hold",
                    target.label
                ))
                .hint("only targets that are tokens can be explained"));
            }
            let mut found = TargetChoice::Tokens(vec![target.token_id]).resolve(replacement)?;
            Ok(Read::Direction(found.remove(0).direction))
        }
        Node::Error(..) | Node::Token(_) => unreachable!("these read nothing"),
    }
}

fn as_text(
    graph: &Graph,
    from: NodeIndex,
    to: NodeIndex,
    edge: f64,
    shares: &[Between],
    top: usize,
) -> String {
    let mut text = format!("{} > {}: {edge:+.4}\n", name(graph, from), name(graph, to));
    if shares.is_empty() {
        text += "no attention lies between: the stream alone carries it\n";
        return text;
    }
    text += "\nlayer    bypass   heads\n";
    for Between { layer, heads, bypass } in shares {
        let mut order: Vec<usize> = (0..heads.len()).filter(|&h| heads[h] != 0.0).collect();
        order.sort_by(|&a, &b| heads[b].abs().total_cmp(&heads[a].abs()).then(a.cmp(&b)));
        let told: Vec<_> = order.iter().take(top).map(|&h| format!("{h}: {:+.4}", heads[h])).collect();
        let rest: f64 = order.iter().skip(top).map(|&h| heads[h]).sum();
        let rest = match order.len().saturating_sub(top) {
            0 => String::new(),
            n => format!("  {n} more: {rest:+.4}"),
        };
        let _ = writeln!(text, "{layer:>5} {bypass:>+9.4}   {}{rest}", told.join("  "));
    }
    text += "\nEach line adds up to the edge: what passes a layer's heads, and what passes by them.\n";
    text
}

fn as_json(graph: &Graph, from: NodeIndex, to: NodeIndex, edge: f64, shares: &[Between]) -> String {
    let layers = shares.iter().map(|b| json!({"layer": b.layer.get(), "heads": b.heads, "bypass": b.bypass}));
    let value = json!({
        "from": id(graph, from),
        "to": id(graph, to),
        "edge": edge,
        "layers": layers.collect::<Vec<_>>(),
    });
    format!("{value}\n")
}

pub(crate) fn paths(args: PathsArgs) -> Result<String, Failure> {
    let thresholds = plan::thresholds(args.thresholds)?;
    let graph = files::read_raw(&args.graph)?.graph;
    let from = args.from.as_deref().map(|text| nodes::find(&graph, text)).transpose()?;
    let to = match &args.to {
        Some(text) => nodes::find(&graph, text)?,
        None => graph.layout().index(Node::Target(0)),
    };
    let Node::Target(target) = kind(&graph, to) else {
        return Err(Failure::usage(format!(
            "`{}` is no target: paths are looked for to an output",
            nodes::id(&graph, to)
        )));
    };
    if let Some(from) = from
        && matches!(kind(&graph, from), Node::Target(_))
    {
        return Err(Failure::usage(format!(
            "`{}` is a target: paths do not begin there",
            nodes::id(&graph, from)
        )));
    }
    let pruned = prune(&graph, thresholds);
    let found = strongest_paths(&graph, &pruned, from, target, args.top);
    if args.json {
        let paths = found.iter().map(|Path { nodes, strength, raises }| {
            let nodes: Vec<_> = nodes.iter().map(|&n| id(&graph, n)).collect();
            json!({"nodes": nodes, "share": strength, "raises": raises})
        });
        return Ok(format!("{}\n", json!(paths.collect::<Vec<_>>())));
    }
    let mut text = String::new();
    for Path { nodes, strength, raises } in &found {
        let nodes: Vec<_> = nodes.iter().map(|&n| name(&graph, n)).collect();
        let _ = writeln!(text, "{}{strength:.4}  {}", if *raises { '+' } else { '-' }, nodes.join(" > "));
    }
    if found.is_empty() {
        text += "no path along kept edges; higher thresholds keep more\n";
    }
    Ok(text)
}
