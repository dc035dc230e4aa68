//! Where a set is: its folder, the local copies of what it lists as lying elsewhere, and what it is called.
//!
//! Published sets may be a config alone, whose `transcoders` are addresses on a hub. Whoever knows hubs brings those files and
//! says here where they are; this crate reads local files only.

use crate::TranscoderError;
use crate::config::{self, Config};
use crate::layout::LAYOUTS;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A set's folder, and what belongs to it from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetFolder {
    /// The folder with the config.
    pub path: PathBuf,
    /// Local files for the addresses (`hf://…`) that the config lists.
    pub elsewhere: BTreeMap<String, PathBuf>,
    /// The place of its feature pages, where the config names none; else the model or the folder stands for it.
    pub scan: Option<String>,
}

impl From<&Path> for SetFolder {
    fn from(path: &Path) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

impl From<&PathBuf> for SetFolder {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&Self> for SetFolder {
    fn from(folder: &Self) -> Self {
        folder.clone()
    }
}

/// What a set's config says before any of its weights are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetOutline {
    /// The model it was made for, where the config names it.
    pub model_name: Option<String>,
    /// Names the place of its feature pages, where the config says.
    pub scan: Option<String>,
    /// The addresses that it lists in place of files of its own.
    pub addresses: Vec<String>,
    /// Whether it lists its files, as addresses or otherwise: then no others belong to it. A set with a folder for each layer lists the
    /// files of these folders.
    pub lists_files: bool,
    /// The files that it lists of its own folder.
    pub files: Vec<String>,
}

impl SetOutline {
    /// Reads the config in a folder.
    ///
    /// # Errors
    /// If there is none, or it is not understood.
    pub fn read(folder: &Path) -> Result<Self, TranscoderError> {
        Config::outline(folder).map(Self::new)
    }

    /// Reads the text of a `config.yaml`; `path` is for messages.
    ///
    /// # Errors
    /// If it is not understood.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TranscoderError> {
        Config::outline_of(path, text).map(Self::new)
    }

    fn new((model_name, scan, listed): config::Outline) -> Self {
        let lists_files = listed.is_some();
        let (addresses, files) =
            listed.unwrap_or_default().into_iter().partition(|file| config::is_address(file));
        Self { model_name, scan, addresses, lists_files, files }
    }

    /// Of the files of a folder, by their names relative to it, those that are the config of a set; none if there is no set. A
    /// `cfg.json` in a folder is one: only what it says tells whether that is the folder of a layer.
    #[must_use]
    pub fn configs<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
        let of_a_layer = |name: &&str| {
            let folder = name.strip_suffix(config::LAYER_CONFIG).and_then(|folder| folder.strip_suffix('/'));
            folder.is_some_and(|folder| !folder.contains('/'))
        };
        let is_joint = || names.clone().any(|name| name == config::JOINT_NORMS);
        match () {
            () if names.clone().any(|name| name == config::CONFIG) => vec![config::CONFIG],
            () if names.clone().any(|name| of_a_layer(&name)) => names.filter(of_a_layer).collect(),
            () if is_joint() => names.filter(|name| *name == config::JOINT_CONFIG).collect(),
            () => Vec::new(),
        }
    }

    /// Whether a file of this name is one that a set has when it does not list its files, in any known layout.
    #[must_use]
    pub fn is_layer_file(name: &str) -> bool {
        LAYOUTS.iter().flat_map(|layout| layout.files).any(|pattern| layer_in(name, pattern).is_some())
    }
}

/// The layer in a name of a pattern with `{}` in its place.
pub(crate) fn layer_in(name: &str, pattern: &str) -> Option<u32> {
    let (before, after) = pattern.split_once("{}")?;
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_of_sets() {
        for name in ["layer_3.safetensors", "W_enc_0.safetensors", "W_dec_25.safetensors"] {
            assert!(SetOutline::is_layer_file(name), "{name}");
        }
        for name in [
            "features/layer_0.bin",
            "layer_.safetensors",
            "layer_+1.safetensors",
            "x/layer_1.safetensors",
            "config.yaml",
        ] {
            assert!(!SetOutline::is_layer_file(name), "{name}");
        }
        let configs = |names: &'static [&str]| SetOutline::configs(names.iter().copied());
        assert_eq!(configs(&["a", "config.yaml", "config.json"]), ["config.yaml"]);
        assert_eq!(configs(&["config.yaml", "h.0.mlp/cfg.json"]), ["config.yaml"]);
        assert_eq!(configs(&["cfg.json", "h.0.mlp/cfg.json", "a/h.1.mlp/cfg.json"]), ["h.0.mlp/cfg.json"]);
        assert_eq!(configs(&["layers.0.mlp/cfg.json", "layers.1.mlp/cfg.json"]).len(), 2);
        assert!(configs(&["config.json", "model.safetensors", "sub/config.yaml"]).is_empty());
        assert_eq!(configs(&["W_dec_norm.safetensors", "config.json"]), ["config.json"]);
    }
}
