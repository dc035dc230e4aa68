//! Which files of a folder hold a model: its config and its weights; and what lies there instead where they are missing.
//!
//! A folder is seen through [`Listing`], so that the choice is the same for local folders and for repositories on a hub. Not
//! here: what is in the files.

use crate::ModelError;
use crate::config::HfConfig;
use crate::family::{self, Described};
use circuit_index::Notice;
use circuit_torch::json_file_fault;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The file that describes a model.
pub const CONFIG: &str = "config.json";
/// The file of all weights.
pub const WEIGHTS: &str = "model.safetensors";
/// The file that names the files of the weights where there are several.
pub const INDEX: &str = "model.safetensors.index.json";
/// The config of an adapter, which holds changes to a model.
const ADAPTER: &str = "adapter_config.json";

/// What a folder holds, which may be on this machine or elsewhere.
pub trait Listing {
    /// Why a file could not be read.
    type Error: From<ModelError>;

    /// What the folder is called in messages.
    fn place(&self) -> PathBuf;

    /// Whether there is a file of this name.
    fn has(&self, name: &str) -> bool;

    /// Names of files in the folder and below it, with `/` between their parts; for messages, so that it need not be all.
    fn names(&self) -> Vec<String>;

    /// Whether every file there is would be listed. A cache may hold some of a repository's files only.
    fn is_whole(&self) -> bool {
        true
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, name: &str) -> Result<Vec<u8>, Self::Error>;
}

/// A folder on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a>(pub &'a Path);

impl Listing for Folder<'_> {
    type Error = ModelError;

    fn place(&self) -> PathBuf {
        self.0.into()
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).is_file()
    }

    fn names(&self) -> Vec<String> {
        // A cache of the hub holds a model three levels down.
        const DEPTH: usize = 3;
        const MANY: usize = 1000;
        let mut names = Vec::new();
        let mut level = vec![String::new()];
        for _ in 0..DEPTH {
            let mut below = Vec::new();
            for prefix in level {
                let entries = std::fs::read_dir(self.0.join(&prefix)).into_iter().flatten().flatten();
                for entry in entries.take(MANY) {
                    let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                    match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        true => below.push(format!("{name}/")),
                        false => names.push(name),
                    }
                }
            }
            if names.len() > MANY {
                break;
            }
            below.sort();
            level = below;
        }
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let path = self.0.join(name);
        std::fs::read(&path)
            .map_err(|source| ModelError::Torch(circuit_torch::TorchError::Io { path, source }))
    }
}

/// The description in a folder on this machine. Nothing but the config is read.
pub(crate) fn described(folder: &Path) -> Result<Described, ModelError> {
    if !folder.is_dir() {
        return Err(ModelError::NoFolder { path: folder.into(), is_file: folder.exists() });
    }
    let listing = Folder(folder);
    if !listing.has(CONFIG) {
        return Err(no_config(&listing));
    }
    Ok(family::describe(&HfConfig::open(folder)?)?)
}

/// An error about a folder without a `config.json`, which says what lies there.
pub fn no_config<L: Listing>(listing: &L) -> L::Error {
    missing(listing, &[CONFIG])
}

/// The files that hold a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// The files of tensors.
    pub weights: Vec<String>,
    /// Whether the index was needed to know them.
    pub by_index: bool,
    /// What was noticed.
    pub notices: Vec<Notice>,
}

impl ModelFiles {
    /// Chooses as the Python library `transformers` does: `model.safetensors` where there is one, whatever an index beside it
    /// says; otherwise the files that the index names.
    ///
    /// # Errors
    /// If there is neither, or if a file that is needed cannot be read or is not there.
    pub fn find<L: Listing>(listing: &L) -> Result<Self, L::Error> {
        let index = listing.has(INDEX);
        if listing.has(WEIGHTS) {
            let notices = if index { stale(listing).into_iter().collect() } else { Vec::new() };
            return Ok(Self { weights: vec![WEIGHTS.into()], by_index: false, notices });
        }
        if !index && listing.is_whole() {
            return Err(missing(listing, &[WEIGHTS, INDEX]));
        }
        if !index {
            return Ok(Self { weights: vec![WEIGHTS.into()], by_index: false, notices: Vec::new() });
        }
        let path = listing.place().join(INDEX);
        let bytes = listing.read(INDEX)?;
        let files =
            files_of_index(&bytes).map_err(|reason| ModelError::Index { path: path.clone(), reason })?;
        let absent: Vec<_> = files.iter().filter(|file| !listing.has(file)).map(String::as_str).collect();
        if !absent.is_empty() && listing.is_whole() {
            let there: Vec<_> =
                listing.names().into_iter().filter(|name| !name.contains('/') && is_weights(name)).collect();
            let there = if there.is_empty() { "none of its files".into() } else { sample(&there) };
            let reason = format!(
                "it names {}, but {} not there; the folder has {there}",
                sample(&absent),
                if absent.len() == 1 { "that is" } else { "these are" }
            );
            return Err(ModelError::Index { path, reason }.into());
        }
        Ok(Self { weights: files.into_iter().collect(), by_index: true, notices: Vec::new() })
    }
}

