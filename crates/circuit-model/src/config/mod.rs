//! `config.json` of a Hugging Face checkpoint, read with a record of which keys were used.
//!
//! A family asks for the keys it knows. [`HfConfig::finish`] then sorts every other key by the tables of
//! [`crate::family::keys`]: without effect, refused because it changes the computation, or unknown. Unknown keys are collected
//! and end in one warning. Not here: what keys mean, and class defaults (the families know both).

mod error;

use crate::family::keys;
use circuit_index::Notice;
pub use error::SpecError;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Descriptions are made layer by layer: an absurd number of layers must not fill the memory.
const MAX_LAYERS: usize = 10_000;

/// What was found in a file besides the description: shared by the outer object and those inside it.
#[derive(Default)]
struct Findings {
    notices: Vec<Notice>,
    /// Keys of unknown meaning, with their values.
    unknown: Vec<(String, Value)>,
}

/// A parsed `config.json`, or an object inside it.
pub(crate) struct HfConfig {
    path: PathBuf,
    /// Where this object is in the file, for messages: `rope_scaling.` or nothing.
    prefix: String,
    values: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
    findings: Rc<RefCell<Findings>>,
}

impl HfConfig {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// If it is missing or no JSON object.
    pub(crate) fn open(folder: &Path) -> Result<Self, SpecError> {
        let path = folder.join("config.json");
        let text = std::fs::read(&path).map_err(|source| SpecError::Io { path: path.clone(), source })?;
        match serde_json::from_slice(&text) {
            Ok(Value::Object(values)) => {
                let (used, findings) = (RefCell::default(), Rc::default());
                Ok(Self { path, prefix: String::new(), values, used, findings })
            }
            Ok(_) => Err(SpecError::Json { path, reason: "it holds another kind of value".into() }),
            Err(e) => Err(SpecError::Json { path, reason: circuit_torch::json_file_fault(&text, &e) }),
        }
    }

    /// An object inside this one.
    fn inner(&self, key: &str, values: Map<String, Value>) -> Self {
        Self {
            path: self.path.clone(),
            prefix: format!("{}{key}.", self.prefix),
            values,
            used: RefCell::default(),
            findings: Rc::clone(&self.findings),
        }
    }

