//! Packed feature records: `index.json.gz` says for each layer which file holds its records and where each begins.
//!
//! A record is a length of four bytes, little endian, and so many bytes of JSON, packed by zlib or gzip: which of the
//! two is told by the first bytes. The offsets of a layer number one more than its features; two equal ones, or a length
//! of zero, mean that nothing is known about a feature.

use super::{LARGEST_RECORD, bounded, too_large};
use crate::FormatError;
use crate::confined::file_inside;
use crate::error::Problem;
use circuit_index::{FeatureIndex, Layer};
use flate2::read::{GzDecoder, ZlibDecoder};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The index's name in the folder of a packed set.
pub const PACKED_INDEX: &str = "index.json.gz";

/// The most that an index may take as JSON: ten million offsets and more.
const LARGEST_INDEX: u64 = 256 << 20;

/// Where the records of a set are. The files with the records are opened when one is asked for.
#[derive(Debug)]
pub struct PackedFeatures {
    folder: PathBuf,
    index: PackedIndex,
}

/// The index of packed records: which bytes of which file hold each, wherever those files are.
#[derive(Debug)]
pub struct PackedIndex {
    layers: BTreeMap<u32, Entry>,
}

/// One layer of the index.
#[derive(Debug, Deserialize)]
struct Entry {
    filename: String,
    offsets: Vec<u64>,
}

impl PackedIndex {
    /// Reads an index as it is stored; `path` is for messages.
    ///
    /// # Errors
    /// If it is not as described above, or unpacks to more than 256 MiB.
    pub fn read(path: &Path, stored: impl Read) -> Result<Self, FormatError> {
        let mut limited = Limited { from: GzDecoder::new(BufReader::new(stored)), left: LARGEST_INDEX };
        let index: Result<Index, _> =
            serde_json::from_reader(BufReader::with_capacity(1 << 16, &mut limited));
        let index = index.map_err(|source| FormatError::Json {
            path: path.into(),
            expected: "an index of features: for each layer a filename and offsets",
            source,
        })?;
        for (layer, entry) in &index.0 {
            if !entry.offsets.is_sorted() {
                let found = "a smaller one after a greater one";
                return Err(Problem::new(format_args!("layer {layer}"), "ascending offsets", found).at(path));
            }
        }
        Ok(Self { layers: index.0 })
    }

    /// How many features a layer has in the index, known or not.
    #[must_use]
    pub fn n_features(&self, layer: Layer) -> usize {
        self.layers.get(&layer.0).map_or(0, |entry| entry.offsets.len().saturating_sub(1))
    }

    /// The file (as the index names it) and the bytes in it that hold a feature's record; `None` if nothing is known about it.
    ///
    /// # Errors
    /// If there are more than a record may have.
    pub fn place(
        &self,
        layer: Layer,
        index: FeatureIndex,
    ) -> Result<Option<(&str, Range<u64>)>, FormatError> {
        let Some(entry) = self.layers.get(&layer.0) else { return Ok(None) };
        let at = index.get();
        let (Some(&start), Some(&end)) = (entry.offsets.get(at), entry.offsets.get(at + 1)) else {
            return Ok(None);
        };
        if end - start > LARGEST_RECORD {
            return Err(too_large(what(index)).at(Path::new(&entry.filename)));
        }
        Ok((start != end).then_some((entry.filename.as_str(), start..end)))
    }
}

/// A record as it is stored, unpacked; `path` is for messages. `None` if nothing is known about the feature.
///
/// # Errors
/// If the bytes are none of a record.
pub fn unpack_record(
    path: &Path,
    index: FeatureIndex,
    stored: &[u8],
) -> Result<Option<Vec<u8>>, FormatError> {
    unpack(stored).map_err(|problem| match problem {
        Damage::Length { stated, found } => {
            let expected = format!("{stated} packed bytes");
            Problem::new(what(index), expected, format_args!("{found}")).at(path)
        }
        Damage::Packing(e) => Problem::new(what(index), "zlib or gzip", e).at(path),
        Damage::TooLarge => too_large(what(index)).at(path),
    })
}

fn what(index: FeatureIndex) -> String {
    format!("record of feature {index}")
}

impl PackedFeatures {
    /// Reads the index in `folder`.
    ///
    /// # Errors
    /// If it cannot be read, is not as described above, or unpacks to more than 256 MiB.
    pub fn open(folder: &Path) -> Result<Self, FormatError> {
        let path = folder.join(PACKED_INDEX);
        let file = File::open(&path).map_err(FormatError::io(&path, "read"))?;
        Ok(Self { folder: folder.into(), index: PackedIndex::read(&path, file)? })
    }

    /// How many features a layer has in the index, known or not.
    #[must_use]
    pub fn n_features(&self, layer: Layer) -> usize {
        self.index.n_features(layer)
    }

    /// The record of a feature, unpacked; `None` if nothing is known about it.
    ///
    /// # Errors
    /// If the file that should hold the record is not there, ends early, or holds something else there.
    pub fn record(&self, layer: Layer, index: FeatureIndex) -> Result<Option<Vec<u8>>, FormatError> {
        let Some((filename, range)) = self.index.place(layer, index)? else { return Ok(None) };
        let path = self.folder.join(filename);
        let failed = |e| FormatError::io(&path, "read")(e);
        let Some(real) = file_inside(&self.folder, Path::new(filename)).map_err(failed)? else {
            return Err(Problem::new("the file", "one in the folder of its index", "none").at(&path));
        };
        let mut file = File::open(real).map_err(failed)?;
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut packed = Vec::new();
        file.take(range.end - range.start).read_to_end(&mut packed).map_err(failed)?;
        unpack_record(&path, index, &packed)
    }
}

enum Damage {
    Length { stated: u64, found: usize },
    Packing(io::Error),
    TooLarge,
}

/// A record without its length and packing.
fn unpack(bytes: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
    let Some((length, packed)) = bytes.split_first_chunk::<4>() else {
        return Err(Damage::Length { stated: 4, found: bytes.len() });
    };
    let stated = u32::from_le_bytes(*length);
    if stated == 0 {
        return Ok(None);
    }
    let Some(packed) = packed.get(..stated as usize) else {
        return Err(Damage::Length { stated: stated.into(), found: packed.len() });
    };
    let record = if packed.starts_with(&[0x1f, 0x8b]) {
        bounded(GzDecoder::new(packed), LARGEST_RECORD)
    } else {
        bounded(ZlibDecoder::new(packed), LARGEST_RECORD)
    };
    match record.map_err(Damage::Packing)? {
        Some(record) => Ok(Some(record)),
        None => Err(Damage::TooLarge),
    }
}

/// A reader that fails, rather than end, where more comes than it may.
struct Limited<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other("it unpacks to more than 256 MiB")),
        }
        Ok(n)
    }
}

/// Layers by number: a list, or an object whose keys are the numbers. Other keys are not ours.
struct Index(BTreeMap<u32, Entry>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Layers;
        impl<'de> Visitor<'de> for Layers {
            type Value = BTreeMap<u32, Entry>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of layers, or an object with one key for each")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut layers = BTreeMap::new();
                let mut number = 0;
                while let Some(entry) = list.next_element::<Option<Entry>>()? {
                    layers.extend(entry.map(|entry| (number, entry)));
                    number += 1;
                }
                Ok(layers)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut layers = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.parse() {
                        Ok(number) => layers.extend(map.next_value::<Option<Entry>>()?.map(|e| (number, e))),
                        Err(_) => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(layers)
            }
        }
        from.deserialize_any(Layers).map(Self)
    }
}
