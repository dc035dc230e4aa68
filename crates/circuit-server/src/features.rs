//! Feature records from local folders: which folder answers to a `scan`, and the files as they lie there.
//!
//! A folder is a transcoder set (its records packed in it or in `features/` below it) or a folder of single files,
//! `<scan>/<number>.json`. It answers to the name given with it; without one, to those that the attribution itself may
//! have written as `scan`: the name in its `config.yaml`, the folder's own name, its path. Sets that lie
//! elsewhere (`remote.rs`) are asked last. Everything here blocks.

use crate::ServerError;
use crate::etag::Stamp;
use crate::remote::{RemoteFeatures, RemoteSet};
use circuit_format::{FormatError, PACKED_INDEX, PackedFeatures, file_inside, read_feature_json};
use circuit_index::{FeatureIndex, Layer};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A folder with feature records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureFolder {
    /// The `scan` of the graphs that it belongs to, where the folder does not say.
    pub scan: Option<String>,
    /// The folder.
    pub path: PathBuf,
}

/// Where records are in a folder: in it, or one level down, as in published sets.
const BELOW: &str = "features";

#[derive(Debug)]
pub(crate) struct FeatureStore {
    sets: Vec<Set>,
    remote: Vec<RemoteSet>,
}

#[derive(Debug)]
struct Set {
    /// The `scan`s that it answers to.
    names: Vec<String>,
    folder: PathBuf,
    packed: Mutex<Option<(Stamp, Arc<PackedFeatures>)>>,
}

/// What a set may say about itself. Other keys are for those who read its weights.
#[derive(Default, Deserialize)]
struct Config {
    scan: Option<String>,
    model_name: Option<String>,
}

/// The answer to a question for a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Record(Vec<u8>),
    /// The set is here, but knows nothing about this feature.
    NoRecord,
    /// No folder answers to this scan.
    NoSet,
    /// The set lies elsewhere and cannot be reached: why.
    Unreachable(String),
}

