//! `--targets FILE.json`: token ids, strings, or weighted named directions.
//!
//! The file is a list, or an object with the list under `given`. A direction is `scale · (Σ W_U[plus] - Σ W_U[minus])`, not
//! demeaned.

use crate::failure::{Code, Failure};
use crate::say::say_notices;
use circuit_attribution::{Direction, TargetChoice};
use circuit_index::TokenId;
use circuit_model::Model;
use circuit_model::text::{self, Text, TextError};
use circuit_model::tokenizer::Tokenizer;
use serde_json::{Map, Value};
use std::path::Path;
use tch::{Kind, Tensor};

/// The targets of a file.
pub(crate) enum Targets {
    Ids(Vec<u32>),
    Strings(Vec<String>),
    Directions(Vec<Entry>),
}

/// A named direction.
pub(crate) struct Entry {
    label: String,
    weight: f64,
    plus: Vec<u32>,
    minus: Vec<u32>,
    scale: f64,
}

const FORM: &str = "a list of token ids, of strings, or of {label, weight, plus, minus, scale}";
const KEYS: [&str; 5] = ["label", "weight", "plus", "minus", "scale"];

/// Reads a file of targets.
pub(crate) fn read(path: &Path) -> Result<Targets, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let text = match text::read(path) {
        Ok(Text { text, notices }) => {
            say_notices(&notices);
            text
        }
        Err(TextError::Read { source, .. }) => return Err(bad(source.to_string())),
        Err(error) => return Err(error.into()),
    };
    let value: Value =
        serde_json::from_str(&text).map_err(|e| bad(format!("expected {FORM} in JSON, but {e}")))?;
    targets(&value).map_err(bad)
}

/// The targets of a JSON value; the error names the entry and the key.
fn targets(value: &Value) -> Result<Targets, String> {
    let list = match value {
        Value::Object(object) => object.get("given").unwrap_or(value),
        _ => value,
    };
    let list = list.as_array().ok_or_else(|| format!("found {}, expected {FORM}", form(list)))?;
    let wrong = |nth: usize, value: &Value, expected: &str| {
        format!("target {nth} is {}, expected {expected}", form(value))
    };
    fn all<T>(
        list: &[Value],
        of: impl Fn(&Value) -> Option<T>,
        wrong: impl Fn(usize, &Value) -> String,
    ) -> Result<Vec<T>, String> {
        list.iter().enumerate().map(|(nth, value)| of(value).ok_or_else(|| wrong(nth, value))).collect()
    }
    match list.first() {
        // That there must be a target is for the engine to say.
        None => Ok(Targets::Ids(Vec::new())),
        Some(Value::Number(_)) => {
            Ok(Targets::Ids(all(list, id, |nth, value| wrong(nth, value, "a token id like the first"))?))
        }
        Some(Value::String(_)) => Ok(Targets::Strings(all(
            list,
            |value| value.as_str().map(str::to_owned),
            |nth, value| wrong(nth, value, "a string like the first"),
        )?)),
        Some(Value::Object(_)) => {
            let entries = list.iter().enumerate().map(|(nth, value)| match value {
                Value::Object(object) => entry(object).map_err(|reason| format!("target {nth}: {reason}")),
                _ => Err(wrong(nth, value, "an object like the first")),
            });
            Ok(Targets::Directions(entries.collect::<Result<_, _>>()?))
        }
        Some(other) => Err(wrong(0, other, "a token id, a string or an object")),
    }
}

