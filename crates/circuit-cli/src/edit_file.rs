//! `--edits FILE.json`: a list of named interventions, each with its edits and with what is held meanwhile.
//!
//! ```json
//! [{"name": "swap", "constrained_layers": [0, 1], "interventions": [
//!     {"layer": 0, "pos": -1, "feature": 5, "value": 3.0},
//!     {"layer": 1, "pos": {"slice": [2, 4]}, "feature": 8, "scale": [2.0, 0.5]}]}]
//! ```
//!
//! A position is a number, a list of numbers or a slice; negative ones count from the end. Each edit has one of `value`, `scale`
//! and `add`: a number, or a list with one for each position. Not here: whether the set has such a feature.

use crate::edit_args::{Amounts, Entry, Target, position, slice, spread};
use crate::failure::{Code, Failure};
use circuit_index::{FeatureIndex, Layer, Notice};
use circuit_intervention::{Change, Edit, Freeze, Positions};
use circuit_model::text::{self, Text, TextError};
use serde_json::{Map, Value};
use std::path::Path;

const ENTRY_KEYS: [&str; 6] = [
    "name",
    "interventions",
    "constrained_layers",
    "freeze_attention",
    "apply_activation_function",
    "max_new_tokens",
];
const EDIT_KEYS: [&str; 6] = ["layer", "pos", "feature", "value", "scale", "add"];

/// What a file of edits holds.
pub(crate) struct EditFile {
    pub(crate) entries: Vec<Entry>,
    /// Keys that mean nothing, and characters that are probably not meant.
    pub(crate) notices: Vec<Notice>,
}

/// Reads a file of edits for a prompt.
pub(crate) fn read(path: &Path, on: Target) -> Result<EditFile, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let Text { text, mut notices } = match text::read(path) {
        Err(TextError::Read { source, .. }) => return Err(bad(source.to_string())),
        text => text?,
    };
    let (entries, unknown) = parse(&text, on).map_err(bad)?;
    notices.extend(unknown.into_iter().map(|what| Notice::warning(format!("{}: {what}", path.display()))));
    Ok(EditFile { entries, notices })
}

/// The entries of a file's text, and a sentence for each key that means nothing.
fn parse(text: &str, on: Target) -> Result<(Vec<Entry>, Vec<String>), String> {
    let expected = "expected a list of interventions, each with `name` and `interventions`";
    let value: Value = serde_json::from_str(text).map_err(|e| {
        format!("this is not JSON from line {}, column {} on; {expected}", e.line(), e.column())
    })?;
    let list = value.as_array().ok_or_else(|| format!("found {}, {expected}", kind(&value)))?;
    let mut unknown = Vec::new();
    let entries = list.iter().enumerate().map(|(nth, value)| {
        let name = value.get("name").and_then(Value::as_str);
        let place = name.map_or(format!("entry {}", nth + 1), |name| format!("entry {} (`{name}`)", nth + 1));
        entry(value, on, &place, &mut unknown)
    });
    let entries = entries.collect::<Result<_, _>>()?;
    Ok((entries, unknown))
}

/// An object of the file with the words for where it stands.
struct Object<'a> {
    map: &'a Map<String, Value>,
    place: &'a str,
}

impl<'a> Object<'a> {
    fn new(
        value: &'a Value,
        place: &'a str,
        known: &[&str],
        unknown: &mut Vec<String>,
    ) -> Result<Self, String> {
        let Some(map) = value.as_object() else {
            return Err(format!("{place}: found {}, expected an object", kind(value)));
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            unknown
                .push(format!("{place}: the key `{key}` means nothing here; known are {}", known.join(", ")));
        }
        Ok(Self { map, place })
    }

    /// The value of a key; JSON's null counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> String {
        format!("{}: `{key}` is {}, expected {expected}", self.place, shown(value))
    }

    /// The value of a key, in a form that `read` takes.
    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, value, expected))
    }

    fn needed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, String> {
        let missing = || format!("{}: `{key}` is missing, expected {expected}", self.place);
        self.read(key, expected, read)?.ok_or_else(missing)
    }
}

