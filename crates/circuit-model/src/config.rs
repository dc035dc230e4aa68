//! `config.json` of a Hugging Face checkpoint, read with a memory of which keys were understood.
//!
//! A family asks for the keys it knows. In the end every other key must be null, false or empty, or be listed as without
//! effect: a setting that nobody understood would silently make another model. Not here: what the keys mean.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Keys that change nothing about what the model computes on a prompt: training, saving, generation, library versions.
const WITHOUT_EFFECT: &[&str] = &[
    "_name_or_path",
    "_attn_implementation_autoset",
    "attention_dropout",
    "attn_pdrop",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "gradient_checkpointing",
    "initializer_range",
    "pad_token_id",
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "unk_token_id",
    "use_cache",
];

/// Descriptions are made layer by layer: a number beyond all sense must not fill the memory.
const MAX_LAYERS: usize = 10_000;

/// A `config.json` that cannot be turned into a description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("{}: not a JSON object: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A family that is not implemented.
    #[error("{}: model_type `{found}` is not supported; supported: {known}", path.display())]
    UnknownFamily {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// The families there are.
        known: String,
    },
    /// A key that is needed and not there.
    #[error("{}: key `{key}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key whose value has the wrong form or an impossible value.
    #[error("{}: key `{key}` is {found}, expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A key that nobody understood: ignoring it could compute another model.
    #[error("{}: key `{key}` = {found} is not understood for {family}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The family that did not understand it.
        family: String,
    },
}

/// A parsed `config.json`.
pub(crate) struct HfConfig {
    path: PathBuf,
    /// `rope_scaling.`: where this object stands in the file, for messages.
    prefix: String,
    values: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
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
            Ok(Value::Object(values)) => Ok(Self::new(path, String::new(), values)),
            Ok(_) => Err(SpecError::Json { path, reason: "it holds another kind of value".into() }),
            Err(e) => Err(SpecError::Json { path, reason: circuit_torch::json_file_fault(&text, &e) }),
        }
    }

    fn new(path: PathBuf, prefix: String, values: Map<String, Value>) -> Self {
        Self { path, prefix, values, used: RefCell::default() }
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

    fn wrong(&self, key: &str, found: &Value, expected: &str) -> SpecError {
        let (path, key) = (self.path.clone(), format!("{}{key}", self.prefix));
        SpecError::Value { path, key, found: found.to_string(), expected: expected.into() }
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
        let missing = || SpecError::Missing { path: self.path.clone(), key: format!("{}{key}", self.prefix) };
        value.ok_or_else(missing)
    }

    /// A count (1 to 2³¹), if the key is there.
    pub(crate) fn opt_count(&self, key: &str) -> Result<Option<usize>, SpecError> {
        let read =
            |v: &Value| v.as_u64().filter(|n| (1..=1 << 31).contains(n)).and_then(|n| n.try_into().ok());
        self.optional(key, "a positive whole number", read)
    }

    /// A count that must be there.
    pub(crate) fn count(&self, key: &str) -> Result<usize, SpecError> {
        let value = self.opt_count(key)?;
        self.required(key, value)
    }

    /// The number of layers: a count that must be there, and no larger than any model's.
    pub(crate) fn layers(&self, key: &str) -> Result<usize, SpecError> {
        let layers = self.opt_layers(key)?;
        self.required(key, layers)
    }

    /// The number of layers, if the key is there.
    pub(crate) fn opt_layers(&self, key: &str) -> Result<Option<usize>, SpecError> {
        let Some(layers) = self.opt_count(key)? else { return Ok(None) };
        if layers > MAX_LAYERS {
            return Err(self.refuse(key, &format!("at most {MAX_LAYERS} layers")));
        }
        Ok(Some(layers))
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

    /// A positive number, if the key is there.
    pub(crate) fn opt_positive(&self, key: &str) -> Result<Option<f64>, SpecError> {
        self.optional(key, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A positive number that must be there.
    pub(crate) fn positive(&self, key: &str) -> Result<f64, SpecError> {
        let value = self.opt_positive(key)?;
        self.required(key, value)
    }

    /// A yes or no; `default` if the key is not there.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        Ok(self.optional(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A text, if the key is there.
    pub(crate) fn opt_text(&self, key: &str) -> Result<Option<String>, SpecError> {
        self.optional(key, "a text", |v| v.as_str().map(str::to_owned))
    }

    /// A list of texts, if the key is there.
    pub(crate) fn opt_texts(&self, key: &str) -> Result<Option<Vec<String>>, SpecError> {
        let read = |v: &Value| v.as_array()?.iter().map(|t| t.as_str().map(str::to_owned)).collect();
        self.optional(key, "a list of texts", read)
    }

    /// An object inside this one, if the key is there. The caller must call [`HfConfig::finish`] on it too.
    pub(crate) fn opt_object(&self, key: &str) -> Result<Option<Self>, SpecError> {
        let object = self.optional(key, "an object", |v| v.as_object().cloned())?;
        Ok(object.map(|values| Self::new(self.path.clone(), format!("{}{key}.", self.prefix), values)))
    }

    /// An object inside this one that must be there.
    pub(crate) fn object(&self, key: &str) -> Result<Self, SpecError> {
        let object = self.opt_object(key)?;
        self.required(key, object)
    }

    /// Declares keys that change nothing about the part of the model that is run.
    pub(crate) fn leave_aside(&self, keys: &[&str]) {
        self.used.borrow_mut().extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// Which family it is: `model_type`.
    ///
    /// # Errors
    /// If the key is missing or no text.
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

    /// Refuses keys that nobody asked for, unless they are null, false, empty, or without effect.
    pub(crate) fn finish(&self, family: &str) -> Result<(), SpecError> {
        let used = self.used.borrow();
        let idle = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(a) => a.is_empty(),
            Value::Object(o) => o.is_empty(),
            _ => false,
        };
        let unknown = self.values.iter().find(|(key, value)| {
            !used.contains(*key) && !idle(value) && !WITHOUT_EFFECT.contains(&key.as_str())
        });
        match unknown {
            None => Ok(()),
            Some((key, value)) => Err(SpecError::Unsupported {
                path: self.path.clone(),
                key: format!("{}{key}", self.prefix),
                found: value.to_string(),
                family: family.into(),
            }),
        }
    }
}