/// A note about an index beside a whole file, if it names other files. An index that cannot be read says nothing.
fn stale<L: Listing>(listing: &L) -> Option<Notice> {
    let files = files_of_index(&listing.read(INDEX).ok()?).ok()?;
    let others: Vec<_> = files.into_iter().filter(|file| file != WEIGHTS).collect();
    (!others.is_empty()).then(|| {
        let index = listing.place().join(INDEX);
        Notice::note(format!(
            "{}: it names {}, but {WEIGHTS} lies beside it and is read instead, as transformers does",
            index.display(),
            sample(&others)
        ))
    })
}

/// The files that an index names.
fn files_of_index(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| json_file_fault(bytes, &e))?;
    let map = value.get("weight_map").ok_or("key `weight_map` is missing")?;
    let map = map.as_object().ok_or_else(|| format!("key `weight_map` is {map}, expected an object"))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let name =
            file.as_str().ok_or_else(|| format!("`{tensor}` in `weight_map` is {file}, expected a file"))?;
        // An index may only name files beside it.
        if Path::new(name).components().count() != 1 || name == ".." {
            return Err(format!("`{tensor}` in `weight_map` is in `{name}`, outside the folder"));
        }
        files.insert(name.to_owned());
    }
    if files.is_empty() {
        return Err("`weight_map` is empty: it names no file".into());
    }
    Ok(files)
}

fn is_weights(name: &str) -> bool {
    const ENDS: &[&str] =
        &[".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".npz"];
    ENDS.iter().any(|end| name.ends_with(end)) || is_unfinished(name)
}

/// Whether a name is one that programs give to files while they are downloaded.
fn is_unfinished(name: &str) -> bool {
    [".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Some names for a message.
fn sample(names: &[impl AsRef<str>]) -> String {
    const MOST: usize = 4;
    let mut text = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        let _ = write!(text, ", … ({} in all)", names.len());
    }
    text
}

/// An error about files that are missing, which says what lies there and what to do with it.
fn missing<L: Listing>(listing: &L, files: &'static [&'static str]) -> L::Error {
    let names = listing.names();
    let adapter = listing.has(ADAPTER).then(|| listing.read(ADAPTER).ok()).flatten();
    let there = There::recognised(&names, adapter.as_deref());
    ModelError::NoModel { path: listing.place(), files, there: there.what, advice: there.advice }.into()
}

/// What lies in a folder in which files of a model are missing.
#[derive(Debug, PartialEq, Eq)]
struct There {
    /// The end of a sentence: what there is.
    what: String,
    /// What to do.
    advice: Option<String>,
}

impl There {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: Some(advice.into()) }
    }

    /// Recognises a folder by the names of its files, and an adapter by its config.
    fn recognised(names: &[String], adapter: Option<&[u8]>) -> Self {
        let here: Vec<_> = names.iter().map(String::as_str).filter(|name| !name.contains('/')).collect();
        let ending = |ends: &[&str]| -> Vec<&str> {
            here.iter().copied().filter(|name| ends.iter().any(|end| name.ends_with(end))).collect()
        };
        if let Some(config) = adapter {
            return Self::adapter(config);
        }
        // A model that is whole but for its place is worth more than what else may be there.
        let below = models_below(names);
        if !below.is_empty() && !here.contains(&CONFIG) {
            return Self::new(
                format!("folders below it hold models: {}", sample(&below)),
                format!("give one of these folders, such as `{}`", below[0]),
            );
        }
        let unfinished: Vec<_> = here.iter().copied().filter(|name| is_unfinished(name)).collect();
        if !unfinished.is_empty() {
            return Self::new(
                format!("it has {}: a download that did not finish", sample(&unfinished)),
                "start the download again; it goes on where it stopped",
            );
        }
        let safetensors = ending(&[".safetensors"]);
        if safetensors.iter().any(|name| name.starts_with("model-") && name.contains("-of-")) {
            return Self::new(
                format!("it has {}, but not the index that names them all", sample(&safetensors)),
                format!("download {INDEX} too"),
            );
        }
        for (ends, what, advice) in FORMS {
            let found = ending(ends);
            if !found.is_empty() {
                return Self::new(format!("it has {}: {what}", sample(&found)), *advice);
            }
        }
        if !safetensors.is_empty() {
            let has = format!("it has {}", sample(&safetensors));
            return match safetensors.iter().any(|name| name.starts_with("consolidated")) {
                true => Self::new(
                    format!("{has}: weights under the names of their publisher's own code"),
                    format!("download {WEIGHTS} (or {INDEX} and its files) of the same repository"),
                ),
                false => Self::new(has, format!("if that is the whole model, name it {WEIGHTS}")),
            };
        }
        let what = match here.as_slice() {
            [] if names.is_empty() => "it is empty".into(),
            [] => "it has no files, only folders".into(),
            _ => format!("it has {}", sample(&here)),
        };
        Self { what, advice: None }
    }

    fn adapter(config: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(config).unwrap_or_default();
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let base =
            text("base_model_name_or_path").unwrap_or_else(|| "a base model that it does not name".into());
        let kind = text("peft_type").unwrap_or_else(|| "PEFT".into());
        Self::new(
            format!("it has {ADAPTER}: an adapter ({kind}), which holds changes to {base}"),
            "merge it into its base model in Python: `AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()\
             .save_pretrained(NEW_FOLDER)`",
        )
    }
}

