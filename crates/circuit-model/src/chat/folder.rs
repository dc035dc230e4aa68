//! Where a model folder keeps its chat templates, and which of several is taken.
//!
//! The order is that of transformers: files of their own come before the key of the tokenizer's config. What a template says
//! is not looked at here.

use super::{ChatError, ChatValue};
use crate::tokenizer::{SpecialRole, SpecialToken};
use serde_json::{Map, Value};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The template called `default`.
const FILE: &str = "chat_template.jinja";
/// Further templates, each in a file `NAME.jinja`.
const FURTHER: &str = "additional_chat_templates";
const EXTENSION: &str = "jinja";
/// A file of older folders whose model also sees.
const PROCESSOR: &str = "chat_template.json";
const CONFIG: &str = "tokenizer_config.json";
const KEY: &str = "chat_template";
const DEFAULT: &str = "default";
const WITH_TOOLS: &str = "tool_use";

/// The places where a template can stand, for a message.
pub(super) fn places() -> String {
    format!("neither {FILE}, nor {FURTHER}, nor `{KEY}` in {CONFIG} or {PROCESSOR}")
}

/// The templates of a folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Templates {
    /// The only one, which needs no name.
    One { path: PathBuf, source: String },
    /// Several by their names, or one that has a name. `path` is where the list of names stands.
    Named { path: PathBuf, templates: Vec<Named> },
}

/// A template with a name, and the file it stands in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    name: String,
    path: PathBuf,
    source: String,
}

impl Templates {
    /// Finds the templates of a folder.
    pub(super) fn open(dir: &Path) -> Result<Self, ChatError> {
        let own = read(&dir.join(FILE))?;
        let further = further(&dir.join(FURTHER))?;
        match own {
            Some(source) if further.is_empty() => return Ok(Self::One { path: dir.join(FILE), source }),
            None if further.is_empty() => {}
            own => {
                let default = own.map(|source| Named { name: DEFAULT.into(), path: dir.join(FILE), source });
                let templates = default.into_iter().chain(further).collect();
                return Ok(Self::Named { path: dir.into(), templates });
            }
        }
        for name in [CONFIG, PROCESSOR] {
            let path = dir.join(name);
            if let Some(text) = read(&path)? {
                let bad = |reason| ChatError::Damaged { path: path.clone(), reason };
                if let Some(found) = of_config(&path, &text).map_err(bad)? {
                    return Ok(found);
                }
            }
        }
        Err(ChatError::NoTemplate { dir: dir.into() })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::One { path, .. } | Self::Named { path, .. } => path,
        }
    }

    /// The template of a name, or without one: of several, `tool_use` for a chat with tools, and otherwise `default`.
    pub(super) fn choose(&self, wanted: Option<&str>, tools: bool) -> Result<(&Path, &str), ChatError> {
        let missing = |wanted: &str, names: Vec<String>| ChatError::NoSuchTemplate {
            path: self.path().into(),
            wanted: wanted.into(),
            names,
        };
        match self {
            Self::One { path, source } => match wanted {
                None | Some(DEFAULT) => Ok((path, source)),
                Some(wanted) => Err(missing(wanted, vec![DEFAULT.into()])),
            },
            Self::Named { templates, .. } => {
                let find = |name: &str| templates.iter().find(|template| template.name == name);
                let found = match wanted {
                    Some(wanted) => find(wanted),
                    None => find(WITH_TOOLS).filter(|_| tools).or_else(|| find(DEFAULT)),
                };
                let names = || templates.iter().map(|template| template.name.clone()).collect();
                let found = found.ok_or_else(|| missing(wanted.unwrap_or(DEFAULT), names()))?;
                Ok((&found.path, &found.source))
            }
        }
    }
}

/// The templates in a folder, sorted by name.
fn further(dir: &Path) -> Result<Vec<Named>, ChatError> {
    let cannot = |source| ChatError::Read { path: dir.into(), source };
    let files = match fs::read_dir(dir) {
        Ok(files) => files,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(cannot(source)),
    };
    let mut found = Vec::new();
    for file in files {
        let path = file.map_err(cannot)?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|end| end == EXTENSION))
            && let Some(source) = read(&path)?
        {
            found.push(Named { name, path, source });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The text of a file, if it is there.
fn read(path: &Path) -> Result<Option<String>, ChatError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ChatError::Read { path: path.into(), source }),
    };
    String::from_utf8(bytes).map(Some).map_err(|e| {
        let (valid, line) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let lines = valid.iter().filter(|&&b| b == b'\n').count() + 1;
        let byte = line.first().copied().unwrap_or_default();
        ChatError::Damaged {
            path: path.into(),
            reason: format!("byte {byte:#04x} in line {lines} is not UTF-8"),
        }
    })
}

/// The templates of a config: one text, or a list of names and texts.
fn of_config(path: &Path, text: &str) -> Result<Option<Templates>, String> {
    let config: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
    match config.get(KEY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(Templates::One { path: path.into(), source: source.clone() })),
        Some(Value::Array(several)) => {
            let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let named = |entry| {
                Some(Named {
                    name: text(entry, "name")?,
                    path: path.into(),
                    source: text(entry, "template")?,
                })
            };
            let templates: Option<_> = several.iter().map(named).collect();
            let templates =
                templates.ok_or_else(|| format!("`{KEY}` holds something without `name` and `template`"))?;
            Ok(Some(Templates::Named { path: path.into(), templates }))
        }
        Some(_) => Err(format!("`{KEY}` is neither a text nor a list")),
    }
}

/// Special tokens by the names that templates know.
pub(super) fn names(special: &[SpecialToken]) -> Vec<(String, ChatValue)> {
    let of = |role| {
        let tokens = special.iter().filter(move |token| token.role == role);
        tokens.map(|token| ChatValue::Text(token.text.clone()))
    };
    let single = SpecialRole::SINGLE_KEYS.iter();
    let single = single.filter_map(|&(key, role)| Some((key.to_owned(), of(role).next()?)));
    let many: Vec<ChatValue> = of(SpecialRole::Additional).collect();
    let many = Some(("additional_special_tokens".to_owned(), ChatValue::List(many.clone())))
        .filter(|_| !many.is_empty());
    single.chain(many).collect()
}