fn entry(value: &Value, on: Target, place: &str, unknown: &mut Vec<String>) -> Result<Entry, String> {
    let object = Object::new(value, place, &ENTRY_KEYS, unknown)?;
    let name = object.needed("name", "a text", |v| v.as_str().map(str::to_owned))?;
    let freeze_attention = object.read("freeze_attention", "true or false", Value::as_bool)?.unwrap_or(true);
    let activated = object.read("apply_activation_function", "true or false", Value::as_bool)?;
    let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let max_new_tokens = object.read("max_new_tokens", "a number of tokens", count)?;
    let layers = |value: &Value| value.as_array()?.iter().map(count).collect::<Option<Vec<_>>>();
    let freeze = match object.read("constrained_layers", "a list of layers", layers)?.as_deref() {
        Some(layers @ [first, .., last]) if layers.windows(2).all(|w| w[1] == w[0].saturating_add(1)) => {
            Freeze::Layers(*first..last.saturating_add(1))
        }
        Some([only]) => Freeze::Layers(*only..only.saturating_add(1)),
        Some(layers) => {
            return Err(format!("{place}: `constrained_layers` is {layers:?}, expected consecutive layers"));
        }
        None if freeze_attention => Freeze::Attention,
        None => Freeze::Nothing,
    };
    let on = Target { generates: on.generates || max_new_tokens.is_some(), ..on };
    let list = object.needed("interventions", "a list of edits", |v| v.as_array())?;
    let mut edits = Vec::new();
    for (nth, value) in list.iter().enumerate() {
        edits.extend(edit(value, on, &format!("{place}, intervention {}", nth + 1), unknown)?);
    }
    let apply_activation_function = activated.unwrap_or(true);
    Ok(Entry { name, edits, freeze, apply_activation_function, max_new_tokens })
}

fn edit(value: &Value, on: Target, place: &str, unknown: &mut Vec<String>) -> Result<Vec<Edit>, String> {
    let object = Object::new(value, place, &EDIT_KEYS, unknown)?;
    let whole = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    let layer = Layer(object.needed("layer", "a layer's number", whole)?);
    if layer.get() >= on.n_layers {
        return Err(format!("{place}: `layer` is {layer}, but the transcoders have {} layers", on.n_layers));
    }
    let feature = FeatureIndex(object.needed("feature", "a feature's number", whole)?);
    let pos = object.get("pos").ok_or_else(|| format!("{place}: `pos` is missing, expected {POSITIONS}"))?;
    let places = positions(pos, on.n_pos).map_err(|reason| format!("{place}: `pos`: {reason}"))?;

    let changes = [
        ("value", Change::Set as fn(f64) -> Change),
        ("scale", Change::Scale as fn(f64) -> Change),
        ("add", Change::Add as fn(f64) -> Change),
    ];
    let given: Vec<_> = changes.into_iter().filter(|(key, _)| object.get(key).is_some()).collect();
    let [(key, make)] = given[..] else {
        let found: Vec<_> = given.iter().map(|(key, _)| format!("`{key}`")).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
        return Err(format!("{place}: expected one of `value`, `scale` and `add`, found {found}"));
    };
    let amounts = object.needed(key, "a number, or a list with one for each position", amounts)?;
    let changes =
        spread(&places, &amounts, on, make).map_err(|reason| format!("{place}: `{key}`: {reason}"))?;
    Ok(changes.into_iter().map(|(positions, change)| Edit { layer, feature, positions, change }).collect())
}

/// A number, or a list of numbers; one number alone in a list is for all positions, as in Python's tensors.
fn amounts(value: &Value) -> Option<Amounts> {
    match value {
        Value::Array(list) => {
            let values: Vec<f64> = list.iter().map(Value::as_f64).collect::<Option<_>>()?;
            Some(if let [one] = values[..] { Amounts::One(one) } else { Amounts::Each(values) })
        }
        _ => value.as_f64().map(Amounts::One),
    }
}