/// Folders that hold a `config.json` of a model.
fn models_below(names: &[String]) -> Vec<&str> {
    let folders = names.iter().filter_map(|name| name.strip_suffix("/config.json"));
    let is_model = |folder: &&str| {
        names.iter().any(|name| {
            name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') && is_weights(rest))
        })
    };
    folders.filter(is_model).collect()
}

/// How to turn pickles into safetensors.
const CONVERT: &str = "convert it in Python: `AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)` writes \
                       safetensors; copy the tokenizer's files beside it";

/// Ends of names, what such files are, and what to do with them.
const FORMS: &[(&[&str], &str, &str)] = &[
    (
        &[".gguf"],
        "GGUF, which is quantized or at least laid out otherwise",
        "use the safetensors repository that it was made of",
    ),
    (
        &["pytorch_model.bin", ".bin", ".bin.index.json"],
        "weights as pickles of PyTorch, which could run code",
        CONVERT,
    ),
    (
        &[".pth", ".pt", ".ckpt"],
        "weights as pickles of PyTorch, under the names of their publisher's own code",
        "use the repository's version for transformers, or the conversion script that transformers has for this family",
    ),
    (&[".onnx", ".onnx_data"], "an ONNX graph", "use the safetensors checkpoint that it was exported from"),
    (
        &[".h5", ".msgpack", ".tflite"],
        "weights for TensorFlow or Flax",
        "load it in Python with `from_tf=True` or `from_flax=True` and save it again",
    ),
    (&[".npz"], "arrays of NumPy or MLX", "use the safetensors checkpoint that they were made of"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name.
    struct Files<'a>(&'a [(&'a str, &'a str)]);

    impl Listing for Files<'_> {
        type Error = ModelError;

        fn place(&self) -> PathBuf {
            "place".into()
        }

        fn has(&self, name: &str) -> bool {
            self.0.iter().any(|(file, _)| *file == name)
        }

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|(file, _)| (*file).to_owned()).collect()
        }

        fn read(&self, name: &str) -> Result<Vec<u8>, ModelError> {
            Ok(self.0.iter().find(|(file, _)| *file == name).expect("it is there").1.into())
        }
    }

    const SHARDS: &str = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;

    #[track_caller]
    fn refused(files: &[(&str, &str)], parts: &[&str]) {
        let error = ModelFiles::find(&Files(files)).unwrap_err();
        let message = format!("{error}; {}", error.advice().unwrap_or_default());
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn a_whole_file_rules_over_an_index() {
        let find = |files: &[(&str, &str)]| ModelFiles::find(&Files(files)).unwrap();
        let whole = find(&[(WEIGHTS, "")]);
        assert_eq!((whole.weights, whole.by_index, whole.notices), (vec![WEIGHTS.to_owned()], false, vec![]));
        let stale = find(&[(WEIGHTS, ""), (INDEX, SHARDS)]);
        assert_eq!(stale.weights, [WEIGHTS]);
        let said = stale.notices[0].to_string();
        assert!(
            said.starts_with("note: place/model.safetensors.index.json")
                && said.contains("model-1.safetensors")
        );
        // An index of the whole file says the same; a damaged one says nothing.
        for index in [r#"{"weight_map": {"a": "model.safetensors"}}"#, "<html>"] {
            assert!(find(&[(WEIGHTS, ""), (INDEX, index)]).notices.is_empty());
        }
        let shards = find(&[(INDEX, SHARDS), ("model-1.safetensors", ""), ("model-2.safetensors", "")]);
        assert_eq!((shards.weights.len(), shards.by_index, shards.notices.len()), (2, true, 0));
    }

    #[test]
    fn an_index_is_refused_with_what_is_wrong_in_it() {
        refused(
            &[(INDEX, SHARDS), ("model-2.safetensors", ""), ("model-1.safetensors.incomplete", "")],
            &[
                INDEX,
                "it names model-1.safetensors, but that is not there",
                "model-2.safetensors",
                "incomplete",
            ],
        );
        refused(&[(INDEX, "<!doctype html>")], &[INDEX, "web page"]);
        refused(&[(INDEX, "{}")], &[INDEX, "`weight_map` is missing"]);
        refused(&[(INDEX, r#"{"weight_map": [1]}"#)], &["`weight_map` is [1], expected an object"]);
        refused(&[(INDEX, r#"{"weight_map": {"a": 1}}"#)], &["`a` in `weight_map` is 1, expected a file"]);
        refused(&[(INDEX, r#"{"weight_map": {"a": "../x"}}"#)], &["`a`", "`../x`, outside the folder"]);
        refused(&[(INDEX, r#"{"weight_map": {}}"#)], &["names no file"]);
    }

    #[test]
    fn what_lies_there_is_named_with_what_to_do() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &["place: no model.safetensors or model.safetensors.index.json", "it is empty"]),
            (&["pytorch_model.bin", CONFIG], &["pytorch_model.bin", "pickles", "save_pretrained"]),
            (
                &["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
                &["pickles", "save_pretrained"],
            ),
            (&["consolidated.00.pth", "params.json"], &["consolidated.00.pth", "conversion script"]),
            (&["model-Q4_K_M.gguf"], &["model-Q4_K_M.gguf", "GGUF", "safetensors repository"]),
            (&["model.onnx"], &["ONNX"]),
            (&["tf_model.h5"], &["TensorFlow", "from_tf"]),
            (&["weights.npz"], &["MLX"]),
            (&["consolidated.safetensors", CONFIG], &["publisher's own code", "download model.safetensors"]),
            (
                &["model-00001-of-00002.safetensors"],
                &["not the index", "download model.safetensors.index.json"],
            ),
            (&["pytorch_model.safetensors"], &["name it model.safetensors"]),
            (&["model.safetensors.incomplete", "x.bin"], &["did not finish", "start the download again"]),
            (
                &["a/config.json", "a/model.safetensors", "b/config.json", "b/x.bin"],
                &["models: a, b", "such as `a`"],
            ),
            (
                &["snapshots/0f1e/config.json", "snapshots/0f1e/model.safetensors", "refs/main"],
                &["such as `snapshots/0f1e`"],
            ),
            (&["a/config.json", "README.md"], &["it has README.md"]),
        ];
        for (names, parts) in cases {
            let files: Vec<_> = names.iter().map(|name| (*name, "")).collect();
            refused(&files, parts);
        }
        let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "acme/base"}"#;
        refused(
            &[(ADAPTER, config), ("adapter_model.safetensors", "")],
            &["an adapter (LORA)", "changes to acme/base", "merge_and_unload"],
        );
        let error = no_config(&Files(&[("x.gguf", "")]));
        assert!(error.to_string().starts_with("place: no config.json; it has x.gguf"), "{error}");
    }
}
