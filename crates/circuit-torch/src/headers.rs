//! What a tensor file says about its tensors: names, types, shapes, sizes. Reads headers alone, from anything that can be read
//! here and there, such as a file that lies on a server.
//!
//! Not here: values; see [`crate::TensorFile`].

use crate::npz::{Header, MAGIC, MAX_ENTRIES, entry_name};
use crate::recognise::recognised;
use crate::safetensors_header;
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

/// The tensors of a safetensors or `.npz` file, sorted by name. The verdict is that of [`crate::TensorFile::open`].
///
/// # Errors
/// What is wrong with the file, or why it cannot be read.
pub fn tensor_headers(mut file: impl Read + Seek) -> Result<Vec<StoredHeader>, String> {
    let len = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    file.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    let mut start = Vec::new();
    file.by_ref().take(START).read_to_end(&mut start).map_err(|e| e.to_string())?;
    let mut tensors = match start.first_chunk() {
        _ if start.starts_with(MAGIC) => npz(file)?,
        None => return Err(too_short(&start)),
        Some(&first) => {
            let header = safetensors_header::header_len(first, len);
            let tensors = header.and_then(|header| safetensors(&mut file, header, len - 8 - header));
            tensors.map_err(|reason| recognised(&start).map_or(reason, str::to_owned))?
        }
    };
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// So much of a file tells what it is.
pub(crate) const START: u64 = 64;

/// What is wrong with a file that has no room for the length of a header.
pub(crate) fn too_short(bytes: &[u8]) -> String {
    let len = bytes.len();
    recognised(bytes).map_or_else(|| format!("it has {len} bytes; the header alone needs 8"), str::to_owned)
}

fn safetensors(
    file: &mut (impl Read + Seek),
    header: u64,
    data_len: u64,
) -> Result<Vec<StoredHeader>, String> {
    file.seek(SeekFrom::Start(8)).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(header).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let tensors = safetensors_header::read(&bytes, data_len)?;
    let stored = |tensor: safetensors_header::Listed| StoredHeader {
        name: tensor.name,
        dtype: tensor.dtype.into(),
        shape: tensor.shape,
        bytes: tensor.end - tensor.start,
    };
    Ok(tensors.into_iter().map(stored).collect())
}

fn npz(file: impl Read + Seek) -> Result<Vec<StoredHeader>, String> {
    let mut archive = ZipArchive::new(file).map_err(|e| e.to_string())?;
    if archive.len() > MAX_ENTRIES {
        return Err(format!("it has {} entries, expected at most {MAX_ENTRIES}", archive.len()));
    }
    let mut tensors = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| e.to_string())?;
        let name = entry_name(&entry.name().map_err(|e| e.to_string())?)?;
        let bytes = entry.compressed_size();
        let header = Header::read(&mut entry).map_err(|reason| format!("array `{name}`: {reason}"))?;
        tensors.push(StoredHeader { name, dtype: header.dtype, shape: header.shape, bytes });
    }
    Ok(tensors)
}
