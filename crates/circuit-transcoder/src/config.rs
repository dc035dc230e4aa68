//! The config of a transcoder set: what kind it is, and which sites it reads and writes.
//!
//! That is `config.yaml`, or for a run of sparsify the `cfg.json` of each layer.

use crate::TranscoderError;
use circuit_index::LayerSite;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The keys a set may have; anything else is refused by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    model_name: Option<String>,
    model_kind: String,
    feature_input_hook: String,
    feature_output_hook: String,
    scan: Option<String>,
    activation: Option<String>,
    k: Option<usize>,
    transcoders: Option<Vec<String>>,
    // Hints to other loaders: which layout it is, the tensors say themselves.
    #[serde(rename = "special_load_fn")]
    _loader: Option<IgnoredAny>,
    #[serde(rename = "cross_batch_decoder_cache_bytes")]
    _cache: Option<IgnoredAny>,
}

/// How far a feature's writes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// To its own layer.
    PerLayer,
    /// To its own layer and all above.
    CrossLayer,
}

/// Which pre-activations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Those above their threshold, where the files hold thresholds; else those above 0.
    Threshold,
    /// Those above their threshold, which the files must hold.
    JumpRelu,
    /// The k largest, whatever their sign.
    TopK(usize),
    /// Of the k largest those above 0.
    ReluTopK(usize),
}

/// `k` of sets that do not state it: that of the one published set of this kind.
const USUAL_K: usize = 128;

/// What a config says.
pub(crate) struct Config {
    /// The file, for messages.
    pub(crate) path: PathBuf,
    pub(crate) family: ConfigFamily,
    pub(crate) kind: SetKind,
    pub(crate) model_name: Option<String>,
    pub(crate) scan: Option<String>,
    pub(crate) reads: LayerSite,
    pub(crate) writes: LayerSite,
    /// The files of the layers, relative to the folder, where the set lists them.
    pub(crate) files: Option<Vec<PathBuf>>,
    pub(crate) selection: Selection,
}

/// Whose config it is: each has layouts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigFamily {
    /// `config.yaml`.
    CircuitTracer,
    /// `layers.N.mlp/cfg.json`.
    Sparsify,
}

const READABLE: &[LayerSite] = &[LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
const WRITABLE: &[LayerSite] = &[LayerSite::MlpRawOut, LayerSite::MlpOut];

impl Config {
    pub(crate) fn open(folder: &Path) -> Result<Self, TranscoderError> {
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.into() });
        }
        match () {
            () if folder.join(CONFIG).exists() => Self::circuit_tracer(folder),
            () if folder.join(sparsify_config(0)).exists() => Self::sparsify(folder),
            () => Err(TranscoderError::NoConfig { path: folder.into(), below: sets_below(folder) }),
        }
    }

    /// The `config.yaml` of the same set without a list of files; what the files say themselves is left to them.
    pub(crate) fn mapped(&self) -> String {
        let kind = match self.kind {
            SetKind::PerLayer => "transcoder_set",
            SetKind::CrossLayer => "cross_layer_transcoder",
        };
        // A JSON text is a YAML text, whatever is in it.
        let text = |name: &str| serde_json::Value::from(name).to_string();
        let line = |key: &str, value: Option<String>| {
            value.map_or_else(String::new, |value| format!("{key}: {value}\n"))
        };
        let (activation, k) = match self.selection {
            Selection::Threshold | Selection::JumpRelu => (None, None),
            Selection::TopK(k) => (Some("topk"), Some(k)),
            Selection::ReluTopK(k) => (Some("relu_topk"), Some(k)),
        };
        [
            line("model_name", self.model_name.as_deref().map(text)),
            line("model_kind", Some(kind.into())),
            line("feature_input_hook", Some(self.reads.name().into())),
            line("feature_output_hook", Some(self.writes.name().into())),
            line("scan", self.scan.as_deref().map(text)),
            line("activation", activation.map(str::to_owned)),
            line("k", k.map(|k| k.to_string())),
        ]
        .concat()
    }

    /// Whether a folder has a config of a transcoder set.
    pub(crate) fn exists(folder: &Path) -> bool {
        folder.join(CONFIG).exists() || folder.join(sparsify_config(0)).exists()
    }

    fn circuit_tracer(folder: &Path) -> Result<Self, TranscoderError> {
        let path = folder.join(CONFIG);
        let bad = |reason: String| TranscoderError::Config { path: path.clone(), reason };
        let text = read(&path).map_err(&bad)?;
        let raw: Raw = serde_saphyr::from_str(&text).map_err(|e| bad(first_line(&e.to_string())))?;
        let kind = match raw.model_kind.as_str() {
            "transcoder_set" => SetKind::PerLayer,
            "cross_layer_transcoder" => SetKind::CrossLayer,
            other => {
                let known = "expected transcoder_set or cross_layer_transcoder";
                return Err(bad(format!("model_kind `{other}` is not known, {known}")));
            }
        };
        let site = |key: &str, name: &str, allowed: &[LayerSite]| {
            let names = || allowed.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ");
            let site = name.parse().ok().filter(|s| allowed.contains(s));
            site.ok_or_else(|| bad(format!("{key}: unknown hook `{name}`, expected one of {}", names())))
        };
        let selection = match (raw.activation.as_deref(), raw.k) {
            (Some("topk" | "relu_topk"), Some(0)) => {
                return Err(bad("activation topk needs a positive `k`".into()));
            }
            (Some("topk"), k) => Selection::TopK(k.unwrap_or(USUAL_K)),
            (Some("relu_topk"), Some(k)) => Selection::ReluTopK(k),
            (Some("relu_topk"), None) => return Err(bad("activation relu_topk needs `k`".into())),
            (None | Some("relu"), None) => Selection::Threshold,
            (Some("jump_relu" | "jumprelu"), None) => Selection::JumpRelu,
            (None | Some("relu" | "jump_relu" | "jumprelu"), Some(_)) => {
                return Err(bad("`k` is given, but activation is not topk".into()));
            }
            (Some(other), _) => {
                let known = "expected relu, jump_relu, topk or relu_topk";
                return Err(bad(format!("activation `{other}` is not known, {known}")));
            }
        };
        let files = raw.transcoders.map(|list| list.iter().map(|file| beside(file).map_err(&bad)).collect());
        Ok(Self {
            family: ConfigFamily::CircuitTracer,
            kind,
            files: files.transpose()?,
            reads: site("feature_input_hook", &raw.feature_input_hook, READABLE)?,
            writes: site("feature_output_hook", &raw.feature_output_hook, WRITABLE)?,
            model_name: raw.model_name,
            scan: raw.scan,
            selection,
            path,
        })
    }

    /// A run of sparsify: transcoders of whole MLPs, from what each reads to what it puts out.
    fn sparsify(folder: &Path) -> Result<Self, TranscoderError> {
        let mut selection = None;
        for layer in 0.. {
            let path = folder.join(sparsify_config(layer));
            if !path.exists() {
                break;
            }
            let bad = |reason: String| TranscoderError::Config { path: path.clone(), reason };
            let text = read(&path).map_err(&bad)?;
            // JSON is YAML.
            let raw: RawSparsify =
                serde_saphyr::from_str(&text).map_err(|e| bad(first_line(&e.to_string())))?;
            let here = raw.selection().map_err(bad)?;
            if *selection.get_or_insert(here) != here {
                return Err(bad(format!("k = {}, unlike in the layers below", raw.k)));
            }
        }
        Ok(Self {
            path: folder.join(sparsify_config(0)),
            family: ConfigFamily::Sparsify,
            kind: SetKind::PerLayer,
            model_name: None,
            scan: None,
            reads: LayerSite::MlpIn,
            writes: LayerSite::MlpRawOut,
            files: None,
            selection: selection.unwrap_or(Selection::Threshold),
        })
    }
}

