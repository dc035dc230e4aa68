//! Edits of features as they are typed: `2_1543@10=0` sets feature 1543 of layer 2 at position 10. Positions are `10`, `-1` (from
//! the end), `3:7`, `3:` or several of these with commas; `=1,2` gives each of two positions its own value.
//!
//! Files of edits are read in `edit_file`, groups of a graph's view in `groups`. Not here: whether the model has such a feature.

use crate::closer_args::EditArgs;
use crate::failure::Failure;
use crate::say::say_notices;
use crate::{edit_file, groups};
use circuit_index::{FeatureIndex, Layer, Pos};
use circuit_intervention::{Change, Edit, Freeze, Positions};
use std::collections::BTreeSet;

/// A set of edits that is run by itself: its name, what it does, and what is held meanwhile.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) freeze: Freeze,
    /// Whether activations are reported after the activation function.
    pub(crate) apply_activation_function: bool,
    /// How many tokens are generated after the prompt; `None` for a single pass.
    pub(crate) max_new_tokens: Option<usize>,
}

/// The prompt and model that edits are for.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) n_pos: usize,
    pub(crate) n_layers: usize,
    /// Whether tokens are generated after the prompt, on which edits of open slices act.
    pub(crate) generates: bool,
}

/// One number for all positions, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Amounts {
    One(f64),
    Each(Vec<f64>),
}

