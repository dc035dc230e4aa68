//! The files of a set: which there are for each layer, and which layout they follow.
//!
//! A config may list one file per layer; otherwise the layout's own names apply. What is inside a file: `layout.rs`.

use crate::TranscoderError;
use crate::config::Config;
use crate::layout::{LAYOUTS, Layout, numbered};
use circuit_torch::{TensorStore, TorchError};
use std::path::{Path, PathBuf};

/// The files of a set's folder.
pub(crate) struct SetFiles<'a> {
    folder: &'a Path,
    config: &'a Config,
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
            if first.is_empty() || (config.files.is_none() && !files.has(0)) {
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
            Some(list) if self.layout.stacked => list.clone(),
            Some(list) => list.get(layer).cloned().into_iter().collect(),
            None => self.layout.files.iter().map(|file| numbered(file, layer).into()).collect(),
        }
    }

    /// How many layers there are, none being missing between.
    pub(crate) fn n_layers(&self) -> Result<usize, TranscoderError> {
        let n_layers = match &self.config.files {
            Some(_) => (0..).take_while(|&layer| self.has(layer)).count(),
            None => names(self.folder)
                .iter()
                .filter_map(|name| self.layer_of(name))
                .max()
                .map_or(0, |l| l.saturating_add(1)),
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
            Err(TranscoderError::Layers { path: self.folder.into(), found, expected, detail })
        };
        if let Some(list) = &self.config.files {
            let found = match self.layout.stacked {
                true => self.layout.n_stacked(&self.open(0)?),
                false => list.len(),
            };
            return match found == expected {
                true => Ok(()),
                false => wrong(found, "see `transcoders` in its config.yaml".into()),
            };
        }
        std::fs::read_dir(self.folder)
            .map_err(|source| TorchError::Io { path: self.folder.into(), source })?;
        let mut found: Vec<_> = names(self.folder).iter().filter_map(|name| self.layer_of(name)).collect();
        found.sort_unstable();
        let file = |layer| numbered(self.layout.files[0], layer);
        match (0..expected).find(|l| !found.contains(l)) {
            Some(missing) => wrong(found.len(), format!("{} is missing", file(missing))),
            None => match found.iter().find(|&&l| l >= expected) {
                Some(&extra) => wrong(found.len(), format!("{} is one too many", file(extra))),
                None => Ok(()),
            },
        }
    }

    /// The layer whose first file, or whose folder, has this name.
    fn layer_of(&self, name: &str) -> Option<usize> {
        let first = Path::new(self.layout.files[0]).iter().next()?.to_str()?;
        let (before, after) = first.split_once("{}")?;
        name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
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