fn entry(object: &Map<String, Value>) -> Result<Entry, String> {
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{key}`, expected {}", KEYS.join(", ")));
    }
    let wrong = |key: &str, expected: &str| match object.get(key) {
        Some(value) => format!("`{key}` is {}, expected {expected}", form(value)),
        None => format!("`{key}` is missing, expected {expected}"),
    };
    let number = |key: &str, default: Option<f64>| match object.get(key) {
        None => default.ok_or_else(|| wrong(key, "a number")),
        Some(value) => value.as_f64().ok_or_else(|| wrong(key, "a number")),
    };
    let ids = |key: &str, needed: bool| match object.get(key) {
        None if !needed => Ok(Vec::new()),
        value => {
            let list = value.and_then(Value::as_array).map(|list| list.iter().map(id).collect::<Option<_>>());
            list.flatten().ok_or_else(|| wrong(key, "a list of token ids"))
        }
    };
    Ok(Entry {
        label: object.get("label").and_then(Value::as_str).ok_or_else(|| wrong("label", "a string"))?.into(),
        weight: number("weight", None)?,
        plus: ids("plus", true)?,
        minus: ids("minus", false)?,
        scale: number("scale", Some(1.0))?,
    })
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// What a value is, for a message.
fn form(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    }
}

/// The choice that strings make.
pub(crate) fn strings(texts: &[String], tokenizer: &Tokenizer) -> Result<TargetChoice, Failure> {
    let ids = texts.iter().map(|text| tokenizer.single_token(text).map_err(Failure::text));
    Ok(TargetChoice::Tokens(ids.collect::<Result<_, _>>()?))
}

/// The choice that ids make.
pub(crate) fn ids(ids: &[u32]) -> TargetChoice {
    TargetChoice::Tokens(ids.iter().map(|&id| TokenId(id)).collect())
}

impl Targets {
    /// The choice that the file makes.
    pub(crate) fn choice(&self, model: &Model, tokenizer: &Tokenizer) -> Result<TargetChoice, Failure> {
        match self {
            Self::Ids(list) => Ok(ids(list)),
            Self::Strings(texts) => strings(texts, tokenizer),
            Self::Directions(entries) => {
                let directions = entries.iter().map(|entry| entry.direction(model));
                Ok(TargetChoice::Directions(directions.collect::<Result<_, _>>()?))
            }
        }
    }
}

impl Entry {
    fn direction(&self, model: &Model) -> Result<Direction, Failure> {
        let (d_model, d_vocab) = (model.spec().d_model as i64, model.spec().d_vocab);
        if let Some(id) = self.plus.iter().chain(&self.minus).find(|id| **id as usize >= d_vocab) {
            let message =
                format!("target `{}`: token {id} is outside the vocabulary of {d_vocab}", self.label);
            return Err(Failure::new(Code::Prompt, message));
        }
        let sum = |ids: &[u32]| {
            let zero = Tensor::zeros([d_model], (model.wide_kind(), model.device()));
            ids.iter().fold(zero, |sum, &id| sum + model.W_U().get(i64::from(id)).to_kind(Kind::Double))
        };
        let vector = (sum(&self.plus) - sum(&self.minus)) * self.scale;
        Ok(Direction { label: self.label.clone(), weight: self.weight, vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_of_the_wrong_form_is_named() {
        let error = |value: Value| targets(&value).err().unwrap();
        for (value, parts) in [
            (json!({"given": [1, "a"]}), ["target 1 is \"a\"", "a token id"]),
            (json!([1, -2]), ["target 1 is -2", "a token id"]),
            (json!(["a", null]), ["target 1 is null", "a string"]),
            (json!([[1]]), ["target 0 is a list", "expected"]),
            (json!({"targets": []}), ["found an object", "expected a list"]),
            (
                json!([{"label": "x", "weight": 1, "plus": [1], "mius": [2]}]),
                ["target 0", "unknown key `mius`"],
            ),
            (json!([{"label": "x", "plus": [1]}]), ["`weight` is missing", "a number"]),
            (json!([{"label": "x", "weight": "1", "plus": [1]}]), ["`weight` is \"1\"", "a number"]),
            (json!([{"label": "x", "weight": 1, "plus": 1}]), ["`plus` is 1", "a list of token ids"]),
        ] {
            let message = error(value.clone());
            assert!(parts.iter().all(|part| message.contains(part)), "{value}: {message}");
        }
        let good = json!([{"label": "x", "weight": 1, "plus": [1], "minus": [2], "scale": 0.5}]);
        assert!(matches!(targets(&good), Ok(Targets::Directions(entries)) if entries[0].scale == 0.5));
    }
}
