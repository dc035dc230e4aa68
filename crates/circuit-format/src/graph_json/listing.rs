//! `graph-metadata.json`: the list of graphs in a folder, for the page's picker.
//!
//! Changed under a lock, so that runs in parallel lose no entry, and replaced whole. The lock is advisory: Python's
//! circuit-tracer does not take it. A damaged list is an error and stays as it is.

use super::Metadata;
use crate::FormatError;
use crate::atomic::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The list's name in the folder of graphs.
pub const LISTING_FILE: &str = "graph-metadata.json";

/// Beside the list, since the list itself is replaced.
const LOCK_FILE: &str = ".graph-metadata.lock";

/// Entries stay as they were read: other producers' keys, and entries that are not ours to judge.
#[derive(Default, Serialize, Deserialize)]
struct Content {
    graphs: Vec<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The entries of a folder's list as they are, none if there is no list. Takes no lock: the list is replaced whole.
///
/// # Errors
/// If the list is damaged or cannot be read.
pub fn read_listing(folder: &Path) -> Result<Vec<Value>, FormatError> {
    Ok(Content::read(&folder.join(LISTING_FILE))?.graphs)
}

/// Changes the entries of a folder's list under its lock; writes nothing if they stay the same.
///
/// # Errors
/// If the list is damaged (then it stays as it is), or cannot be read or written.
pub fn update_listing(folder: &Path, change: impl FnOnce(&mut Vec<Value>)) -> Result<(), FormatError> {
    let mut listing = Listing::open(folder)?;
    let before = listing.content.graphs.clone();
    change(&mut listing.content.graphs);
    if listing.content.graphs == before {
        return Ok(());
    }
    write_atomically(&listing.path, |out| Ok(serde_json::to_writer_pretty(out, &listing.content)?))
}

impl Content {
    fn read(path: &Path) -> Result<Self, FormatError> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| FormatError::Json {
                path: path.into(),
                expected: "a list of graphs (an object with the key `graphs`)",
                source,
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(FormatError::io(path, "read")(e)),
        }
    }
}

/// The list of one folder, locked until it is dropped.
pub(super) struct Listing {
    path: PathBuf,
    content: Content,
    /// Closing the file gives the lock back.
    _lock: File,
}

impl Listing {
    /// Locks the list and reads it; none yet is an empty one.
    pub(super) fn open(folder: &Path) -> Result<Self, FormatError> {
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(FormatError::io(&lock_path, "write"))?;
        match lock.lock() {
            // Some network file systems have no locks. Going on is what Python always does.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => (),
            locked => locked.map_err(FormatError::io(&lock_path, "lock"))?,
        }
        let path = folder.join(LISTING_FILE);
        let content = Content::read(&path)?;
        Ok(Self { path, content, _lock: lock })
    }

    /// Puts a graph at the end, in place of an entry of the same slug, and writes the list.
    pub(super) fn add(mut self, metadata: &Metadata) -> Result<(), FormatError> {
        self.content.graphs.retain(|entry| entry.get("slug").and_then(Value::as_str) != Some(&metadata.slug));
        write_atomically(&self.path, |out| {
            self.content.graphs.push(serde_json::to_value(metadata)?);
            Ok(serde_json::to_writer_pretty(out, &self.content)?)
        })
    }
}
