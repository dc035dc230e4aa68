//! `intervene`: what a model does when features are set, scaled or removed: before and after.

use crate::closer_args::InterveneArgs;
use crate::edit_args::{self, Entry, Target};
use crate::failure::{Code, Failure};
use crate::generate;
use crate::nodes::shown;
use crate::open::{self, Opened};
use crate::rerun;
use crate::say::{say, say_notices};
use circuit_format::{check_destination, write_atomically};
use circuit_index::Layer;
use circuit_intervention::{
    Change, Edit, Freeze, GenerateConfig, Interventions, Outcome, Positions, Request,
};
use circuit_model::Sampling;
use circuit_model::text::{Lines, TextError};
use circuit_model::tokenizer::{Prompt, Tokenizer};
use circuit_transcoder::MappedFile;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use tch::{Kind, Tensor};

pub(crate) fn run(args: InterveneArgs) -> Result<String, Failure> {
    if let Some(path) = &args.output {
        if path.extension().and_then(|e| e.to_str()) != Some("safetensors") {
            return Err(Failure::usage(format!("{}: results are written as .safetensors", path.display())));
        }
        if args.prompts.is_some() {
            return Err(Failure::usage("--output holds the results of one prompt: --prompts has many"));
        }
        check_destination(path).map_err(Failure::writing)?;
    }
    let opened = Opened::new(&args.model)?;
    let prompts = match &args.prompts {
        Some(path) => prompts_of(path, &opened.tokenizer)?,
        None => vec![open::prompt(&args.prompt, &opened.tokenizer)?],
    };
    let interventions = opened.interventions()?;
    let mut told = Vec::new();
    for prompt in &prompts {
        opened.note(&prompt.tokens);
        let n_layers = opened.model.spec().n_layers();
        let on = Target { n_pos: prompt.tokens.len(), n_layers, generates: false };
        let entries = edit_args::entries(&args.edit, on)?;
        let before = one(&interventions, prompt, &[], &Freeze::Nothing)?;
        let mut written = Vec::new();
        for entry in &entries {
            // With several entries the message alone does not say whose fault it is.
            let named = |failure: Failure| Failure {
                message: format!("{}: {}", entry.name, failure.message),
                ..failure
            };
            let after = match entry.max_new_tokens {
                None => one(&interventions, prompt, &entry.edits, &entry.freeze).map_err(named)?,
                Some(max_new_tokens) => {
                    // As the library whose files these are: it runs on past the end of a sequence.
                    let stop = match args.stop_at_eos {
                        true => generate::end_tokens(&opened.tokenizer)?,
                        false => Vec::new(),
                    };
                    let config = GenerateConfig { max_new_tokens, sampling: Sampling::GREEDY, stop };
                    let request = Request { tokens: prompt.tokens.clone(), edits: entry.edits.clone() };
                    let written = interventions.generate(&request, &entry.freeze, &config, |_| true);
                    written.map_err(|e| named(e.into()))?.outcome
                }
            };
            note_outside(&format!("{}: ", entry.name), &entry.edits, &after);
            note_unchanged(&format!("{}: ", entry.name), &entry.edits, &after);
            if args.output.is_some() {
                written.push((format!("{}.logits", entry.name), after.logits.shallow_clone()));
                let layers =
                    (0..n_layers).map(|l| after.activations(Layer::from(l), entry.apply_activation_function));
                let layers: Vec<_> = layers.collect::<Result<_, _>>()?;
                written.push((format!("{}.activations", entry.name), stacked(&layers)?));
            }
            if after.logits.size()[0] == 0 {
                continue;
            }
            told.push(tell(&args, &opened.tokenizer, prompt, entry, &before, &after)?);
        }
        if let Some(path) = &args.output {
            write(path, written)?;
        }
    }
    Ok(match args.json {
        true => told.iter().map(|told| format!("{}\n", told.json)).collect(),
        false => told.iter().map(|told| told.text.as_str()).collect::<Vec<_>>().join("\n"),
    })
}