const POSITIONS: &str = "a position such as 3 or -1, a list of positions, or {\"slice\": [start, end]}";

fn positions(value: &Value, n_pos: usize) -> Result<Vec<Positions>, String> {
    let wrong = || format!("found {}, expected {POSITIONS}", shown(value));
    let one = |value: &Value| position(value.as_i64().ok_or_else(wrong)?, n_pos).map(Positions::At);
    match value {
        Value::Array(list) if list.is_empty() => Err("the list has no position".into()),
        Value::Array(list) => list.iter().map(one).collect(),
        Value::Object(map) => {
            let bounds = map.get("slice").filter(|_| map.len() == 1).and_then(Value::as_array);
            let [start, end] = bounds.map(Vec::as_slice).ok_or_else(wrong)? else { return Err(wrong()) };
            let bound = |value: &Value| match value {
                Value::Null => Ok(None),
                value => value.as_i64().map(Some).ok_or_else(wrong),
            };
            Ok(vec![slice(bound(start)?, bound(end)?, n_pos)?])
        }
        value => Ok(vec![one(value)?]),
    }
}

/// The kind of a value, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as JSON, shortened.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_index::Pos;
    use serde_json::json;

    const ON: Target = Target { n_pos: 5, n_layers: 2, generates: false };

    fn read(file: &Value) -> Result<(Vec<Entry>, Vec<String>), String> {
        parse(&file.to_string(), ON)
    }

    /// The edits of one entry with one intervention of layer 0.
    fn one(pos: Value, rest: Value) -> Result<Vec<(Positions, Change)>, String> {
        let mut edit = json!({"layer": 0, "feature": 7, "pos": pos});
        edit.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let file = json!([{"name": "a", "interventions": []}, {"name": "b", "interventions": [edit]}]);
        let (mut entries, unknown) = read(&file)?;
        assert!(unknown.is_empty(), "{unknown:?}");
        let edits = entries.remove(1).edits;
        Ok(edits.into_iter().map(|edit| (edit.positions, edit.change)).collect())
    }

    fn at(pos: u32) -> Positions {
        Positions::At(Pos(pos))
    }

    #[test]
    fn positions_are_numbers_lists_and_slices() {
        let set = |positions: &[Positions]| -> Vec<_> {
            positions.iter().map(|p| (p.clone(), Change::Set(3.0))).collect()
        };
        let value = || json!({"value": 3});
        assert_eq!(one(json!(2), value()).unwrap(), set(&[at(2)]));
        assert_eq!(one(json!(-1), value()).unwrap(), set(&[at(4)]));
        assert_eq!(one(json!([2, -2]), value()).unwrap(), set(&[at(2), at(3)]));
        let slice = |start, end: Option<u32>| Positions::Slice(Pos(start), end.map(Pos));
        assert_eq!(one(json!({"slice": [2, 4]}), value()).unwrap(), set(&[slice(2, Some(4))]));
        assert_eq!(one(json!({"slice": [-2, null]}), value()).unwrap(), set(&[slice(3, None)]));
        assert_eq!(one(json!({"slice": [null, -1]}), value()).unwrap(), set(&[slice(0, Some(4))]));
    }

    #[test]
    fn values_are_one_or_one_for_each_position() {
        let slice = || json!({"slice": [2, 4]});
        assert_eq!(
            one(slice(), json!({"value": [3.0, 5]})).unwrap(),
            [(at(2), Change::Set(3.0)), (at(3), Change::Set(5.0))]
        );
        assert_eq!(
            one(json!([4, 0]), json!({"scale": [2, 0.5]})).unwrap(),
            [(at(4), Change::Scale(2.0)), (at(0), Change::Scale(0.5))]
        );
        assert_eq!(one(json!(1), json!({"add": -2})).unwrap(), [(at(1), Change::Add(-2.0))]);
        assert_eq!(one(json!([1, 2]), json!({"value": [9]})).unwrap().len(), 2);
        assert_eq!(
            one(json!({"slice": [3, null]}), json!({"value": [1, 2]})).unwrap()[1],
            (at(4), Change::Set(2.0))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry_and_key() {
        for (pos, rest, words) in [
            (json!({"slice": [2, 4]}), json!({"value": [1, 2, 3]}), "`value`: 3 values for 2 positions"),
            (json!(5), json!({"value": 1}), "`pos`: there is no position 5: the prompt has 5 tokens"),
            (json!(-6), json!({"value": 1}), "no position -6"),
            (json!([0, 9]), json!({"value": 1}), "no position 9"),
            (json!({"slice": [0, 6]}), json!({"value": 1}), "no position 5"),
            (json!({"slice": [3, 3]}), json!({"value": 1}), "has no position"),
            (json!({"slice": [0]}), json!({"value": 1}), "expected a position such as 3"),
            (json!({"from": 2}), json!({"value": 1}), "`pos`: found {\"from\":2}"),
            (json!("2"), json!({"value": 1}), "`pos`: found \"2\""),
            (json!(2.5), json!({"value": 1}), "`pos`: found 2.5"),
            (json!([]), json!({"value": 1}), "has no position"),
            (json!(2), json!({}), "found none"),
            (json!(2), json!({"value": 1, "scale": 2}), "found `value` and `scale`"),
            (json!(2), json!({"value": "3"}), "`value` is \"3\", expected a number"),
            (json!(2), json!({"layer": 2, "value": 1}), "`layer` is 2, but the transcoders have 2 layers"),
            (json!(2), json!({"feature": -1, "value": 1}), "`feature` is -1"),
        ] {
            let error = one(pos.clone(), rest.clone()).unwrap_err();
            assert!(error.starts_with("entry 2 (`b`), intervention 1: "), "{pos} {rest}: {error}");
            assert!(error.contains(words), "{pos} {rest}: {error}");
        }
    }

    #[test]
    fn entries_are_checked_too() {
        for (file, words) in [
            (json!({"name": "a"}), "found an object, expected a list of interventions"),
            (json!([3]), "entry 1: found a number, expected an object"),
            (json!([{"interventions": []}]), "entry 1: `name` is missing"),
            (json!([{"name": "a"}]), "entry 1 (`a`): `interventions` is missing"),
            (json!([{"name": "a", "interventions": {}}]), "`interventions` is {}"),
            (json!([{"name": "a", "interventions": [], "constrained_layers": [0, 2]}]), "consecutive"),
            (json!([{"name": "a", "interventions": [], "max_new_tokens": -1}]), "`max_new_tokens` is -1"),
        ] {
            let error = read(&file).map(|_| ()).unwrap_err();
            assert!(error.contains(words), "{file}: {error}");
        }
        assert!(parse("[{", ON).map(|_| ()).unwrap_err().contains("line 1, column 2"));
        let open = json!({"layer": 0, "pos": {"slice": [1, null]}, "feature": 7, "value": [1, 2, 3, 4]});
        let file = json!([{"name": "a", "interventions": [open], "max_new_tokens": 3}]);
        assert!(read(&file).map(|_| ()).unwrap_err().contains("generated tokens"));
    }

    #[test]
    fn keys_that_mean_nothing_are_named() {
        let edit = json!({"layer": 0, "pos": 2, "feature": 7, "value": 1, "label": "x"});
        let (_, unknown) = read(&json!([{"name": "a", "interventions": [edit], "comment": ""}])).unwrap();
        assert_eq!(unknown.len(), 2);
        assert!(unknown[0].starts_with("entry 1 (`a`): the key `comment`"), "{unknown:?}");
        assert!(unknown[1].starts_with("entry 1 (`a`), intervention 1: the key `label`"), "{unknown:?}");
    }
}
