//! The files of a set: which there are for each layer, and which layout they follow.
//!
//! A config may list one file per layer, or there is a folder for each; otherwise the layout's own names apply. What is inside a file:
//! `layout.rs`.

use crate::TranscoderError;
use crate::config::{Config, Files};
use crate::layout::{LAYOUTS, Layout, numbered};
use circuit_torch::{TensorStore, TorchError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of a set's folder.
pub(crate) struct SetFiles<'a> {
    folder: &'a Path,
    pub(crate) config: &'a Config,
    pub(crate) layout: &'static Layout,
}

impl<'a> SetFiles<'a> {
    /// Finds the layout: the first for this kind of set whose files are there and hold its tensors.
    pub(crate) fn find(folder: &'a Path, config: &'a Config) -> Result<Self, TranscoderError> {
        let layouts = || LAYOUTS.iter().filter(|layout| layout.for_sets == (config.family, config.kind));
        let mut found = None;
        for layout in layouts() {
            let files = Self { folder, config, layout };
            let first = files.of(0);
            if first.is_empty() || (config.files == Files::Named && !files.has(0)) {
                continue;
            }
            let store = files.open(0)?;
            if layout.describes(&first[0], &store) {
                return Ok(files);
            }
            let names = store.names().take(12).collect::<Vec<_>>().join(", ");
            found = Some((folder.join(&first[0]), format!("tensors {names}")));
        }
        let (path, found) =
            found.unwrap_or_else(|| (folder.into(), format!("files {}", sample(&names(folder)))));
        let known = layouts().map(Layout::in_words).collect::<Vec<_>>().join("; ");
        Err(TranscoderError::UnknownLayout { path, found, known })
    }

    /// The files of a set whose layout is known.
    pub(crate) fn new(folder: &'a Path, config: &'a Config, layout: &'static Layout) -> Self {
        Self { folder, config, layout }
    }

    /// The files of a layer, relative to the folder; none past the end of a list.
    pub(crate) fn of(&self, layer: usize) -> Vec<PathBuf> {
        match &self.config.files {
            Files::Listed(list) if self.layout.stacked => list.clone(),
            Files::Listed(list) => list.get(layer).cloned().into_iter().collect(),
            Files::Folders(folders) => match folders.get(&layer) {
                Some(folder) => self.layout.files.iter().map(|file| folder.join(file)).collect(),
                None => Vec::new(),
            },
            Files::Named => self.layout.files.iter().map(|file| numbered(file, layer).into()).collect(),
        }
    }

    /// How many layers there are, none being missing between.
    pub(crate) fn n_layers(&self) -> Result<usize, TranscoderError> {
        let n_layers = match &self.config.files {
            Files::Listed(_) => (0..).take_while(|&layer| self.has(layer)).count(),
            Files::Folders(folders) => folders.keys().next_back().map_or(0, |last| last.saturating_add(1)),
            Files::Named => {
                let layers = names(self.folder).iter().filter_map(|name| self.layer_of(name)).max();
                layers.map_or(0, |last| last.saturating_add(1))
            }
        };
        self.check_layers(n_layers)?;
        Ok(n_layers)
    }

    /// Whether there is a layer.
    pub(crate) fn has(&self, layer: usize) -> bool {
        let files = self.of(layer);
        let there = !files.is_empty() && files.iter().all(|file| self.folder.join(file).is_file());
        match there && self.layout.stacked {
            true => self.open(0).is_ok_and(|store| layer < self.layout.n_stacked(&store)),
            false => there,
        }
    }

    /// The tensors of a layer.
    pub(crate) fn open(&self, layer: usize) -> Result<TensorStore, TranscoderError> {
        Ok(TensorStore::open(self.folder, &self.of(layer))?)
    }

    /// There must be exactly the layers of the model.
    pub(crate) fn check_layers(&self, expected: usize) -> Result<(), TranscoderError> {
        let wrong = |found, detail| {
            let (path, made_for) = (self.folder.into(), self.config.model_name.clone());
            Err(TranscoderError::Layers { path, found, expected, detail, made_for })
        };
        let found = match &self.config.files {
            Files::Listed(list) => {
                let found = match self.layout.stacked {
                    true => self.layout.n_stacked(&self.open(0)?),
                    false => list.len(),
                };
                return match found == expected {
                    true => Ok(()),
                    false => wrong(found, "see `transcoders` in its config.yaml".into()),
                };
            }
            Files::Folders(folders) => {
                folders.iter().map(|(&l, name)| (l, name.display().to_string())).collect()
            }
            Files::Named => self.named()?,
        };
        let file = |layer| match &self.config.files {
            Files::Named => numbered(self.layout.files[0], layer),
            _ => format!("the folder of layer {layer}"),
        };
        match (0..expected).find(|l| !found.contains_key(l)) {
            Some(missing) => wrong(found.len(), format!("{} is missing", file(missing))),
            None => match found.iter().find(|(l, _)| **l >= expected) {
                Some((_, extra)) => wrong(found.len(), format!("{extra} is one too many")),
                None => Ok(()),
            },
        }
    }

    /// The first file of each layer by the layout's own names. `layer_01` beside `layer_1` would be one layer twice.
    fn named(&self) -> Result<BTreeMap<usize, String>, TranscoderError> {
        std::fs::read_dir(self.folder)
            .map_err(|source| TorchError::Io { path: self.folder.into(), source })?;
        let mut found = BTreeMap::new();
        for name in names(self.folder) {
            let Some(layer) = self.layer_of(&name) else { continue };
            let expected = numbered(self.layout.files[0], layer);
            if name != expected {
                let reason = format!("`{name}` is a file of layer {layer}, expected the name {expected}");
                return Err(TranscoderError::Config { path: self.folder.into(), reason });
            }
            found.insert(layer, name);
        }
        Ok(found)
    }

    /// The layer whose first file has this name.
    fn layer_of(&self, name: &str) -> Option<usize> {
        let (before, after) = self.layout.files.first()?.split_once("{}")?;
        let digits = name.strip_prefix(before)?.strip_suffix(after)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    }

    /// The parts that some layers may have and others not must be in all of them or in none.
    pub(crate) fn even(
        &self,
        part: &'static str,
        layers: impl Iterator<Item = bool>,
    ) -> Result<(), TranscoderError> {
        let has: Vec<_> = layers.collect();
        match (has.iter().position(|&has| has), has.iter().position(|&has| !has)) {
            (Some(with), Some(without)) => {
                Err(TranscoderError::Uneven { path: self.folder.into(), part, with, without })
            }
            _ => Ok(()),
        }
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Some of the names, for messages.
fn sample(names: &[String]) -> String {
    names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ")
}