pub(crate) const CONFIG: &str = "config.yaml";

fn sparsify_config(layer: usize) -> String {
    format!("layers.{layer}.mlp/cfg.json")
}

/// The keys of sparsify's `cfg.json`; anything else is refused by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSparsify {
    k: usize,
    activation: Option<String>,
    /// Older configs do not say.
    transcode: Option<bool>,
    embed_skip: Option<bool>,
    gram_lookup: Option<bool>,
    // What the tensors say themselves, and what training was like.
    #[serde(rename = "d_in")]
    _d_in: Option<IgnoredAny>,
    #[serde(rename = "num_latents")]
    _num_latents: Option<IgnoredAny>,
    #[serde(rename = "expansion_factor")]
    _expansion_factor: Option<IgnoredAny>,
    #[serde(rename = "skip_connection")]
    _skip_connection: Option<IgnoredAny>,
    #[serde(rename = "normalize_decoder")]
    _normalize_decoder: Option<IgnoredAny>,
    #[serde(rename = "multi_topk")]
    _multi_topk: Option<IgnoredAny>,
    #[serde(rename = "lookup_max_order")]
    _lookup_max_order: Option<IgnoredAny>,
    #[serde(rename = "gram_table_hash")]
    _gram_table_hash: Option<IgnoredAny>,
}

impl RawSparsify {
    fn selection(&self) -> Result<Selection, String> {
        match self.activation.as_deref() {
            None | Some("topk") if self.k == 0 => Err("`k` is 0, expected a positive number".into()),
            _ if self.transcode == Some(false) => {
                Err("`transcode` is false: an autoencoder, no transcoder".into())
            }
            _ if self.embed_skip == Some(true) => Err("`embed_skip` is not supported".into()),
            _ if self.gram_lookup == Some(true) => Err("`gram_lookup` is not supported".into()),
            None | Some("topk") => Ok(Selection::ReluTopK(self.k)),
            Some(other) => Err(format!("activation `{other}` is not known, expected topk")),
        }
    }
}

/// Sub-folders that hold a set, for a folder that holds none: some repositories have several.
fn sets_below(folder: &Path) -> Vec<PathBuf> {
    const DEPTH: usize = 3;
    const MANY: usize = 8;
    let mut found = Vec::new();
    let mut level = vec![PathBuf::new()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for below in level {
            let entries = std::fs::read_dir(folder.join(&below)).into_iter().flatten().flatten();
            let folders = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
            next.extend(folders.map(|e| below.join(e.file_name())));
        }
        next.sort();
        found.extend(next.iter().filter(|below| Config::exists(&folder.join(below))).cloned());
        if found.len() >= MANY {
            break;
        }
        level = next;
    }
    found.truncate(MANY);
    found
}

/// The text of a config: a page at most, whatever else may lie there.
fn read(path: &Path) -> Result<String, String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let n = file.take(LIMIT + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if n as u64 > LIMIT {
        Err(format!("it has more than {LIMIT} bytes, which no config has"))
    } else {
        Ok(text)
    }
}

/// A file that a config names, which must lie in the same folder or below.
fn beside(file: &str) -> Result<PathBuf, String> {
    if file.starts_with("hf://") {
        return Err(format!(
            "transcoders: `{file}` is an address on the hub, expected a file below this folder"
        ));
    }
    let path = PathBuf::from(file);
    match path.components().all(|part| matches!(part, Component::Normal(_))) && !file.is_empty() {
        true => Ok(path),
        false => Err(format!("transcoders: `{file}` lies outside this folder")),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
