//! Edits as they are typed: `2_1543@10=0` for feature 1543 of layer 2 at position 10, `@3:7` and `@3:` for slices, `@-1` from the end,
//! `@1,4` for several; groups of a graph's view by label; and files of entries. Whether a model has such a feature is checked later.

use crate::closer_args::EditArgs;
use crate::failure::{Code, Failure};
use crate::view;
use circuit_index::{FeatureIndex, Layer, Pos};
use circuit_intervention::{Change, Edit, Freeze, Positions};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// What a set of edits is called, what it does, and what is held.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) freeze: Freeze,
    /// Whether activations are told after the activation function.
    pub(crate) apply_activation_function: bool,
    /// How many tokens are written after the prompt; none for a single pass.
    pub(crate) max_new_tokens: Option<usize>,
}

/// The edits of the arguments on a prompt of `n_pos` tokens: one entry of those on the command line, and those of a file.
pub(crate) fn entries(args: &EditArgs, n_pos: usize, n_layers: usize) -> Result<Vec<Entry>, Failure> {
    let mut edits = Vec::new();
    for (texts, make) in [
        (&args.set, Change::Set as fn(f64) -> Change),
        (&args.scale, Change::Scale as fn(f64) -> Change),
        (&args.add, Change::Add as fn(f64) -> Change),
    ] {
        for text in texts {
            let (place, value) = assignment(text)?;
            edits.extend(at(place, n_pos, make(value))?);
        }
    }
    for text in &args.ablate {
        edits.extend(at(text, n_pos, Change::Set(0.0))?);
    }
    for text in &args.ablate_group {
        edits.extend(group(args, text, Change::Set(0.0))?);
    }
    for text in &args.scale_group {
        let (label, value) = assignment(text)?;
        edits.extend(group(args, label, Change::Scale(value))?);
    }
    let mut entries = Vec::new();
    if !edits.is_empty() {
        let freeze = freeze(args, n_layers)?;
        entries.push(Entry {
            name: "edited".into(),
            edits,
            freeze,
            apply_activation_function: true,
            max_new_tokens: None,
        });
    }
    if let Some(path) = &args.edits {
        entries.extend(read(path)?);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(entry.name.as_str())) {
        return Err(Failure::usage(format!("two interventions are called `{}`", twice.name)));
    }
    if entries.is_empty() {
        return Err(Failure::usage(
            "nothing to do: give --set, --scale, --add, --ablate, a group of a graph, or --edits",
        ));
    }
    Ok(entries)
}

fn freeze(args: &EditArgs, n_layers: usize) -> Result<Freeze, Failure> {
    let Some(text) = &args.constrain else {
        return Ok(if args.freeze_nothing { Freeze::Nothing } else { Freeze::Attention });
    };
    if text == "all" {
        return Ok(Freeze::Layers(0..n_layers));
    }
    let wrong = || Failure::usage(format!("--constrain {text}: expected `all` or layers such as 3-7"));
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last): (usize, usize) =
        (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    Ok(Freeze::Layers(first..last.checked_add(1).ok_or_else(wrong)?))
}

/// `left=number`.
fn assignment(text: &str) -> Result<(&str, f64), Failure> {
    let wrong =
        || Failure::usage(format!("`{text}`: expected a feature, `=` and a number, such as 2_1543@10=0"));
    let (left, value) = text.rsplit_once('=').ok_or_else(wrong)?;
    Ok((left, value.trim().parse().map_err(|_| wrong())?))
}

/// `layer_feature@positions`.
pub(crate) fn at(text: &str, n_pos: usize, change: Change) -> Result<Vec<Edit>, Failure> {
    let wrong = || {
        Failure::usage(format!("`{text}`: expected layer_feature@position, such as 2_1543@10"))
            .hint("positions: 10, -1 (from the end), 3:7, 3: (to the end and on), or several with commas")
    };
    let (feature, positions) = text.split_once('@').ok_or_else(wrong)?;
    let (layer, index) = feature.split_once('_').ok_or_else(wrong)?;
    let layer = Layer(layer.trim().parse().map_err(|_| wrong())?);
    let feature = FeatureIndex(index.trim().parse().map_err(|_| wrong())?);
    let pos = |text: &str| -> Result<Pos, Failure> {
        let given: i64 = text.trim().parse().map_err(|_| wrong())?;
        let place = if given < 0 { given + n_pos as i64 } else { given };
        // What is past the prompt is told with its length, later.
        u32::try_from(place).map(Pos).map_err(|_| {
            Failure::usage(format!("there is no position {given}: the prompt has {n_pos} tokens"))
        })
    };
    let one = |text: &str| -> Result<Edit, Failure> {
        let positions = match text.split_once(':') {
            None => Positions::At(pos(text)?),
            Some((start, end)) => {
                let start = if start.trim().is_empty() { Pos(0) } else { pos(start)? };
                let end = if end.trim().is_empty() { None } else { Some(pos(end)?) };
                Positions::Slice(start, end)
            }
        };
        Ok(Edit { layer, feature, positions, change })
    };
    positions.split(',').map(one).collect()
}

