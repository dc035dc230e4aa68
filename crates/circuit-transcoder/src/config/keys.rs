//! The keys of one config file, read one by one, so that every message names the file, the key, the value and what was expected.
//!
//! Not here: which keys there are, and what they mean.

use crate::TranscoderError;
use circuit_index::Notice;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The keys and values of a YAML or JSON file, or of an object within it.
pub(super) struct Keys {
    path: PathBuf,
    /// The keys that lead to this object, each followed by a dot.
    within: String,
    map: Map<String, Value>,
}

impl Keys {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, TranscoderError> {
        Self::parse(path, &text_of(path)?)
    }

    /// Reads a text; `path` is for messages. JSON is YAML, so that one parser serves both.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, TranscoderError> {
        let bad = |reason: String| TranscoderError::Config { path: path.into(), reason };
        let mut options = serde_saphyr::Options::default();
        // A config has a line for each layer at most. What aliases blow up is no config.
        options.alias_limits.max_total_replayed_events = 10_000;
        let value: Value = serde_saphyr::from_str_with_options(text.trim_start_matches('\u{feff}'), options)
            .map_err(|e| bad(not_valid(path, &e)))?;
        match value {
            Value::Object(map) => Ok(Self { path: path.into(), within: String::new(), map }),
            Value::Null => Err(bad("the file is empty, expected keys and values".into())),
            other => Err(bad(format!("it holds {}, expected keys and values", shown(&other)))),
        }
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub(super) fn bad(&self, reason: impl Into<String>) -> TranscoderError {
        TranscoderError::Config { path: self.path.clone(), reason: reason.into() }
    }

    /// An error about the value of a key.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> TranscoderError {
        let name = format!("`{}{key}`", self.within);
        match self.get(key) {
            Some(value) => self.bad(format!("{name} is {}, expected {expected}", shown(value))),
            None => self.bad(format!("{name} is missing, expected {expected}")),
        }
    }

    /// The value of a key. A key whose value is null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A text. YAML lets numbers and names stand without quotes, so that a number is a text too.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, TranscoderError> {
        self.get(key).map(|value| text_in(value).ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, TranscoderError> {
        let wrong = || self.wrong(key, "a list of texts");
        let list = |value: &Value| value.as_array()?.iter().map(text_in).collect::<Option<Vec<_>>>();
        self.get(key).map(|value| list(value).ok_or_else(wrong)).transpose()
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TranscoderError> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    /// A whole number, not negative.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, TranscoderError> {
        let number = |value: &Value| text_in(value)?.parse().ok();
        self.get(key).map(|value| number(value).ok_or_else(|| self.wrong(key, "a whole number"))).transpose()
    }

    /// An object within this one; an empty one where the key is absent.
    pub(super) fn object(&self, key: &str) -> Result<Self, TranscoderError> {
        let map = match self.get(key) {
            None => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => return Err(self.wrong(key, "an object")),
        };
        Ok(Self { path: self.path.clone(), within: format!("{}{key}.", self.within), map })
    }

    /// The keys that are not known.
    pub(super) fn unknown(&self, is_known: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        self.map.keys().filter(move |key| !is_known(key)).map(|key| format!("{}{key}", self.within))
    }
}

/// One warning about all unknown keys of a file, or of the configs in a folder; none if there is no such key.
pub(super) fn unknown_keys(path: &Path, keys: &BTreeSet<String>) -> Option<Notice> {
    let names = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let path = path.display();
    (!keys.is_empty()).then(|| Notice::warning(format!("{path}: unknown keys are left aside: {names}")))
}

/// The text of a config: a page at most, whatever else may lie there.
pub(super) fn text_of(path: &Path) -> Result<String, TranscoderError> {
    const LIMIT: u64 = 1 << 20;
    let bad = |reason: String| TranscoderError::Config { path: path.into(), reason };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| bad(format!("cannot read: {e}")))?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|e| bad(format!("cannot read: {e}")))?;
    if bytes.len() as u64 > LIMIT {
        return Err(bad(format!("it has more than {LIMIT} bytes, which no config has")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        bad(format!("line {line} is not UTF-8 text"))
    })
}

fn text_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A value for a message: short, whatever it is.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

/// What a parser has against a text: where it stands, and what kind of text was expected.
fn not_valid(path: &Path, error: &serde_saphyr::Error) -> String {
    let kind = if path.extension().is_some_and(|e| e == "json") { "JSON" } else { "YAML" };
    let place = error.location().map_or_else(String::new, |at| format!(" at line {}", at.line()));
    let reason = error.without_snippet().to_string();
    let reason: String = reason.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("not valid {kind}{place}: {reason}")
}