/// Tells of edits that lie outside the layers held, each note beginning in the same way.
pub(crate) fn note_outside(begin: &str, edits: &[Edit], outcome: &Outcome<'_>) {
    for &i in &outcome.outside {
        let Edit { layer, feature, .. } = &edits[i];
        say(format_args!(
            "note: {begin}feature {layer}_{feature} writes outside the constrained layers; there it writes nothing"
        ));
    }
}

/// Notes edits that changed nothing, in one line that begins in the given way.
pub(crate) fn note_unchanged(begin: &str, edits: &[Edit], outcome: &Outcome<'_>) {
    const MOST_LISTED: usize = 5;
    let unchanged = &outcome.unchanged;
    if unchanged.is_empty() {
        return;
    }
    let mut listed: Vec<_> = unchanged.iter().take(MOST_LISTED).map(|&i| place(&edits[i])).collect();
    if let Some(more @ 1..) = unchanged.len().checked_sub(MOST_LISTED) {
        listed.push(format!("and {more} more"));
    }
    let (what, are) = if unchanged.len() == 1 { ("this feature", "is") } else { ("these features", "are") };
    let all = if unchanged.len() == edits.len() { "nothing changed" } else { "some edits change nothing" };
    say(format_args!("note: {begin}{all}: {what} {are} silent there (activation 0): {}", listed.join(", ")));
}

fn one<'a>(
    interventions: &Interventions<'a>,
    prompt: &Prompt,
    edits: &[Edit],
    freeze: &Freeze,
) -> Result<Outcome<'a>, Failure> {
    let request = Request { tokens: prompt.tokens.clone(), edits: edits.to_vec() };
    Ok(interventions.run(&[request], freeze)?.remove(0))
}

/// A prompt on each line: a JSON text, or an object with a `prompt`.
fn prompts_of(path: &Path, tokenizer: &Tokenizer) -> Result<Vec<Prompt>, Failure> {
    let bad = |reason: String| Failure::new(Code::Prompt, format!("{}: {reason}", path.display()));
    let file = std::fs::File::open(path).map_err(|source| TextError::Read { path: path.into(), source })?;
    let mut prompts = Vec::new();
    let mut lines = Lines::new(path, std::io::BufReader::new(file));
    while lines.advance()? {
        let (line, nth) = (lines.line(), lines.number());
        if line.trim().is_empty() {
            continue;
        }
        let expected = "expected a JSON text, or an object with a text `prompt`";
        let value: Value =
            serde_json::from_str(line).map_err(|e| bad(format!("line {nth}: {expected}, but {e}")))?;
        let text = value.as_str().or_else(|| value["prompt"].as_str());
        let text = text.ok_or_else(|| bad(format!("line {nth}: {expected}")))?;
        let prompt = tokenizer.encode_prompt(text).map_err(Failure::text)?;
        say_notices(&prompt.notices);
        prompts.push(prompt);
    }
    say_notices(&lines.notices());
    if prompts.is_empty() {
        return Err(bad("no prompt".into()));
    }
    Ok(prompts)
}

/// What is told of one entry.
struct Told {
    text: String,
    json: Value,
}

fn tell(
    args: &InterveneArgs,
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    entry: &Entry,
    before: &Outcome<'_>,
    after: &Outcome<'_>,
) -> Result<Told, Failure> {
    let (was, now) = (probabilities(before)?, probabilities(after)?);
    let top = |of: &[f64]| {
        let mut order: Vec<usize> = (0..of.len()).collect();
        let count = args.top.min(of.len());
        order.sort_by(|&a, &b| of[b].total_cmp(&of[a]).then(a.cmp(&b)));
        order.truncate(count);
        order
    };
    let mut tokens = top(&was);
    tokens.extend(top(&now).into_iter().filter(|t| !tokens.contains(t)).collect::<Vec<_>>());
    tokens.sort_by(|&a, &b| now[b].total_cmp(&now[a]).then(a.cmp(&b)));
    let word = |token: usize| tokenizer.decode_token(token.into()).map_err(Failure::text);

    let mut text = format!("{} on {}\n", entry.name, shown(&prompt.text));
    for (nth, edit) in entry.edits.iter().enumerate() {
        let silent = if after.unchanged.contains(&nth) { ": silent there, nothing changed" } else { "" };
        let _ = writeln!(text, "  {}{silent}", described(edit));
    }
    let _ = writeln!(text, "\n  {:<24} {:>8} {:>8}", "next token", "before", "after");
    let mut rows = Vec::new();
    for token in tokens {
        let word = word(token)?;
        let _ = writeln!(text, "  {:<24} {:>8.4} {:>8.4}", shown(&word), was[token], now[token]);
        rows.push(json!({"token_id": token, "token": word, "before": was[token], "after": now[token]}));
    }
    let watched = watched(&args.watch, prompt.tokens.len(), before, after)?;
    if !watched.is_empty() {
        let _ = writeln!(text, "\n  {:<24} {:>8} {:>8}", "feature", "before", "after");
        for (name, was, now) in &watched {
            let _ = writeln!(text, "  {name:<24} {was:>8.3} {now:>8.3}");
        }
    }
    let watched =
        watched.iter().map(|(name, was, now)| json!({"feature": name, "before": was, "after": now}));
    let json = json!({
        "name": entry.name, "prompt": prompt.text, "tokens": rows, "features": watched.collect::<Vec<_>>(),
        "outside": after.outside,
        "unchanged": after.unchanged.iter().map(|&i| place(&entry.edits[i])).collect::<Vec<_>>(),
    });
    Ok(Told { text, json })
}

