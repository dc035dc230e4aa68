//! Packed feature records, written: what `packed.rs` reads.
//!
//! A feature without a record is a length of zero, so that a file says by itself where its records begin: a run that was
//! cut off finds the layers that are done.

use super::PACKED_INDEX;
use crate::{FormatError, write_atomically};
use circuit_index::Layer;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

fn file_name(layer: Layer) -> String {
    format!("layer_{layer}.bin")
}

/// Writes the records of a layer, one JSON text or none for each feature; gives their offsets, one more than features.
///
/// # Errors
/// If the file cannot be written.
pub fn write_packed_layer(
    folder: &Path,
    layer: Layer,
    records: impl Iterator<Item = Option<Vec<u8>>>,
) -> Result<Vec<u64>, FormatError> {
    write_atomically(&folder.join(file_name(layer)), |out| {
        let mut offsets = vec![0];
        let mut at = 0;
        for record in records {
            let packed = match record {
                Some(record) => gzip(&record)?,
                None => Vec::new(),
            };
            let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&packed)?;
            at += 4 + packed.len() as u64;
            offsets.push(at);
        }
        Ok(offsets)
    })
}

/// The offsets of a layer that [`write_packed_layer`] wrote before; `None` if there is no such file, or one that does not hold
/// exactly `n_features` records.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn packed_offsets(
    folder: &Path,
    layer: Layer,
    n_features: usize,
) -> Result<Option<Vec<u64>>, FormatError> {
    let path = folder.join(file_name(layer));
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(FormatError::io(&path, "read"))?,
    };
    let walk = || -> io::Result<Option<Vec<u64>>> {
        let size = file.metadata()?.len();
        let mut file = BufReader::new(&file);
        let (mut offsets, mut at) = (vec![0], 0);
        while at < size {
            let mut length = [0; 4];
            if file.read_exact(&mut length).is_err() {
                return Ok(None);
            }
            let length = u32::from_le_bytes(length);
            file.seek_relative(length.into())?;
            at += 4 + u64::from(length);
            offsets.push(at);
        }
        Ok((at == size && offsets.len() == n_features + 1).then_some(offsets))
    };
    walk().map_err(FormatError::io(&path, "read"))
}

/// Writes the index of a set: the offsets of each layer, the first layer's first. Written last, it makes the set whole.
///
/// # Errors
/// If the file cannot be written.
pub fn write_packed_index(folder: &Path, offsets: &[Vec<u64>]) -> Result<(), FormatError> {
    let layers = offsets.iter().enumerate();
    let layers =
        layers.map(|(l, offsets)| serde_json::json!({"filename": file_name(l.into()), "offsets": offsets}));
    let index = serde_json::Value::from_iter(layers);
    write_atomically(&folder.join(PACKED_INDEX), |out| out.write_all(&gzip(index.to_string().as_bytes())?))
}

/// Packed without a time, so that the same records are the same bytes.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackedFeatures;
    use circuit_index::FeatureIndex;

    #[test]
    fn first_last_and_empty_records_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let records = [Some(b"{\"index\":0}".to_vec()), None, Some(vec![b'7'; 5000])];
        let offsets = write_packed_layer(folder.path(), Layer(0), records.clone().into_iter()).unwrap();
        let none = write_packed_layer(folder.path(), Layer(1), [None].into_iter()).unwrap();
        assert_eq!(packed_offsets(folder.path(), Layer(0), 3).unwrap().as_ref(), Some(&offsets));
        assert_eq!(packed_offsets(folder.path(), Layer(0), 2).unwrap(), None, "another number of features");
        assert_eq!(packed_offsets(folder.path(), Layer(5), 3).unwrap(), None, "no file");
        write_packed_index(folder.path(), &[offsets, none]).unwrap();
        let read = PackedFeatures::open(folder.path()).unwrap();
        for (i, record) in records.into_iter().enumerate() {
            assert_eq!(read.record(Layer(0), FeatureIndex::from(i)).unwrap(), record);
        }
        assert_eq!(read.record(Layer(1), FeatureIndex(0)).unwrap(), None);
        assert_eq!((read.n_features(Layer(0)), read.n_features(Layer(1))), (3, 1));
    }

    #[test]
    fn a_file_that_ends_early_is_not_taken_as_done() {
        let folder = tempfile::tempdir().unwrap();
        write_packed_layer(folder.path(), Layer(0), [Some(vec![1; 90]), None].into_iter()).unwrap();
        let path = folder.path().join("layer_0.bin");
        let bytes = std::fs::read(&path).unwrap();
        for len in [1, 3, bytes.len() - 5, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert_eq!(packed_offsets(folder.path(), Layer(0), 2).unwrap(), None, "{len} bytes");
        }
    }
}
