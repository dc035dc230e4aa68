//! Feature records that lie elsewhere: the packed records of a published set, read piece by piece through whoever can reach them.
//!
//! The server itself asks nobody for anything: it is given a [`RecordSource`]. What came is kept in memory within a bound; a
//! source may keep more. Everything here blocks.

use crate::features::Found;
use circuit_format::{FormatError, PACKED_INDEX, PackedIndex, unpack_record};
use circuit_index::{FeatureIndex, Layer};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Roughly how many records are kept; only a hint for the cache.
const RECORDS: usize = 512;

/// Memory for the records of one set, bytes.
const RECORD_BYTES: u64 = 32 << 20;

/// Reads files of a folder of packed records, wherever it is. May block, but not for ever.
pub trait RecordSource: Send + Sync + Debug {
    /// The whole file, or a range of it; `None` if there is no such file, or none that may be read now.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, file: &str, range: Option<Range<u64>>) -> io::Result<Option<Vec<u8>>>;
}

/// A set whose feature records lie elsewhere.
#[derive(Clone, Debug)]
pub struct RemoteFeatures {
    /// The `scan`s that it answers to.
    pub scans: Vec<String>,
    /// Who can read them.
    pub source: Arc<dyn RecordSource>,
}

#[derive(Debug)]
pub(crate) struct RemoteSet {
    scans: Vec<String>,
    source: Arc<dyn RecordSource>,
    index: Mutex<Option<Arc<PackedIndex>>>,
    records: Cache<(u32, usize), Arc<Vec<u8>>, Size>,
}

#[derive(Clone, Debug)]
struct Size;

impl Weighter<(u32, usize), Arc<Vec<u8>>> for Size {
    fn weight(&self, _: &(u32, usize), record: &Arc<Vec<u8>>) -> u64 {
        record.len() as u64 + 100
    }
}

impl RemoteSet {
    pub(crate) fn new(RemoteFeatures { scans, source }: RemoteFeatures) -> Self {
        let records = Cache::with_weighter(RECORDS, RECORD_BYTES, Size);
        Self { scans, source, index: Mutex::new(None), records }
    }

    /// A name without a revision stands for every revision.
    pub(crate) fn answers_to(&self, scan: &str) -> bool {
        let base = scan.rsplit_once('@').map_or(scan, |(base, _)| base);
        self.scans.iter().any(|name| name == scan || name == base)
    }

    /// What is known about a feature.
    pub(crate) fn record(&self, layer: Layer, index: FeatureIndex) -> Result<Found, FormatError> {
        let key = (layer.0, index.get());
        if let Some(record) = self.records.get(&key) {
            return Ok(Found::Record(record.to_vec()));
        }
        let packed = match self.index()? {
            Ok(Some(packed)) => packed,
            Ok(None) => return Ok(Found::NoRecord),
            Err(e) => return Ok(Found::Unreachable(e)),
        };
        let Some((file, range)) = packed.place(layer, index)? else { return Ok(Found::NoRecord) };
        let stored = match self.source.read(file, Some(range)) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Found::NoRecord),
            Err(e) => return Ok(Found::Unreachable(e.to_string())),
        };
        let Some(record) = unpack_record(Path::new(file), index, &stored)? else {
            return Ok(Found::NoRecord);
        };
        self.records.insert(key, Arc::new(record.clone()));
        Ok(Found::Record(record))
    }

    /// The index, read when it is first asked for; why it cannot be had, if that may change.
    fn index(&self) -> Result<Result<Option<Arc<PackedIndex>>, String>, FormatError> {
        // Held while the index is read: one reader is enough.
        let mut known = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = &*known {
            return Ok(Ok(Some(Arc::clone(packed))));
        }
        let stored = match self.source.read(PACKED_INDEX, None) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Ok(None)),
            Err(e) => return Ok(Err(e.to_string())),
        };
        let packed = Arc::new(PackedIndex::read(Path::new(PACKED_INDEX), stored.as_slice())?);
        *known = Some(Arc::clone(&packed));
        Ok(Ok(Some(packed)))
    }
}