/// The name of each feature that is watched, and its activation before and after.
fn watched(
    watch: &[String],
    n_pos: usize,
    before: &Outcome<'_>,
    after: &Outcome<'_>,
) -> Result<Vec<(String, f64, f64)>, Failure> {
    let mut watched = Vec::new();
    for text in watch {
        let (layer, feature, places) = edit_args::place(text, n_pos)?;
        for place in places {
            let Positions::At(pos) = place else {
                return Err(Failure::usage(format!("--watch {text}: expected single positions")));
            };
            if layer.get() >= after.n_layers() {
                return Err(Failure::usage(format!("--watch {text}: there is no layer {layer}")));
            }
            let at = |outcome: &Outcome<'_>| {
                let layer = outcome.activations(layer, true)?;
                let (place, size) = ([i64::from(pos.0), i64::from(feature.0)], layer.size());
                if place[0] >= size[0] || place[1] >= size[1] {
                    return Err(Failure::usage(format!(
                        "--watch {text}: there is no such feature or position"
                    )));
                }
                Ok(layer.double_value(&place))
            };
            watched.push((format!("{layer}_{feature}@{pos}"), at(before)?, at(after)?));
        }
    }
    Ok(watched)
}

/// A feature and its positions, as they are typed.
pub(crate) fn place(edit: &Edit) -> String {
    let positions = match edit.positions {
        Positions::At(pos) => pos.to_string(),
        Positions::Slice(start, Some(end)) => format!("{start}:{end}"),
        Positions::Slice(start, None) => format!("{start}:"),
    };
    format!("{}_{}@{positions}", edit.layer, edit.feature)
}

fn described(edit: &Edit) -> String {
    let feature = place(edit);
    match edit.change {
        Change::Set(0.0) => format!("{feature} removed"),
        Change::Set(value) => format!("{feature} set to {value}"),
        Change::Scale(factor) => format!("{feature} times {factor}"),
        Change::Add(value) => format!("{feature} plus {value}"),
    }
}

/// Probabilities of the next token.
fn probabilities(outcome: &Outcome<'_>) -> Result<Vec<f64>, Failure> {
    let last = circuit_torch::guard(|| {
        Ok::<_, circuit_torch::TorchError>(
            outcome.logits.get(-1).to_kind(Kind::Double).softmax(-1, None::<Kind>),
        )
    })?;
    rerun::numbers(&last)
}

/// Layers `[pos, n_features]` as `[layer, pos, n_features]`.
fn stacked(layers: &[Tensor]) -> Result<Tensor, Failure> {
    Tensor::f_stack(layers, 0).map_err(|e| Failure::new(Code::Device, e.to_string()))
}

/// Writes results, each under its name.
fn write(path: &Path, tensors: Vec<(String, Tensor)>) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = MappedFile::new(name, tensors.into_iter().map(|(name, t)| (name, t.into())).collect());
    write_atomically(path, |out| file.write(Some(Kind::Float), out)).map_err(Failure::writing)
}