/// All features of a group of the graph's view.
fn group(args: &EditArgs, label: &str, change: Change) -> Result<Vec<Edit>, Failure> {
    let Some(path) = &args.graph else {
        return Err(Failure::usage("groups are those of a graph file: give it with --graph"));
    };
    let view = view::read(path)?;
    let named = |group: &&Vec<String>| group.first().is_some_and(|l| l.trim() == label.trim());
    let Some(members) = view.supernodes.iter().find(named) else {
        let known: Vec<_> =
            view.supernodes.iter().filter_map(|g| g.first()).map(|l| format!("`{l}`")).collect();
        return Err(Failure::usage(format!(
            "{}: no group `{label}`; there are: {}",
            path.display(),
            known.join(", ")
        )));
    };
    let feature = |id: &String| {
        let parts: Vec<_> = id.split('_').map(str::parse::<u32>).collect();
        // Tokens, targets and errors of a group have nothing to edit.
        match parts.as_slice() {
            [Ok(layer), Ok(index), Ok(pos)] => Some(Edit {
                layer: Layer(*layer),
                feature: FeatureIndex(*index),
                positions: Positions::At(Pos(*pos)),
                change,
            }),
            _ => None,
        }
    };
    let edits: Vec<_> = members[1..].iter().filter_map(feature).collect();
    match edits.is_empty() {
        true => Err(Failure::usage(format!("{}: group `{label}` has no features", path.display()))),
        false => Ok(edits),
    }
}

/// An entry of a file.
#[derive(Deserialize)]
struct FileEntry {
    name: String,
    interventions: Vec<FileEdit>,
    #[serde(default)]
    constrained_layers: Option<Vec<usize>>,
    #[serde(default = "yes")]
    freeze_attention: bool,
    #[serde(default = "yes")]
    apply_activation_function: bool,
    #[serde(default)]
    max_new_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct FileEdit {
    layer: u32,
    pos: FilePosition,
    feature: u32,
    value: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FilePosition {
    At(u32),
    Slice { slice: (u32, Option<u32>) },
}

fn yes() -> bool {
    true
}

fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let entries: Vec<FileEntry> =
        serde_json::from_slice(&text).map_err(|e| bad(format!("no list of interventions: {e}")))?;
    let entry = |entry: FileEntry| {
        let freeze = match entry.constrained_layers.as_deref() {
            Some(layers @ [first, .., last]) if layers.windows(2).all(|w| w[1] == w[0].saturating_add(1)) => {
                Freeze::Layers(*first..last.saturating_add(1))
            }
            Some([only]) => Freeze::Layers(*only..only.saturating_add(1)),
            Some(_) => {
                return Err(bad(format!("entry `{}`: constrained_layers must be consecutive", entry.name)));
            }
            None if entry.freeze_attention => Freeze::Attention,
            None => Freeze::Nothing,
        };
        let edit = |edit: &FileEdit| Edit {
            layer: Layer(edit.layer),
            feature: FeatureIndex(edit.feature),
            positions: match edit.pos {
                FilePosition::At(pos) => Positions::At(Pos(pos)),
                FilePosition::Slice { slice: (start, end) } => Positions::Slice(Pos(start), end.map(Pos)),
            },
            change: Change::Set(edit.value),
        };
        Ok(Entry {
            edits: entry.interventions.iter().map(edit).collect(),
            apply_activation_function: entry.apply_activation_function,
            max_new_tokens: entry.max_new_tokens,
            name: entry.name,
            freeze,
        })
    };
    entries.into_iter().map(entry).collect()
}
