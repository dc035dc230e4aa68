//! Feature pages of sets on the hub, for the server: the index as a file of the cache, records by range.
//!
//! Records that came are kept in a folder of our own (`circuit-tracer/feature-pages` in the user's cache), within a bound, so that
//! what was looked at once is there without a connection. Only sets that the user named are asked for, when a page is opened.

use crate::failure::Failure;
use crate::hub::{Finder, FoundSet, user_cache};
use circuit_hub::{Hub, HubName, Snapshot};
use circuit_server::{RecordSource, RemoteFeatures};
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Where published sets have their pages.
const FOLDER: &str = "features";

/// What the records of all sets may take on disk, bytes.
const BOUND: u64 = 512 << 20;

#[derive(Debug)]
struct HubPages {
    hub: Hub,
    name: HubName,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    kept: Option<Kept>,
}

/// The pages of a set, by its name; `scan` is what graphs call it, where that is something else.
pub(crate) fn of_name(name: HubName, scan: Option<&str>, offline: bool) -> Result<RemoteFeatures, Failure> {
    let mut scans = match scan {
        Some(scan) => vec![scan.to_owned()],
        None => names(&name),
    };
    if scan.is_none() {
        // What its config says, if that is here already: nothing is asked before a page is.
        scans.extend(Finder::new(true).scan_of(&name));
    }
    let hub = Finder::new(offline).into_hub()?;
    Ok(remote(hub, name, scans))
}

/// The pages of a set that was found on the hub; `None` if it came from elsewhere.
pub(crate) fn of_set(set: &FoundSet, offline: bool) -> Result<Option<RemoteFeatures>, Failure> {
    let Some(name) = &set.name else { return Ok(None) };
    let scans = names(name).into_iter().chain(set.scan.clone()).collect();
    Ok(Some(remote(Finder::new(offline).into_hub()?, name.clone(), scans)))
}

/// What graphs may call a set. A name without a revision answers to every revision.
fn names(name: &HubName) -> Vec<String> {
    vec![name.scan(), name.to_string()]
}

fn remote(hub: Hub, name: HubName, scans: Vec<String>) -> RemoteFeatures {
    let kept = user_cache().map(|cache| Kept::new(cache.join("circuit-tracer").join("feature-pages")));
    let source = HubPages { hub, name, snapshot: Mutex::new(None), kept };
    RemoteFeatures { scans, source: Arc::new(source) }
}

impl HubPages {
    fn snapshot(&self) -> io::Result<Arc<Snapshot>> {
        let mut known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*known {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = self.hub.snapshot(&self.name.repo, &self.name.revision()).map_err(io::Error::other)?;
        let snapshot = Arc::new(snapshot);
        // What the cache has in the hub's place is asked for again once the hub is back.
        if snapshot.unreachable.is_none() {
            *known = Some(Arc::clone(&snapshot));
        }
        Ok(snapshot)
    }
}

impl RecordSource for HubPages {
    fn read(&self, file: &str, range: Option<Range<u64>>) -> io::Result<Option<Vec<u8>>> {
        let snapshot = self.snapshot()?;
        let path = self.name.file(&format!("{FOLDER}/{file}"));
        let Some(range) = range else {
            // Offline a snapshot has what the cache has.
            if !snapshot.files.contains_key(&path) {
                return Ok(None);
            }
            let local = self.hub.fetch(&[(&snapshot, &path)], &|_| ()).map_err(io::Error::other)?;
            return fs::read(&local[0]).map(Some);
        };
        let place = format!(
            "{}/{}/{}.{}-{}",
            snapshot.repo.as_str().replace('/', "--"),
            snapshot.commit,
            path.replace('/', "--"),
            range.start,
            range.end
        );
        if let Some(bytes) = self.kept.as_ref().and_then(|kept| kept.get(&place, range.end - range.start)) {
            return Ok(Some(bytes));
        }
        if self.hub.config().offline || !snapshot.files.contains_key(&path) {
            return Ok(None);
        }
        let bytes = self.hub.read(&snapshot, &path, range).map_err(io::Error::other)?;
        if let Some(kept) = &self.kept {
            kept.put(&place, &bytes);
        }
        Ok(Some(bytes))
    }
}

/// A folder of small files within a bound, the oldest of which go first.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    /// What it takes, once it was looked at.
    size: Mutex<Option<u64>>,
}

impl Kept {
    fn new(folder: PathBuf) -> Self {
        Self { folder, size: Mutex::new(None) }
    }

    fn get(&self, place: &str, len: u64) -> Option<Vec<u8>> {
        fs::read(self.folder.join(place)).ok().filter(|bytes| bytes.len() as u64 == len)
    }

    /// Keeps what came. That it cannot be kept is no failure of what it was read for.
    fn put(&self, place: &str, bytes: &[u8]) {
        let path = self.folder.join(place);
        let made = path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok());
        if !made || circuit_format::write_atomically(&path, |out| out.write_all(bytes)).is_err() {
            return;
        }
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let total = size
            .map_or_else(|| files(&self.folder).iter().map(|(_, n, _)| n).sum(), |n| n + bytes.len() as u64);
        *size = Some(if total > BOUND { self.clear(BOUND / 2) } else { total });
    }

    /// Removes the oldest files until what is left takes no more than so much; gives what it takes.
    fn clear(&self, bound: u64) -> u64 {
        let mut files = files(&self.folder);
        files.sort_by_key(|(_, _, time)| *time);
        let mut total: u64 = files.iter().map(|(_, n, _)| n).sum();
        for (path, n, _) in files {
            if total <= bound {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= n;
            }
        }
        total
    }
}

/// Files two folders down, with sizes and times.
fn files(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let entries = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>()
    };
    let files = entries(folder).iter().flat_map(|repo| entries(repo)).collect::<Vec<_>>();
    let files = files.iter().flat_map(|commit| entries(commit));
    files
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((path, metadata.len(), metadata.modified().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_records_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path().join("pages"));
        for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
            kept.put(&format!("r/c/{name}"), &[0; 100]);
            let file = fs::File::options().write(true).open(dir.path().join("pages/r/c").join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(i as u64)).unwrap();
        }
        assert_eq!((kept.get("r/c/a", 100).map(|b| b.len()), kept.get("r/c/a", 99)), (Some(100), None));
        assert_eq!(kept.clear(200), 200);
        assert!(kept.get("r/c/a", 100).is_none() && kept.get("r/c/c", 100).is_some());
    }
}
