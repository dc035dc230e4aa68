//! Any readable set, rewritten into the mapped layout: the files that are used as they lie, by us and by the Python library.
//!
//! Layer by layer and piece by piece: no page of a file is held longer than it is used. Decides what is written, not
//! where: the caller puts the files in their place, `config.yaml` last, so that half a set is none. A set's feature pages are no
//! part of this: they belong to its scan, and to no layout of weights.

use crate::TranscoderError;
use crate::config::{self, Config, Selection, SetKind};
use crate::files::SetFiles;
use crate::folder::SetFolder;
use crate::judge::LayerOf;
use crate::layout::{CROSS_LAYER, Layout, PER_LAYER, numbered};
use crate::mapped::MappedFile;
use crate::set::{SetInfo, info};
use circuit_index::Notice;
use std::path::PathBuf;

/// A set about to be rewritten.
pub struct Conversion {
    folder: SetFolder,
    config: Config,
    from: &'static Layout,
    n_layers: usize,
    d_model: i64,
}

impl std::fmt::Debug for Conversion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversion")
            .field("folder", &self.folder.path)
            .field("from", &self.from.name)
            .finish()
    }
}

impl Conversion {
    /// Opens the set of a folder. No model is needed: the set itself says how many layers it has.
    ///
    /// # Errors
    /// If the config or a file cannot be read, or the files follow no known layout.
    pub fn open(folder: impl Into<SetFolder>) -> Result<Self, TranscoderError> {
        let folder = folder.into();
        let config = Config::open(&folder)?;
        let files = SetFiles::find(&folder.path, &config)?;
        if files.layout.norms.is_some() {
            let reason = "its features are chosen over all layers by norms, for which the mapped layout has no place; its files \
                          are used as they lie already";
            return Err(TranscoderError::Config { path: config.path, reason: reason.into() });
        }
        let (from, n_layers) = (files.layout, files.n_layers()?);
        let d_model = from.d_model(&files.open(0)?);
        files.judge(n_layers, d_model)?;
        Ok(Self { folder, from, n_layers, d_model, config })
    }

    /// How many layers the set has.
    #[must_use]
    pub fn n_layers(&self) -> usize {
        self.n_layers
    }

    /// What the set says about itself.
    #[must_use]
    pub fn info(&self) -> SetInfo {
        info(&self.folder, &self.config)
    }

    /// What was found when the set was opened that is not an error.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.config.notices
    }

    /// The layouts from which and to which it is rewritten, in words.
    #[must_use]
    pub fn layouts(&self) -> [&'static str; 2] {
        [self.from.name, self.to().name]
    }

    fn to(&self) -> &'static Layout {
        match self.config.kind {
            SetKind::PerLayer => &PER_LAYER,
            SetKind::CrossLayer => &CROSS_LAYER,
        }
    }

    fn files(&self) -> SetFiles<'_> {
        SetFiles::new(&self.folder.path, &self.config, self.from)
    }

    fn layer_of(&self, layer: usize) -> LayerOf {
        LayerOf { layer, n_layers: self.n_layers, d_model: self.d_model }
    }

    /// All files that are read.
    #[must_use]
    pub fn sources(&self) -> Vec<PathBuf> {
        let files = self.files();
        (0..self.n_layers).flat_map(|layer| files.of(layer)).map(|file| self.folder.path.join(file)).collect()
    }

    /// The files of a layer.
    ///
    /// # Errors
    /// If a file cannot be read, or a tensor is missing, unknown, or of another shape than the others ask for.
    pub fn layer(&self, layer: usize) -> Result<Vec<MappedFile>, TranscoderError> {
        let store = self.files().open(layer)?;
        // What could not be used should not be written either.
        let parts = self.from.parts(&store, &self.config, self.layer_of(layer))?;
        if parts.shift.is_some() {
            let reason = "its activations are shifted (`post_enc`), for which the mapped layout has no place; its files are used as they lie";
            return Err(TranscoderError::Config { path: self.config.path.clone(), reason: reason.into() });
        }
        let files = parts.files(self.to(), layer)?;
        Ok(files.into_iter().map(|(name, tensors)| MappedFile::new(name, tensors)).collect())
    }

    /// The name and text of the config that goes with the files.
    #[must_use]
    pub fn config(&self) -> (&'static str, String) {
        (config::CONFIG, self.config.mapped())
    }

    /// Whether a file of this name would belong to a set in the mapped layout, so that it must not be left over from another one.
    #[must_use]
    pub fn is_mapped(name: &str) -> bool {
        let is_one = |file: &&str| {
            let number = file.split_once("{}").and_then(|(before, after)| {
                name.strip_prefix(before)?.strip_suffix(after)?.parse::<usize>().ok()
            });
            number.is_some_and(|n| numbered(file, n) == name)
        };
        name == config::CONFIG || PER_LAYER.files.iter().chain(CROSS_LAYER.files).any(is_one)
    }

    /// What the Python library does not read of the rewritten set, if anything.
    ///
    /// # Errors
    /// If the first layer cannot be read.
    pub fn beyond_python(&self) -> Result<Option<&'static str>, TranscoderError> {
        let skip = || -> Result<bool, TranscoderError> {
            Ok(self.files().open(0)?.contains(&numbered(self.from.W_skip, 0)))
        };
        Ok(match (self.config.kind, self.config.selection) {
            (_, Selection::JointTopK(_)) => Some("features chosen over all layers"),
            (_, Selection::ReluTopK(_)) => Some("activation relu_topk (of the k largest those above 0)"),
            (SetKind::CrossLayer, Selection::TopK(_)) => Some("activation topk of a cross-layer set"),
            (SetKind::CrossLayer, _) if skip()? => {
                Some("the linear skip of a cross-layer set in these files")
            }
            _ => None,
        })
    }
}
