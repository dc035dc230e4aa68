//! `config.yaml` of a transcoder set: what kind it is, and which sites it reads and writes.

use crate::TranscoderError;
use circuit_index::LayerSite;
use serde::Deserialize;
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
}

/// How far a feature's writes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// To its own layer.
    PerLayer,
    /// To its own layer and all above.
    CrossLayer,
}

/// What a `config.yaml` says.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) kind: SetKind,
    pub(crate) model_name: Option<String>,
    pub(crate) scan: Option<String>,
    pub(crate) reads: LayerSite,
    pub(crate) writes: LayerSite,
    /// The files of the layers, relative to the folder, where the set lists them.
    pub(crate) files: Option<Vec<PathBuf>>,
    /// `k`, where the set says that it keeps the k largest pre-activations.
    pub(crate) top_k: Option<usize>,
}

const READABLE: &[LayerSite] = &[LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
const WRITABLE: &[LayerSite] = &[LayerSite::MlpRawOut, LayerSite::MlpOut];

impl Config {
    pub(crate) fn open(folder: &Path) -> Result<Self, TranscoderError> {
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.into() });
        }
        let path = folder.join("config.yaml");
        let bad = |reason: String| TranscoderError::Config { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
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
        let top_k = match (raw.activation.as_deref(), raw.k) {
            (Some("topk"), Some(k)) if k > 0 => Some(k),
            (Some("topk"), _) => return Err(bad("activation topk needs a positive `k`".into())),
            (None | Some("relu"), None) => None,
            (None | Some("relu"), Some(_)) => {
                return Err(bad("`k` is given, but activation is not topk".into()));
            }
            (Some(other), _) => {
                return Err(bad(format!("activation `{other}` is not known, expected relu or topk")));
            }
        };
        let files = raw.transcoders.map(|list| list.iter().map(|file| beside(file).map_err(&bad)).collect());
        Ok(Self {
            kind,
            files: files.transpose()?,
            reads: site("feature_input_hook", &raw.feature_input_hook, READABLE)?,
            writes: site("feature_output_hook", &raw.feature_output_hook, WRITABLE)?,
            model_name: raw.model_name,
            scan: raw.scan,
            top_k,
            path,
        })
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
