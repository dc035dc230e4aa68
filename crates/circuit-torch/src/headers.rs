//! What a tensor file says about its tensors: names, types, shapes, sizes. Reads headers alone, from anything that can be read
//! here and there, such as a file that lies on a server.
//!
//! Not here: values; see [`crate::TensorFile`].

use crate::files::MAX_HEADER_BYTES;
use crate::npz::{Header, MAGIC, MAX_ENTRIES};
use safetensors::tensor::{Metadata, TensorInfo};
use std::io::{Read, Seek, SeekFrom};
use zip::ZipArchive;

/// What a header says about a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHeader {
    /// Its name.
    pub name: String,
    /// Its type, as the file names it.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// What it takes in the file, bytes.
    pub bytes: u64,
}

/// The tensors of a safetensors or `.npz` file, sorted by name.
///
/// # Errors
/// What is wrong with the file, or why it cannot be read.
pub fn tensor_headers(mut file: impl Read + Seek) -> Result<Vec<StoredHeader>, String> {
    let len = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    file.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    if len < 8 {
        return Err(format!("it has {len} bytes; the header alone needs 8"));
    }
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|e| e.to_string())?;
    let mut tensors = match start.starts_with(MAGIC) {
        true => npz(file)?,
        false => safetensors(file, start, len)?,
    };
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn safetensors(file: impl Read, start: [u8; 8], len: u64) -> Result<Vec<StoredHeader>, String> {
    let header = u64::from_le_bytes(start);
    if header > MAX_HEADER_BYTES || header > len - 8 {
        return Err(format!("its header claims {header} bytes in a file of {len}"));
    }
    let mut bytes = Vec::new();
    file.take(header).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    // The package's own reader wants the values too.
    let metadata: Metadata = serde_json::from_slice(&bytes).map_err(|e| format!("its header: {e}"))?;
    let tensor = |(name, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        let shape = info.shape.iter().map(|&n| i64::try_from(n)).collect::<Result<_, _>>();
        let shape = shape.map_err(|_| format!("tensor `{name}` has an absurd shape {:?}", info.shape))?;
        if start > end || end as u64 > len - 8 - header {
            return Err(format!("tensor `{name}` lies outside the file"));
        }
        Ok(StoredHeader { name, dtype: format!("{:?}", info.dtype), shape, bytes: (end - start) as u64 })
    };
    metadata.tensors().into_iter().map(tensor).collect()
}

fn npz(file: impl Read + Seek) -> Result<Vec<StoredHeader>, String> {
    let mut archive = ZipArchive::new(file).map_err(|e| e.to_string())?;
    if archive.len() > MAX_ENTRIES {
        return Err(format!("it has {} entries, expected at most {MAX_ENTRIES}", archive.len()));
    }
    let mut tensors = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        let name =
            name.strip_suffix(".npy").ok_or_else(|| format!("entry `{name}` is no .npy array"))?.to_owned();
        let bytes = entry.compressed_size();
        let header = Header::read(&mut entry).map_err(|reason| format!("array `{name}`: {reason}"))?;
        tensors.push(StoredHeader { name, dtype: header.dtype, shape: header.shape, bytes });
    }
    Ok(tensors)
}
