//! Feature records: what is known about one feature of a transcoder, examples and all, as JSON.
//!
//! They come packed ([`PackedFeatures`]: one index, one file per layer) or as one JSON file each ([`read_feature_json`]).
//! Only where a record begins and ends is known here; what is in it is the page's business and is handed on as it is
//! stored. Everything is bounded: a record that unpacks to gigabytes is refused, not unpacked.

mod packed;
mod write;

pub use packed::{PACKED_INDEX, PackedFeatures, PackedIndex, unpack_record};
pub use write::{packed_offsets, write_packed_index, write_packed_layer};

use crate::confined::file_inside;
use crate::{FormatError, feature_number};
use circuit_index::{FeatureIndex, Layer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most that a record may take as JSON; real ones take some tens of kilobytes.
const LARGEST_RECORD: u64 = 64 << 20;

/// The record of a feature in a folder of single files `<Cantor number>.json`; `None` if there is none.
///
/// # Errors
/// If the file is too large or cannot be read.
pub fn read_feature_json(
    folder: &Path,
    layer: Layer,
    index: FeatureIndex,
) -> Result<Option<Vec<u8>>, FormatError> {
    let Some(number) = feature_number(layer, index) else { return Ok(None) };
    let name = format!("{number}.json");
    let path = folder.join(&name);
    let Some(found) = file_inside(folder, Path::new(&name)).map_err(FormatError::io(&path, "read"))? else {
        return Ok(None);
    };
    let file = File::open(found).map_err(FormatError::io(&path, "read"))?;
    let record = bounded(file, LARGEST_RECORD).map_err(FormatError::io(&path, "read"))?;
    match record {
        Some(record) => Ok(Some(record)),
        None => Err(too_large("the file").at(&path)),
    }
}

/// All that a reader gives, `None` if that is more than `limit`.
fn bounded(from: impl Read, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn too_large(what: impl std::fmt::Display) -> crate::error::Problem {
    crate::error::Problem::new(what, format_args!("at most {LARGEST_RECORD} bytes"), "more")
}