/// The edits of the arguments: one entry of those on the command line, and those of a file.
pub(crate) fn entries(args: &EditArgs, on: Target) -> Result<Vec<Entry>, Failure> {
    let mut edits = Vec::new();
    for (texts, make) in [
        (&args.set, Change::Set as fn(f64) -> Change),
        (&args.scale, Change::Scale as fn(f64) -> Change),
        (&args.add, Change::Add as fn(f64) -> Change),
    ] {
        for text in texts {
            let (place, amounts) = assignment(text)?;
            edits.extend(typed(place, on, &amounts, make)?);
        }
    }
    for text in &args.ablate {
        edits.extend(typed(text, on, &Amounts::One(0.0), Change::Set)?);
    }
    edits.extend(groups::edits(args, on)?);
    let mut entries = Vec::new();
    if !edits.is_empty() {
        let freeze = freeze(args, on.n_layers)?;
        entries.push(Entry {
            name: "edited".into(),
            edits,
            freeze,
            apply_activation_function: true,
            max_new_tokens: None,
        });
    }
    if let Some(path) = &args.edits {
        let file = edit_file::read(path, on)?;
        say_notices(&file.notices);
        entries.extend(file.entries);
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

/// `left=number`, or `left=number,number`.
fn assignment(text: &str) -> Result<(&str, Amounts), Failure> {
    let wrong =
        || Failure::usage(format!("`{text}`: expected a feature, `=` and a number, such as 2_1543@10=0"));
    let (left, values) = text.rsplit_once('=').ok_or_else(wrong)?;
    let values = values.split(',').map(|value| value.trim().parse());
    let values = values.collect::<Result<Vec<f64>, _>>().map_err(|_| wrong())?;
    Ok((left, if let [one] = values[..] { Amounts::One(one) } else { Amounts::Each(values) }))
}

/// `label=number`.
pub(crate) fn one_number(text: &str) -> Result<(&str, f64), Failure> {
    let wrong =
        || Failure::usage(format!("`{text}`: expected a group, `=` and one number, such as capital=2"));
    let (left, value) = text.rsplit_once('=').ok_or_else(wrong)?;
    Ok((left, value.trim().parse().map_err(|_| wrong())?))
}

/// Parses a place and its values from the command line into edits.
fn typed(text: &str, on: Target, amounts: &Amounts, make: fn(f64) -> Change) -> Result<Vec<Edit>, Failure> {
    let (layer, feature, places) = place(text, on.n_pos)?;
    spread(&places, amounts, on, make)
        .map(|changes| {
            changes
                .into_iter()
                .map(|(positions, change)| Edit { layer, feature, positions, change })
                .collect()
        })
        .map_err(|reason| Failure::usage(format!("`{text}`: {reason}")))
}

/// `layer_feature@positions`.
pub(crate) fn place(text: &str, n_pos: usize) -> Result<(Layer, FeatureIndex, Vec<Positions>), Failure> {
    let wrong = || {
        Failure::usage(format!("`{text}`: expected layer_feature@position, such as 2_1543@10"))
            .hint("positions: 10, -1 (from the end), 3:7, 3: (to the end and on), or several with commas")
    };
    let (feature, positions) = text.split_once('@').ok_or_else(wrong)?;
    let (layer, index) = feature.split_once('_').ok_or_else(wrong)?;
    let layer = Layer(layer.trim().parse().map_err(|_| wrong())?);
    let feature = FeatureIndex(index.trim().parse().map_err(|_| wrong())?);
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
    let bound = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
    let one = |part: &str| -> Result<Positions, Failure> {
        let found = match part.split_once(':') {
            None => position(number(part)?, n_pos).map(Positions::At),
            Some((start, end)) => slice(bound(start)?, bound(end)?, n_pos),
        };
        found.map_err(|reason| Failure::usage(format!("`{text}`: {reason}")))
    };
    Ok((layer, feature, positions.split(',').map(one).collect::<Result<_, _>>()?))
}

/// A position of a prompt; a negative one counts from the end.
pub(crate) fn position(given: i64, n_pos: usize) -> Result<Pos, String> {
    let place = if given < 0 { given + n_pos as i64 } else { given };
    let found = usize::try_from(place).ok().filter(|&place| place < n_pos);
    found.map(Pos::from).ok_or_else(|| format!("there is no position {given}: the prompt has {n_pos} tokens"))
}

/// The positions from `start` to before `end`, as Python's `slice`: an end that is missing is open, so that generated tokens
/// belong to it, and an open slice may begin behind the prompt.
pub(crate) fn slice(start: Option<i64>, end: Option<i64>, n_pos: usize) -> Result<Positions, String> {
    let from = |given: i64| if given < 0 { given + n_pos as i64 } else { given };
    let none = |given: i64| format!("there is no position {given}: the prompt has {n_pos} tokens");
    let given = start.unwrap_or(0);
    let start = u32::try_from(from(given)).map_err(|_| none(given))?;
    let Some(given) = end else { return Ok(Positions::Slice(Pos(start), None)) };
    let end = from(given);
    // The end is behind the last position of the slice.
    let end = u32::try_from(end).ok().filter(|&end| end as usize <= n_pos);
    let end = end.ok_or_else(|| none(if given > 0 { given - 1 } else { given }))?;
    if end <= start {
        return Err(format!("the slice from {start} to before {end} has no position"));
    }
    Ok(Positions::Slice(Pos(start), Some(Pos(end))))
}

/// What happens at each of some positions: the same number everywhere, or to each position its own.
pub(crate) fn spread(
    places: &[Positions],
    amounts: &Amounts,
    on: Target,
    make: fn(f64) -> Change,
) -> Result<Vec<(Positions, Change)>, String> {
    let values = match amounts {
        Amounts::One(value) => return Ok(places.iter().map(|place| (place.clone(), make(*value))).collect()),
        Amounts::Each(values) => values,
    };
    let mut single = Vec::new();
    for place in places {
        match *place {
            Positions::At(pos) => single.push(pos),
            Positions::Slice(start, Some(end)) => single.extend((start.0..end.0).map(Pos)),
            Positions::Slice(start, None) if on.generates => {
                return Err(format!(
                    "the slice from {start} on also acts on generated tokens, expected one value for all of them"
                ));
            }
            Positions::Slice(start, None) => single.extend((start.get()..on.n_pos).map(Pos::from)),
        }
    }
    if single.len() != values.len() {
        return Err(format!(
            "{} values for {} positions, expected one value, or one for each position",
            values.len(),
            single.len()
        ));
    }
    Ok(single.into_iter().zip(values).map(|(pos, &value)| (Positions::At(pos), make(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Target = Target { n_pos: 5, n_layers: 2, generates: false };

    fn edits(text: &str) -> Result<Vec<(Positions, Change)>, String> {
        let (place, amounts) = assignment(text).map_err(|e| e.message)?;
        let edits = typed(place, ON, &amounts, Change::Set).map_err(|e| e.message)?;
        Ok(edits.into_iter().map(|edit| (edit.positions, edit.change)).collect())
    }

    fn at(pos: u32, value: f64) -> (Positions, Change) {
        (Positions::At(Pos(pos)), Change::Set(value))
    }

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(edits("0_7@-1=10").unwrap(), [at(4, 10.0)]);
        assert_eq!(edits("0_7@1,-5=2").unwrap(), [at(1, 2.0), at(0, 2.0)]);
        let slice = |start, end: Option<u32>| (Positions::Slice(Pos(start), end.map(Pos)), Change::Set(1.0));
        assert_eq!(edits("0_7@-3:-1=1").unwrap(), [slice(2, Some(4))]);
        assert_eq!(edits("0_7@:5=1").unwrap(), [slice(0, Some(5))]);
        assert_eq!(edits("0_7@9:=1").unwrap(), [slice(9, None)]);
        for text in ["0_7@5=1", "0_7@-6=1", "0_7@3:6=1", "0_7@-9:2=1", "0_7@-2:-9=1"] {
            assert!(edits(text).unwrap_err().contains("the prompt has 5 tokens"), "{text}");
        }
        assert!(edits("0_7@3:-2=1").unwrap_err().contains("has no position"));
    }

    #[test]
    fn each_position_may_have_a_value_of_its_own() {
        assert_eq!(edits("0_7@2:4=3,5").unwrap(), [at(2, 3.0), at(3, 5.0)]);
        assert_eq!(edits("0_7@0,-1=3, 5").unwrap(), [at(0, 3.0), at(4, 5.0)]);
        assert_eq!(edits("0_7@3:=3,5").unwrap(), [at(3, 3.0), at(4, 5.0)]);
        assert!(edits("0_7@2:4=3,5,6").unwrap_err().contains("3 values for 2 positions"));
        let generates = Target { generates: true, ..ON };
        let amounts = Amounts::Each(vec![1.0, 2.0]);
        assert!(typed("0_7@3:", generates, &amounts, Change::Set).unwrap_err().message.contains("generated"));
    }
}
