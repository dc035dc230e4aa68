//! The config of a transcoder set: what kind it is, and which sites it reads and writes.
//!
//! That is `config.yaml`, for a run of sparsify the `cfg.json` of each layer, and for a set whose features are chosen jointly
//! `config.json`.

use crate::layout::numbered;
use crate::{SetFolder, TranscoderError};
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
    /// Those above 0 that are, weighed by norms, the k largest for each layer of all layers together.
    JointTopK(usize),
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
    /// `config.json` beside encoders, decoders and their norms.
    Joint,
}

/// A model's name, a scan, and a list of files.
pub(crate) type Outline = (Option<String>, Option<String>, Option<Vec<String>>);

const READABLE: &[LayerSite] = &[LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
const WRITABLE: &[LayerSite] = &[LayerSite::MlpRawOut, LayerSite::MlpOut];

impl Config {
    pub(crate) fn open(set: &SetFolder) -> Result<Self, TranscoderError> {
        let folder = &set.path;
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.clone() });
        }
        match () {
            () if folder.join(CONFIG).exists() => Self::circuit_tracer(set),
            () if folder.join(sparsify_config(0)).exists() => Self::sparsify(folder),
            () if is_joint(folder) => Self::joint(folder),
            () => Err(TranscoderError::NoConfig { path: folder.clone(), below: sets_below(folder) }),
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
            // Not rewritten: a `config.yaml` has no words for it.
            Selection::JointTopK(_) => (None, None),
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
        folder.join(CONFIG).exists() || folder.join(sparsify_config(0)).exists() || is_joint(folder)
    }

    /// The model that a config names and the files that it lists, before those have to be there.
    pub(crate) fn outline(folder: &Path) -> Result<Outline, TranscoderError> {
        let path = folder.join(CONFIG);
        if path.exists() {
            let raw = Raw::read(&path)?;
            return Ok((raw.model_name, raw.scan, raw.transcoders));
        }
        Self::open(&folder.into()).map(|config| (config.model_name, config.scan, None))
    }

    /// The same of the text of a `config.yaml`.
    pub(crate) fn outline_of(path: &Path, text: &str) -> Result<Outline, TranscoderError> {
        let raw = Raw::parse(path, text)?;
        Ok((raw.model_name, raw.scan, raw.transcoders))
    }

    fn circuit_tracer(set: &SetFolder) -> Result<Self, TranscoderError> {
        let path = set.path.join(CONFIG);
        let bad = |reason: String| TranscoderError::Config { path: path.clone(), reason };
        let raw = Raw::read(&path)?;
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
        let file = |file: &String| match set.elsewhere.get(file) {
            Some(local) => Ok(local.clone()),
            None => beside(file).map_err(&bad),
        };
        let files = raw.transcoders.map(|list| list.iter().map(file).collect());
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

impl Config {
    /// A set whose features are chosen over all layers, by activations that are weighed by the norms of what features write.
    fn joint(folder: &Path) -> Result<Self, TranscoderError> {
        let path = folder.join(JOINT_CONFIG);
        let bad = |reason: String| TranscoderError::Config { path: path.clone(), reason };
        // JSON is YAML.
        let raw: RawJoint = serde_saphyr::from_str(&read(&path).map_err(bad)?)
            .map_err(|e| bad(first_line(&e.to_string())))?;
        if raw.k == 0 {
            return Err(bad("`k` is 0, expected a positive number".into()));
        }
        Ok(Self {
            family: ConfigFamily::Joint,
            kind: SetKind::CrossLayer,
            model_name: None,
            scan: None,
            reads: LayerSite::ResidMid,
            writes: LayerSite::MlpRawOut,
            files: None,
            selection: Selection::JointTopK(raw.k),
            path,
        })
    }
}

/// The keys of such a config that count; how many features there are and how wide they are, the tensors say themselves.
#[derive(Deserialize)]
struct RawJoint {
    k: usize,
    #[serde(rename = "d_feature")]
    _d_feature: usize,
}

impl Raw {
    fn read(path: &Path) -> Result<Self, TranscoderError> {
        let bad = |reason: String| TranscoderError::Config { path: path.into(), reason };
        Self::parse(path, &read(path).map_err(bad)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, TranscoderError> {
        let bad = |reason: String| TranscoderError::Config { path: path.into(), reason };
        serde_saphyr::from_str(text).map_err(|e| bad(first_line(&e.to_string())))
    }
}

pub(crate) const CONFIG: &str = "config.yaml";

/// The config of a layer in a run of sparsify.
pub(crate) const SPARSIFY_CONFIG: &str = "layers.{}.mlp/cfg.json";

/// The config of a set whose features are chosen jointly. Models have a file of that name too; on a hub norms beside it tell.
pub(crate) const JOINT_CONFIG: &str = "config.json";
pub(crate) const JOINT_NORMS: &str = "W_dec_norm.safetensors";

/// Whether a folder's `config.json` is that of such a set: no model's says how many features there are.
fn is_joint(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Marked {
        #[serde(rename = "d_feature")]
        _d_feature: IgnoredAny,
    }
    let text = read(&folder.join(JOINT_CONFIG));
    text.is_ok_and(|text| serde_saphyr::from_str::<Marked>(&text).is_ok())
}

fn sparsify_config(layer: usize) -> String {
    numbered(SPARSIFY_CONFIG, layer)
}

/// Whether an entry of `transcoders` is an address on a hub.
pub(crate) fn is_address(file: &str) -> bool {
    file.starts_with("hf://")
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
    if is_address(file) {
        return Err(format!("transcoders: `{file}` is an address on the hub and was not brought here"));
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