    /// The file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(key.into());
        self.values.get(key).filter(|v| !v.is_null())
    }

    /// The name of a key as messages show it, with the objects around it.
    pub(crate) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn wrong(&self, key: &str, found: &Value, expected: &str) -> SpecError {
        let (path, key) = (self.path.clone(), self.full(key));
        SpecError::Value { path, key, found: found.to_string(), expected: expected.into() }
    }

    /// Records that one of several possible readings was chosen.
    pub(crate) fn note(&self, message: &str) {
        let notice = Notice::note(format!("{}: {message}", self.path.display()));
        self.findings.borrow_mut().notices.push(notice);
    }

    /// Records that the file may mean something else than it says.
    pub(crate) fn warn(&self, message: &str) {
        let notice = Notice::warning(format!("{}: {message}", self.path.display()));
        self.findings.borrow_mut().notices.push(notice);
    }

    /// Whether a key is there with a value other than null, false or empty.
    pub(crate) fn states(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !is_idle(value))
    }

    /// Whether a key is there, with any value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether a key is there and null. Absent is another thing: then the class default counts.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(Value::is_null)
    }

    /// Whether a key is there and false.
    pub(crate) fn is_false(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(false))
    }

    /// A key and its value as messages show them.
    pub(crate) fn quoted(&self, key: &str) -> String {
        match self.values.get(key) {
            Some(value) => format!("`{}` is {value}", self.full(key)),
            None => format!("`{}` is absent", self.full(key)),
        }
    }

    /// An error about a key's value, for rules that only the family knows.
    pub(crate) fn refuse(&self, key: &str, expected: &str) -> SpecError {
        self.wrong(key, self.values.get(key).unwrap_or(&Value::Null), expected)
    }

    fn optional<T>(
        &self,
        key: &str,
        form: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, SpecError> {
        self.get(key).map(|v| read(v).ok_or_else(|| self.wrong(key, v, form))).transpose()
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, SpecError> {
        let missing = || SpecError::Missing { path: self.path.clone(), key: self.full(key) };
        value.ok_or_else(missing)
    }

    /// A count (1 to 2³¹), if the key is there and not null.
    pub(crate) fn opt_count(&self, key: &str) -> Result<Option<usize>, SpecError> {
        let read =
            |v: &Value| v.as_u64().filter(|n| (1..=1 << 31).contains(n)).and_then(|n| n.try_into().ok());
        self.optional(key, "a positive whole number", read)
    }

    /// A count, or the class default where the key is absent or null.
    pub(crate) fn count_or(&self, key: &str, default: usize) -> Result<usize, SpecError> {
        Ok(self.opt_count(key)?.unwrap_or(default))
    }

    /// A count that has an alias (an `attribute_map` of the class). The alias rules where both are there, since it is set last.
    pub(crate) fn count_of(&self, key: &str, alias: &str, default: usize) -> Result<usize, SpecError> {
        let (own, other) = (self.opt_count(key)?, self.opt_count(alias)?);
        if let (Some(own), Some(other)) = (own, other)
            && own != other
        {
            self.note(&format!(
                "`{key}` is {own} and `{alias}` is {other}; `{alias}` is used, as transformers does"
            ));
        }
        Ok(other.or(own).unwrap_or(default))
    }

    /// Checks that a number of layers is no larger than any model's.
    pub(crate) fn check_layers(&self, key: &str, layers: usize) -> Result<usize, SpecError> {
        match layers > MAX_LAYERS {
            true => Err(self.refuse(key, &format!("at most {MAX_LAYERS} layers"))),
            false => Ok(layers),
        }
    }

    /// The number of layers, or the class default where the key is absent.
    pub(crate) fn layers_or(&self, key: &str, default: usize) -> Result<usize, SpecError> {
        self.check_layers(key, self.count_or(key, default)?)
    }

    /// A count: `absent` where the key is missing, none where it is null.
    pub(crate) fn count_or_none(&self, key: &str, absent: usize) -> Result<Option<usize>, SpecError> {
        match self.values.contains_key(key) {
            true => self.opt_count(key),
            false => Ok(Some(absent)),
        }
    }

    /// A whole number that may be zero, such as a layer, if the key is there.
    pub(crate) fn opt_index(&self, key: &str) -> Result<Option<usize>, SpecError> {
        let read = |v: &Value| v.as_u64().filter(|n| *n <= 1 << 31).and_then(|n| n.try_into().ok());
        self.optional(key, "a whole number", read)
    }

    /// A positive number: `absent` where the key is missing, none where it is null.
    pub(crate) fn positive_or_none(&self, key: &str, absent: f64) -> Result<Option<f64>, SpecError> {
        match self.values.contains_key(key) {
            true => self.opt_positive(key),
            false => Ok(Some(absent)),
        }
    }

    /// A positive number, if the key is there and not null.
    pub(crate) fn opt_positive(&self, key: &str) -> Result<Option<f64>, SpecError> {
        self.optional(key, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A positive number that must be there.
    pub(crate) fn positive(&self, key: &str) -> Result<f64, SpecError> {
        let value = self.opt_positive(key)?;
        self.required(key, value)
    }

    /// A positive number, or the class default where the key is absent or null.
    pub(crate) fn positive_or(&self, key: &str, default: f64) -> Result<f64, SpecError> {
        Ok(self.opt_positive(key)?.unwrap_or(default))
    }

    /// A number of any sign, if the key is there and not null.
    pub(crate) fn opt_number(&self, key: &str) -> Result<Option<f64>, SpecError> {
        self.optional(key, "a number", |v| v.as_f64().filter(|x| x.is_finite()))
    }

    /// True or false; `default` if the key is absent or null.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        Ok(self.optional(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A string, if the key is there and not null.
    pub(crate) fn opt_text(&self, key: &str) -> Result<Option<String>, SpecError> {
        self.optional(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    /// A list of strings, if the key is there and not null.
    pub(crate) fn opt_texts(&self, key: &str) -> Result<Option<Vec<String>>, SpecError> {
        let read = |v: &Value| v.as_array()?.iter().map(|t| t.as_str().map(str::to_owned)).collect();
        self.optional(key, "a list of strings", read)
    }

    /// An object inside this one, if the key is there and not null. The caller must call [`HfConfig::finish`] on it too.
    pub(crate) fn opt_object(&self, key: &str) -> Result<Option<Self>, SpecError> {
        let object = self.optional(key, "an object", |v| v.as_object().cloned())?;
        Ok(object.map(|values| self.inner(key, values)))
    }

    /// An object inside this one that must be there.
    pub(crate) fn object(&self, key: &str) -> Result<Self, SpecError> {
        let object = self.opt_object(key)?;
        self.required(key, object)
    }

    /// An object inside this one that is not empty, if there is one.
    pub(crate) fn opt_filled_object(&self, key: &str) -> Result<Option<Self>, SpecError> {
        Ok(self.opt_object(key)?.filter(|object| !object.values.is_empty()))
    }

    /// An object inside this one; without the key an empty one, whose keys all have their class defaults.
    pub(crate) fn object_or_empty(&self, key: &str) -> Result<Self, SpecError> {
        Ok(self.opt_object(key)?.unwrap_or_else(|| self.inner(key, Map::new())))
    }

    /// This object with the keys of another, which win where both have one.
    pub(crate) fn overlaid_by(mut self, other: &Self) -> Self {
        self.values.extend(other.values.iter().map(|(key, value)| (key.clone(), value.clone())));
        self
    }

    /// Whether two objects state the same.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.values == other.values
    }

    /// The keys of a list that are there and have not been used; they count as used from now on.
    pub(crate) fn take_unused(&self, keys: &[&str]) -> Vec<String> {
        let mut used = self.used.borrow_mut();
        let unused = keys.iter().filter(|key| self.states(key) && !used.contains(**key));
        let unused: Vec<_> = unused.map(|&key| key.to_owned()).collect();
        used.extend(unused.iter().cloned());
        unused
    }

    /// Declares keys that have no effect on the part of the model that is run.
    pub(crate) fn leave_aside(&self, keys: &[&str]) {
        self.used.borrow_mut().extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// The family: `model_type`.
    ///
    /// # Errors
    /// If the key is missing or no string.
    pub(crate) fn model_type(&self) -> Result<String, SpecError> {
        let value = self.opt_text("model_type")?;
        self.required("model_type", value)
    }

    /// The architecture: the first of `architectures`, or the family's usual one.
    pub(crate) fn architecture(&self, usual: &str) -> Result<String, SpecError> {
        Ok(self
            .opt_texts("architectures")?
            .and_then(|a| a.into_iter().next())
            .unwrap_or_else(|| usual.into()))
    }

    /// Sorts the keys that the family did not ask for: some have no effect, some are refused, the rest are unknown.
    ///
    /// # Errors
    /// If a key changes the computation in a way that is not implemented.
    pub(crate) fn finish(&self, family: &str) -> Result<(), SpecError> {
        let used = self.used.borrow();
        for (key, value) in self.values.iter().filter(|(key, _)| !used.contains(*key)) {
            if keys::without_effect(key) {
                continue;
            }
            match keys::change(key) {
                Some(change) if change.is_neutral(value) => {}
                Some(change) => {
                    return Err(SpecError::Unsupported {
                        path: self.path.clone(),
                        key: self.full(key),
                        found: value.to_string(),
                        family_and_change: format!("{family}: {change}"),
                    });
                }
                None if is_idle(value) => {}
                None => self.findings.borrow_mut().unknown.push((self.full(key), value.clone())),
            }
        }
        Ok(())
    }

    /// What was found besides the description: the notices, with one warning that lists all unknown keys, and these keys with
    /// their values.
    pub(crate) fn take_findings(&self, family: &str) -> (Vec<Notice>, Vec<(String, Value)>) {
        let Findings { mut notices, mut unknown } = self.findings.take();
        unknown.sort_by(|(a, _), (b, _)| a.cmp(b));
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.iter().map(|(key, _)| format!("`{key}`")).collect();
            let (keys, are) = if names.len() == 1 { ("key", "is") } else { ("keys", "are") };
            notices.push(Notice::warning(format!(
                "{}: unknown {keys} for {family}, which {are} ignored: {}",
                self.path.display(),
                names.join(", ")
            )));
        }
        (notices, unknown)
    }
}

/// A value that switches nothing on.
pub(crate) fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}
