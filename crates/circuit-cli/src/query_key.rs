//! `query-key`: why a head looks where it looks, as the pairs of sources that make up its scores.

use crate::closer_args::QueryKeyArgs;
use crate::failure::Failure;
use crate::nodes::{error_id, shown, token_id};
use crate::open::{self, Opened};
use crate::rerun;
use circuit_attribution::{Pair, Part, PullBack, QueryKey};
use circuit_index::{FeatureId, Layer, Pos};
use circuit_model::tokenizer::Prompt;
use circuit_replacement::LocalReplacement;
use serde_json::json;
use std::fmt::Write as _;

/// Without a chosen key position, so many with the most attention are told.
const KEYS: usize = 3;

/// What is told of one key position.
struct Told {
    key: Pos,
    attention: f64,
    measured: f64,
    total: f64,
    pairs: Vec<Pair>,
}

pub(crate) fn run(args: QueryKeyArgs) -> Result<String, Failure> {
    let opened = Opened::new(&args.model)?;
    let prompt = open::prompt(&args.prompt, &opened.tokenizer)?;
    let replacement = opened.on(&prompt.tokens)?;
    let n_pos = prompt.tokens.len();
    let query = position(args.query, n_pos)?;
    let layer = Layer::from(args.layer);
    let pull_back = PullBack::new(&replacement)?;
    let taken = QueryKey::new(&pull_back, layer, args.head, query).map_err(as_usage)?;
    let pattern = replacement.trace().pattern(layer)?.get(args.head as i64).get(query.get() as i64);
    let pattern = rerun::numbers(&pattern)?;
    let keys = match args.key {
        Some(key) => vec![position(key, n_pos)?],
        None => {
            let mut order: Vec<usize> = (0..=query.get()).collect();
            order.sort_by(|&a, &b| pattern[b].total_cmp(&pattern[a]).then(a.cmp(&b)));
            order.into_iter().take(KEYS).map(Pos::from).collect()
        }
    };
    let told = keys.into_iter().map(|key| {
        let score = taken.score(key).map_err(as_usage)?;
        let pairs = score.pairs(args.top)?;
        Ok(Told { key, attention: pattern[key.get()], measured: score.measured, total: score.total, pairs })
    });
    let told: Vec<Told> = told.collect::<Result<_, Failure>>()?;
    Ok(if args.json {
        as_json(&args, &replacement, query, &told)
    } else {
        as_text(&args, &replacement, &prompt, query, &told)
    })
}

/// What is not there was asked for.
fn as_usage(error: circuit_attribution::AttributionError) -> Failure {
    match error {
        circuit_attribution::AttributionError::Nowhere { .. } => Failure::usage(error.to_string()),
        _ => error.into(),
    }
}

/// A position, counted from the end if negative.
fn position(given: i64, n_pos: usize) -> Result<Pos, Failure> {
    let place = if given < 0 { given + n_pos as i64 } else { given };
    usize::try_from(place)
        .ok()
        .filter(|&p| p < n_pos)
        .map(Pos::from)
        .ok_or_else(|| Failure::usage(format!("there is no position {given}: the prompt has {n_pos} tokens")))
}

/// A part as users know it.
enum Named {
    Token(Pos),
    Feature(FeatureId),
    Error(Layer, Pos),
    Constant,
}

fn named(replacement: &LocalReplacement<'_>, part: Part) -> Named {
    let Part::Source(place) = part else { return Named::Constant };
    let (order, n_pos) = (replacement.order(), replacement.n_pos());
    if place < n_pos {
        return Named::Token(Pos::from(place));
    }
    let layer = (0..).take_while(|&l| order.visible_from(l) <= place).last().unwrap_or(0);
    let layer = Layer::from(layer);
    let groups = (0..n_pos).map(|p| (Pos::from(p), order.group(layer, Pos::from(p))));
    let (pos, group) = groups.into_iter().find(|(_, group)| group.contains(&place)).expect("a source");
    match place == group.end - 1 {
        true => Named::Error(layer, pos),
        false => {
            let nth = order.group_features(layer, pos).start + place - group.start;
            Named::Feature(replacement.active()[nth])
        }
    }
}

/// As in graph files.
fn id(replacement: &LocalReplacement<'_>, part: Part) -> String {
    match named(replacement, part) {
        Named::Token(pos) => token_id(replacement.tokens(), pos),
        Named::Feature(feature) => feature.to_string(),
        Named::Error(layer, pos) => error_id(layer, pos),
        Named::Constant => "constant".into(),
    }
}

fn as_text(
    args: &QueryKeyArgs,
    replacement: &LocalReplacement<'_>,
    prompt: &Prompt,
    query: Pos,
    told: &[Told],
) -> String {
    let word = |pos: Pos| format!("{pos}:{}", shown(&prompt.token_strings[pos.get()]));
    let name = |part| match named(replacement, part) {
        Named::Token(pos) => format!("token {}", word(pos)),
        Named::Feature(feature) => {
            format!("{feature} at {}", shown(&prompt.token_strings[feature.pos.get()]))
        }
        Named::Error(layer, pos) => format!("error {layer} at {}", word(pos)),
        Named::Constant => "constant".into(),
    };
    let mut text = format!("Layer {}, head {}, query at {}\n", args.layer, args.head, word(query));
    for Told { key, attention, measured, total, pairs } in told {
        let _ = writeln!(
            text,
            "\nkey at {}: attention {attention:.3}, score {measured:.4}, all pairs {total:.4}",
            word(*key)
        );
        for Pair { query, key, share } in pairs {
            let _ = writeln!(text, "  {share:>+9.4}  {}  x  {}", name(*query), name(*key));
        }
    }
    text += "\nA pair is a part of the query and a part of the key; scores are before any soft cap. `constant` is what no source \
             writes: biases, learned positions, MLP outputs at ignored positions.\n";
    text
}

fn as_json(args: &QueryKeyArgs, replacement: &LocalReplacement<'_>, query: Pos, told: &[Told]) -> String {
    let keys = told.iter().map(|t| {
        let pairs = t.pairs.iter().map(|pair| {
            json!({"query": id(replacement, pair.query), "key": id(replacement, pair.key), "share": pair.share})
        });
        json!({
            "key": t.key.get(), "attention": t.attention, "score": t.measured, "all_pairs": t.total,
            "pairs": pairs.collect::<Vec<_>>(),
        })
    });
    let value = json!({
        "layer": args.layer, "head": args.head, "query": query.get(), "keys": keys.collect::<Vec<_>>(),
    });
    format!("{value}\n")
}
