//! The config of a transcoder set: what kind it is, and which sites it reads and writes.
//!
//! That is `config.yaml` (`config/circuit_tracer.rs`), for a run of sparsify or a set of SAELens the `cfg.json` of each layer
//! (`config/layers.rs` and beside it), and for a set whose features are chosen jointly `config.json` (`config/joint.rs`). A key is used,
//! known to change nothing, refused by name because what it asks for is not implemented, or unknown, which is one warning. Not here:
//! what the tensors are called and how they lie (`layout.rs`).

mod circuit_tracer;
mod joint;
mod keys;
mod layers;
mod sae_lens;
mod sparsify;

use crate::recognise::Recognised;
use crate::{SetFolder, TranscoderError};
use circuit_index::{LayerSite, Notice};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    /// Those above 0; the files hold no thresholds.
    Relu,
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

/// Which files a set has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// Those of the layout's own names.
    Named,
    /// Those that the config lists, relative to the folder: one for each layer, or one that holds all layers.
    Listed(Vec<PathBuf>),
    /// Those of the layout's own names in the folder of each layer.
    Folders(BTreeMap<usize, PathBuf>),
}

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
    pub(crate) files: Files,
    pub(crate) selection: Selection,
    /// Whether there is a linear skip, where the config says so.
    pub(crate) skip: Option<bool>,
    /// The layers that encode `x - b_dec` in place of `x`.
    pub(crate) less_b_dec: BTreeSet<usize>,
    /// What was found that is not an error.
    pub(crate) notices: Vec<Notice>,
}

/// Whose config it is: each has layouts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigFamily {
    /// `config.yaml`.
    CircuitTracer,
    /// `layers.N.mlp/cfg.json` and the like.
    Sparsify,
    /// `cfg.json` in a folder for each layer.
    SaeLens,
    /// `config.json` beside encoders, decoders and their norms.
    Joint,
}

/// A model's name, a scan, and a list of files.
pub(crate) type Outline = (Option<String>, Option<String>, Option<Vec<String>>);

const READABLE: &[LayerSite] = &[LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
const WRITABLE: &[LayerSite] = &[LayerSite::MlpRawOut, LayerSite::MlpOut];

impl Config {
    /// A config that says nothing yet but what it is.
    fn new(path: &Path, family: ConfigFamily, kind: SetKind, files: Files) -> Self {
        Self {
            path: path.into(),
            family,
            kind,
            model_name: None,
            scan: None,
            reads: LayerSite::MlpIn,
            writes: LayerSite::MlpRawOut,
            files,
            selection: Selection::Threshold,
            skip: None,
            less_b_dec: BTreeSet::new(),
            notices: Vec::new(),
        }
    }

    /// Reads the config of a folder.
    pub(crate) fn open(set: &SetFolder) -> Result<Self, TranscoderError> {
        let folder = &set.path;
        if !folder.is_dir() {
            return Err(TranscoderError::NoFolder { path: folder.clone() });
        }
        match () {
            () if folder.join(CONFIG).exists() => circuit_tracer::open(set),
            () if layers::are_in(folder) => layers::open(folder),
            () if joint::is_in(folder) => joint::open(folder),
            () => Err(TranscoderError::NoConfig {
                path: folder.clone(),
                found: Box::new(Recognised::in_folder(folder)),
            }),
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
            Selection::Threshold | Selection::Relu | Selection::JumpRelu => (None, None),
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
        folder.join(CONFIG).exists() || layers::are_in(folder) || joint::is_in(folder)
    }

    /// The model that a config names and the files that it lists, before those have to be there. A set of a folder for each layer lists
    /// the files of these folders.
    pub(crate) fn outline(folder: &Path) -> Result<Outline, TranscoderError> {
        let path = folder.join(CONFIG);
        if path.exists() {
            return circuit_tracer::outline(&path, None);
        }
        let config = Self::open(&folder.into())?;
        let file = |folder: &PathBuf| format!("{}/{}", folder.display(), config.family.layer_file());
        let files = match &config.files {
            Files::Folders(folders) => Some(folders.values().map(file).collect()),
            Files::Named | Files::Listed(_) => None,
        };
        Ok((config.model_name, config.scan, files))
    }

    /// The outline of the text of a `config.yaml`; `path` is for messages.
    pub(crate) fn outline_of(path: &Path, text: &str) -> Result<Outline, TranscoderError> {
        circuit_tracer::outline(path, Some(text))
    }
}

impl ConfigFamily {
    /// The file with the weights in the folder of a layer.
    fn layer_file(self) -> &'static str {
        match self {
            Self::SaeLens => SAE_LENS_WEIGHTS,
            Self::Sparsify | Self::CircuitTracer | Self::Joint => SPARSIFY_WEIGHTS,
        }
    }
}

pub(crate) const CONFIG: &str = "config.yaml";

/// The config in the folder of a layer, of sparsify and of SAELens.
pub(crate) const LAYER_CONFIG: &str = "cfg.json";

/// The weights in the folder of a layer of sparsify.
pub(crate) const SPARSIFY_WEIGHTS: &str = "sae.safetensors";

/// The weights in the folder of a layer of SAELens.
pub(crate) const SAE_LENS_WEIGHTS: &str = "sae_weights.safetensors";

/// The config of a set whose features are chosen jointly. Models have a file of that name too; on a hub norms beside it tell.
pub(crate) const JOINT_CONFIG: &str = "config.json";
pub(crate) const JOINT_NORMS: &str = "W_dec_norm.safetensors";

/// Whether an entry of `transcoders` is an address on a hub.
pub(crate) fn is_address(file: &str) -> bool {
    file.starts_with("hf://")
}

/// Whether a file reads like a `config.yaml`, whatever it is called.
pub(crate) fn reads_like_a_config(path: &Path) -> bool {
    circuit_tracer::reads_like_one(path)
}

/// The layer of an MLP's folder in a run of sparsify, by its name.
pub(crate) fn sparsify_layer(folder: &str) -> Option<usize> {
    sparsify::mlp_layer(folder)
}
