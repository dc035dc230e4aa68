//! `verify`: is a graph true? Frozen, each edge must be exactly the effect that it states (`verify/frozen.rs`); unfrozen, it is told how
//! well the graph predicts what the model does (`verify/unfrozen.rs`, its plot in `verify/plot.rs`).
//!
//! Here: which nodes are looked at, and what both halves measure on.

mod frozen;
mod plot;
mod unfrozen;

use crate::closer_args::VerifyArgs;
use crate::failure::{Code, Failure};
use crate::nodes::{self, kind};
use crate::open::Opened;
use crate::{files, rerun};
use circuit_format::{check_destination, write_atomically};
use circuit_graph::Graph;
use circuit_index::{ActiveIndex, Node, NodeIndex};
use circuit_intervention::{Effects, Source};
use circuit_replacement::LocalReplacement;
use std::io::Write as _;

/// Of the largest number of a row, at least of 1: rounding of float32.
const TOLERANCE: f64 = 1e-4;

/// So many nodes are measured before the next ones are, so that no matrix of all effects is held.
const AT_A_TIME: usize = 64;

/// A graph, and its prompt run anew through the model and set.
struct Case<'a> {
    graph: &'a Graph,
    replacement: &'a LocalReplacement<'a>,
    /// The graph's features among those active now.
    active: Vec<ActiveIndex>,
    rows: Vec<Row>,
}

/// A row whose effects can be measured.
struct Row {
    row: usize,
    place: Place,
    /// What effects on it may differ by.
    rounding: f64,
}

/// Where an effect on a row is measured.
enum Place {
    Feature(ActiveIndex),
    Token(usize),
}

pub(crate) fn run(args: VerifyArgs) -> Result<(String, Result<(), Failure>), Failure> {
    if let Some(path) = &args.plot {
        if path.extension().and_then(|e| e.to_str()) != Some("svg") {
            return Err(Failure::usage(format!("{}: plots are written as .svg", path.display())));
        }
        check_destination(path).map_err(Failure::writing)?;
    }
    let graph = files::read_raw(&args.graph)?.graph;
    let sample = sample(&args, &graph)?;
    let features: Vec<_> = match args.frozen_only {
        true => Vec::new(),
        false => {
            sample.iter().copied().filter(|&node| matches!(kind(&graph, node), Node::Feature(_))).collect()
        }
    };
    if args.plot.is_some() && features.is_empty() {
        return Err(Failure::usage(
            "nothing to plot: features are removed, and there is none among the nodes",
        ));
    }
    let opened = Opened::new(&args.model)?;
    rerun::check_first_token(&graph, args.model.first_token.as_ref(), &opened.tokenizer)?;
    let replacement = opened.on(&graph.tokens)?;
    let case = Case::new(&args, &graph, &replacement)?;

    let checked = frozen::check(&case, &sample)?;
    let unfrozen = match features.is_empty() {
        true => None,
        false => Some(unfrozen::compare(&case, &features, args.freeze_attention)?),
    };
    if let (Some(path), Some(found)) = (&args.plot, &unfrozen) {
        let svg = plot::svg(&graph.model.name, &graph.prompt, found);
        write_atomically(path, |out| out.write_all(svg.as_bytes())).map_err(Failure::writing)?;
    }
    let text = match args.json {
        true => {
            let mut json = frozen::as_json(&case, &checked);
            json["unfrozen"] = unfrozen.as_ref().map(unfrozen::Comparison::as_json).into();
            format!("{json}\n")
        }
        false => {
            let frozen = frozen::as_text(&case, &checked, args.top);
            unfrozen.iter().fold(frozen, |text, found| text + "\n" + &found.as_text())
        }
    };
    let verdict = match checked.iter().filter(|c| !c.holds()).count() {
        0 => Ok(()),
        failed => Err(Failure::new(
            Code::Other,
            format!(
                "{}: {failed} of {} nodes do not have the effects that the graph states",
                args.graph.display(),
                checked.len()
            ),
        )
        .hint(rerun::SAME_INPUTS)),
    };
    Ok((text, verdict))
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

impl<'a> Case<'a> {
    fn new(
        args: &VerifyArgs,
        graph: &'a Graph,
        replacement: &'a LocalReplacement<'a>,
    ) -> Result<Self, Failure> {
        let place = |nth| rerun::active(&args.graph, graph, replacement, nth);
        let active: Vec<_> = (0..graph.selected.len()).map(place).collect::<Result<_, _>>()?;
        let (layout, d_vocab) = (graph.layout(), replacement.model().spec().d_vocab);
        // A direction of its own is not held by the file.
        let rows = (0..layout.n_rows()).filter_map(|row| {
            let place = match layout.row_node(row)? {
                Node::Feature(i) => Place::Feature(active[i]),
                Node::Target(i) => {
                    let token = graph.targets[i].token_id.get();
                    (token < d_vocab).then_some(Place::Token(token))?
                }
                _ => return None,
            };
            let largest = graph.rows.row(row).iter().fold(1.0, |m, v| f64::from(v.abs()).max(m));
            Some(Row { row, place, rounding: largest * TOLERANCE })
        });
        let rows = rows.collect();
        Ok(Self { graph, replacement, active, rows })
    }

    /// The same node for measuring.
    fn source(&self, node: NodeIndex) -> Source {
        match kind(self.graph, node) {
            Node::Feature(i) => Source::Feature(self.active[i]),
            Node::Error(layer, pos) => Source::Error(layer, pos),
            Node::Token(pos) => Source::Token(pos),
            Node::Target(_) => unreachable!("targets write nothing"),
        }
    }
}

/// What was measured, where it can be read.
struct Measured {
    features: Vec<f64>,
    logits: Vec<f64>,
    n_active: usize,
    d_vocab: usize,
}

impl Measured {
    fn new(case: &Case<'_>, effects: &Effects) -> Result<Self, Failure> {
        Ok(Self {
            features: rerun::numbers(&effects.features)?,
            logits: rerun::numbers(&effects.logits)?,
            n_active: case.replacement.active().len(),
            d_vocab: case.replacement.model().spec().d_vocab,
        })
    }

    /// The effect of the n-th source.
    fn of(&self, nth: usize, place: &Place) -> f64 {
        match place {
            Place::Feature(i) => self.features[nth * self.n_active + i.get()],
            Place::Token(token) => self.logits[nth * self.d_vocab + token],
        }
    }
}