impl FeatureStore {
    pub(crate) fn open(
        folders: Vec<FeatureFolder>,
        remote: Vec<RemoteFeatures>,
    ) -> Result<Self, ServerError> {
        let open = |folder: FeatureFolder| {
            let failed = |source| ServerError::Folder {
                path: folder.path.clone(),
                what: "a folder of feature records",
                source,
            };
            let real = fs::canonicalize(&folder.path).map_err(failed)?;
            fs::read_dir(&real).map_err(failed)?;
            let names = names(&folder, &real);
            Ok(Set { names, folder: real, packed: Mutex::new(None) })
        };
        let sets = folders.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { sets, remote: remote.into_iter().map(RemoteSet::new).collect() })
    }

    /// What is known about a feature, as it is stored.
    pub(crate) fn record(&self, scan: &str, layer: Layer, index: FeatureIndex) -> Result<Found, FormatError> {
        let named = self.sets.iter().find(|set| set.answers_to(scan));
        let singles = self.singles(scan);
        // Python's server gives whatever its one folder has to every scan that is a path.
        let only = self.sets.first().filter(|_| self.sets.len() == 1 && Path::new(scan).is_absolute());
        let known = named.is_some() || singles.is_some() || only.is_some();

        let mut record = named.map_or(Ok(None), |set| set.record(layer, index))?;
        if let (None, Some(folder)) = (&record, &singles) {
            record = read_feature_json(folder, layer, index)?;
        }
        if let (None, Some(set)) = (&record, only) {
            record = set.record(layer, index)?;
        }
        if let Some(record) = record {
            return Ok(Found::Record(record));
        }
        match self.remote.iter().find(|set| set.answers_to(scan)) {
            Some(set) => set.record(layer, index),
            None => Ok(if known { Found::NoRecord } else { Found::NoSet }),
        }
    }

    /// The folder of single files that a scan names by its path below one of ours.
    fn singles(&self, scan: &str) -> Option<PathBuf> {
        let scan = Path::new(scan.strip_prefix("./").unwrap_or(scan));
        let plain = |part: Component<'_>| match part {
            Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
            _ => false,
        };
        if scan.as_os_str().is_empty()
            || scan.as_os_str().as_encoded_bytes().contains(&0)
            || !scan.components().all(plain)
        {
            return None;
        }
        let places =
            self.sets.iter().flat_map(|set| [set.folder.clone(), set.folder.join(BELOW)].map(|at| (set, at)));
        places.into_iter().find_map(|(set, place)| {
            let real = fs::canonicalize(place.join(scan)).ok()?;
            (real.starts_with(&set.folder) && real.is_dir()).then_some(real)
        })
    }

    /// A file of the first folder that has it, for the old addresses: `index.json.gz`, `layer_0.bin`, `<scan>/7.json`.
    pub(crate) fn file(&self, relative: &str) -> io::Result<Option<PathBuf>> {
        for set in &self.sets {
            for folder in [set.folder.clone(), set.folder.join(BELOW)] {
                if let Some(path) = file_inside(&folder, Path::new(relative))?
                    && path.starts_with(&set.folder)
                {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }
}

/// The scans that a folder answers to.
fn names(folder: &FeatureFolder, real: &Path) -> Vec<String> {
    let mut names = vec![real.to_string_lossy().into_owned(), folder.path.to_string_lossy().into_owned()];
    if let Some(scan) = &folder.scan {
        names.push(scan.clone());
        return names;
    }
    // The set is the folder, or the folder above one that holds nothing but its records.
    let below = real.file_name().is_some_and(|name| name == BELOW);
    let set = if below { real.parent().unwrap_or(real) } else { real };
    let config = fs::read_to_string(set.join("config.yaml")).unwrap_or_default();
    let config: Config = serde_saphyr::from_str(&config).unwrap_or_default();
    names.extend(config.scan.or(config.model_name));
    names.extend(set.file_name().map(|name| name.to_string_lossy().into_owned()));
    names.push(set.to_string_lossy().into_owned());
    names
}

impl Set {
    /// A name without a revision stands for every revision.
    fn answers_to(&self, scan: &str) -> bool {
        let base = scan.rsplit_once('@').map_or(scan, |(base, _)| base);
        self.names.iter().any(|name| name == scan || name == base)
    }

    /// What this set knows about a feature: packed, or in a file of its own.
    fn record(&self, layer: Layer, index: FeatureIndex) -> Result<Option<Vec<u8>>, FormatError> {
        if let Some(packed) = self.packed()? {
            return packed.record(layer, index);
        }
        match read_feature_json(&self.folder, layer, index)? {
            None => read_feature_json(&self.folder.join(BELOW), layer, index),
            found => Ok(found),
        }
    }

    /// The index of packed records, read when it is first asked for and when it has changed; `None` without one.
    fn packed(&self) -> Result<Option<Arc<PackedFeatures>>, FormatError> {
        let index = [self.folder.clone(), self.folder.join(BELOW)].into_iter().find_map(|folder| {
            let metadata = fs::metadata(folder.join(PACKED_INDEX)).ok().filter(fs::Metadata::is_file)?;
            Some((folder, Stamp::of(&metadata)))
        });
        let Some((folder, stamp)) = index else { return Ok(None) };
        // Held while the index is read: one reader is enough.
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, packed)) = &*packed
            && *known == stamp
        {
            return Ok(Some(Arc::clone(packed)));
        }
        let read = Arc::new(PackedFeatures::open(&folder)?);
        *packed = Some((stamp, Arc::clone(&read)));
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn store(folders: &[(Option<&str>, &Path)]) -> FeatureStore {
        let folder = |&(scan, path): &(Option<&str>, &Path)| FeatureFolder {
            scan: scan.map(str::to_owned),
            path: path.to_path_buf(),
        };
        FeatureStore::open(folders.iter().map(folder).collect(), Vec::new()).unwrap()
    }

    fn found(store: &FeatureStore, scan: &str) -> Found {
        store.record(scan, Layer(1), FeatureIndex(7)).unwrap()
    }

    #[test]
    fn a_set_answers_to_the_names_it_may_have_been_traced_under() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("toy-set");
        write(&set.join("features/43.json"), "{}");
        write(&set.join("config.yaml"), "scan: acme/toy\nmodel_name: toy\nmore: [1]\n");
        let real = fs::canonicalize(&set).unwrap();
        let path = real.to_str().unwrap();
        let record = Found::Record(b"{}".to_vec());
        let by_name = store(&[(None, &set), (None, dir.path())]);
        for scan in ["acme/toy", "acme/toy@v2", "toy-set", path] {
            assert_eq!(found(&by_name, scan), record, "{scan}");
        }
        for scan in ["acme/other", "toy", "acme/toy//sub", "", "@v2", "/elsewhere", "../toy-set", "custom--1"]
        {
            assert_eq!(found(&by_name, scan), Found::NoSet, "{scan}");
        }
        assert_eq!(by_name.record("acme/toy", Layer(0), FeatureIndex(0)).unwrap(), Found::NoRecord);
        // The folder of records given itself.
        let below = store(&[(None, &set.join("features"))]);
        assert_eq!(found(&below, "acme/toy"), record);
        assert_eq!(found(&below, "toy-set"), record);
        // One folder alone stands for every path, as in Python.
        assert_eq!(found(&below, "/elsewhere"), record);
        let given = store(&[(Some("my/scan@v1"), &set)]);
        assert_eq!(found(&given, "my/scan@v1"), record);
        assert_eq!((found(&given, "my/scan"), found(&given, "acme/toy")), (Found::NoSet, Found::NoSet));
    }

    #[test]
    fn single_files_lie_below_their_scan() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("secret/43.json"), "secret");
        let folder = dir.path().join("served");
        write(&folder.join("gemma-2-2b/43.json"), "a");
        write(&folder.join("features/acme/toy@v2/43.json"), "b");
        let store = store(&[(None, &folder)]);
        assert_eq!(found(&store, "gemma-2-2b"), Found::Record(b"a".to_vec()));
        assert_eq!(found(&store, "./gemma-2-2b"), Found::Record(b"a".to_vec()));
        assert_eq!(found(&store, "acme/toy@v2"), Found::Record(b"b".to_vec()));
        for scan in ["../secret", "gemma-2-2b/../../secret", "acme/toy@v3", ".", "./", "a\0b"] {
            assert_eq!(found(&store, scan), Found::NoSet, "{scan}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", folder.join("out")).unwrap();
            assert_eq!(found(&store, "out"), Found::NoSet);
            assert_eq!(store.file("out/43.json").unwrap(), None);
        }
        assert!(store.file("gemma-2-2b/43.json").unwrap().is_some());
        assert!(store.file("acme/toy@v2/43.json").unwrap().is_some());
        assert_eq!(store.file("../secret/43.json").unwrap(), None);
    }
}
