//! NumPy's `.npz`: a zip of `.npy` arrays, stored or deflated.
//!
//! Stored arrays are used where they lie in the mapped file; a deflated one is inflated when its values are asked for, into
//! memory of the size that its header states and the caller expects. Nothing of the file is believed: sizes, names and
//! headers are checked against each other before anything is allocated. Arrays of objects (pickles) are refused like every
//! other type that nobody computes with.

use crate::TorchError;
use crate::files::{Data, Entry};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use tch::Kind;
use zip::{CompressionMethod, ZipArchive};

/// How every zip with an entry begins.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

/// Arrays in one file; a layer of weights has a handful.
pub(crate) const MAX_ENTRIES: usize = 1024;
/// Bytes of an array's header; NumPy writes about a hundred.
const MAX_HEADER: usize = 1 << 16;
/// DEFLATE packs no tighter than this, so an entry that claims more is not what it says.
const MAX_RATIO: u64 = 1032;

/// The arrays of a mapped file, by their names without `.npy`.
pub(crate) fn entries(path: &Path, map: &[u8]) -> Result<BTreeMap<String, Entry>, TorchError> {
    read(map).map_err(|reason| TorchError::Npz { path: path.into(), reason })
}

fn read(map: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let mut archive = ZipArchive::new(Cursor::new(map)).map_err(|e| e.to_string())?;
    if archive.len() > MAX_ENTRIES {
        return Err(format!("it has {} entries, expected at most {MAX_ENTRIES}", archive.len()));
    }
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|e| e.to_string())?;
        let name = entry_name(&file.name().map_err(|e| e.to_string())?)?;
        let (size, packed, method) = (file.size(), file.compressed_size(), file.compression());
        let start = file.data_start();
        let header = Header::read(&mut file).map_err(|reason| format!("array `{name}`: {reason}"))?;
        let mismatch = |claim: String| Err(format!("array `{name}`: {claim}, the entry has {size} bytes"));
        let Some(len) = header.data_len() else {
            return mismatch(format!("an absurd shape {:?}", header.shape));
        };
        if header.kind.is_some() && (header.len as u64).checked_add(len) != Some(size) {
            return mismatch(format!(
                "{} of shape {:?} and a header of {}",
                header.dtype, header.shape, header.len
            ));
        }
        let data = match method {
            CompressionMethod::Stored => {
                let start = start.and_then(|start| usize::try_from(start).ok()?.checked_add(header.len));
                let range =
                    start.and_then(|start| Some(start..start.checked_add(usize::try_from(len).ok()?)?));
                match range.filter(|range| packed == size && range.end <= map.len()) {
                    Some(range) => Data::Mapped(range),
                    None => return mismatch(format!("{packed} bytes stored")),
                }
            }
            CompressionMethod::Deflated if size <= packed.saturating_mul(MAX_RATIO) => Data::Deflated {
                index,
                header: header.len,
                len: usize::try_from(len).map_err(|e| e.to_string())?,
            },
            CompressionMethod::Deflated => return mismatch(format!("{packed} bytes deflated")),
            other => return Err(format!("array `{name}` is packed by {other}, expected stored or deflated")),
        };
        let Header { kind, dtype, shape, fortran, .. } = header;
        if entries.insert(name.clone(), Entry { kind, dtype, shape, fortran, data }).is_some() {
            return Err(format!("two arrays are called `{name}`"));
        }
    }
    Ok(entries)
}

/// The array's name in that of an entry.
pub(crate) fn entry_name(entry: &str) -> Result<String, String> {
    match entry.strip_suffix(".npy") {
        Some(name) => Ok(name.into()),
        None if entry.ends_with("/data.pkl") => Err(
            "it is a PyTorch checkpoint (a zip with a pickle in it); a safetensors or .npz file is needed"
                .into(),
        ),
        None => Err(format!("entry `{entry}` is no .npy array")),
    }
}

/// The values of a deflated array.
pub(crate) fn inflate(
    path: &Path,
    map: &[u8],
    index: usize,
    header: usize,
    len: usize,
) -> Result<Vec<u8>, TorchError> {
    let inflate = || -> Result<Vec<u8>, String> {
        let mut archive = ZipArchive::new(Cursor::new(map)).map_err(|e| e.to_string())?;
        let mut file = archive.by_index(index).map_err(|e| e.to_string())?;
        std::io::copy(&mut file.by_ref().take(header as u64), &mut std::io::sink())
            .map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|e| e.to_string())?;
        file.by_ref().take(len as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        // The end of the entry is where its checksum is compared.
        let more = file.read(&mut [0]).map_err(|e| e.to_string())?;
        match bytes.len() == len && more == 0 {
            true => Ok(bytes),
            false => Err(format!("entry {index} does not hold the {len} bytes that its header states")),
        }
    };
    inflate().map_err(|reason| TorchError::Npz { path: path.into(), reason })
}

/// The header of a `.npy` array: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    kind: Option<Kind>,
    /// As NumPy writes it.
    pub(crate) dtype: String,
    fortran: bool,
    pub(crate) shape: Vec<i64>,
    /// Its own length, bytes.
    len: usize,
}

impl Header {
    pub(crate) fn read(file: &mut impl Read) -> Result<Self, String> {
        let mut take = |n: usize| -> Result<Vec<u8>, String> {
            let mut bytes = vec![0; n];
            file.read_exact(&mut bytes).map(|()| bytes).map_err(|e| format!("its header: {e}"))
        };
        let start = take(8)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("it does not begin as a .npy array does".into());
        }
        let (before, len) = match start[6] {
            1 => (10, take(2)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))),
            2 | 3 => (12, take(4)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))),
            version => return Err(format!("version {version} of .npy is not known")),
        };
        if len > MAX_HEADER {
            return Err(format!("its header claims {len} bytes"));
        }
        let text = take(len)?;
        let text = std::str::from_utf8(&text).map_err(|e| format!("its header: {e}"))?;
        let parsed = Self::parse(text, before + len);
        parsed.ok_or_else(|| format!("its header is not understood: {}", text.trim().escape_debug()))
    }

    fn parse(text: &str, len: usize) -> Option<Self> {
        let quoted = |text: &'_ str| -> Option<(String, String)> {
            let (inside, rest) = text.strip_prefix('\'')?.split_once('\'')?;
            Some((inside.to_owned(), rest.trim_start().to_owned()))
        };
        let (mut dtype, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim().to_owned();
        while !rest.is_empty() {
            let (key, after) = quoted(&rest)?;
            let value = after.strip_prefix(':')?.trim_start();
            let (fresh, after) = match key.as_str() {
                "descr" => {
                    let (text, after) = quoted(value)?;
                    (dtype.replace(text).is_none(), after)
                }
                "fortran_order" => {
                    let yes = value.strip_prefix("True").map(|after| (true, after));
                    let (flag, after) = yes.or_else(|| Some((false, value.strip_prefix("False")?)))?;
                    (fortran.replace(flag).is_none(), after.to_owned())
                }
                "shape" => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
                    let sizes =
                        sizes.map(|size| size.parse::<u32>().ok().map(i64::from)).collect::<Option<_>>()?;
                    (shape.replace(sizes).is_none(), after.to_owned())
                }
                _ => return None,
            };
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start().to_owned();
            if !fresh {
                return None;
            }
        }
        let (dtype, fortran, shape) = (dtype?, fortran?, shape?);
        let kind = match dtype.as_str() {
            "<f8" => Some(Kind::Double),
            "<f4" => Some(Kind::Float),
            "<f2" => Some(Kind::Half),
            "<i8" => Some(Kind::Int64),
            "|u1" => Some(Kind::Uint8),
            _ => None,
        };
        Some(Self { kind, dtype, fortran, shape, len })
    }

    /// How many bytes of values there should be; 0 for a type that nobody computes with.
    fn data_len(&self) -> Option<u64> {
        let width = self.kind.map_or(0, |kind| kind.elt_size_in_bytes() as u64);
        self.shape.iter().try_fold(width, |n, &size| n.checked_mul(size as u64))
    }
}

#[cfg(test)]
mod tests {
    use crate::{TensorFile, TorchError};
    use std::io::Write;
    use tch::{Kind, Tensor};
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    const NUMBERS: [f32; 6] = [0.5, 1.5, -2.0, 3.0, 4.25, 1e-9];

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        // Padded to a multiple of 64 bytes, as NumPy does it.
        let padded = format!("{header:0$}\n", (header.len() + 11).next_multiple_of(64) - 11);
        let len = u16::try_from(padded.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], padded.as_bytes(), data].concat()
    }

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn zip(entries: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn open(bytes: &[u8]) -> Result<TensorFile, TorchError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.npz");
        std::fs::write(&path, bytes).unwrap();
        TensorFile::open(&path)
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, TorchError>, parts: &[&str]) {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("params.npz"), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn arrays_are_read_stored_and_deflated() {
        let expected = Tensor::from_slice(&NUMBERS).view([2, 3]);
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let turned = HEADER.replace("False", "True").replace("(2, 3)", "(3, 2)");
            let vector = HEADER.replace("(2, 3)", "(6,)");
            let file = open(&zip(
                &[
                    ("W_enc.npy", npy(HEADER, &bytes(&NUMBERS))),
                    ("turned.npy", npy(&turned, &bytes(&NUMBERS))),
                    ("b_enc.npy", npy(&vector, &bytes(&NUMBERS))),
                ],
                method,
            ))
            .unwrap();
            assert_eq!(file.names().collect::<Vec<_>>(), ["W_enc", "b_enc", "turned"]);
            assert_eq!(file.shape("turned"), Some([3, 2].as_slice()));
            assert_eq!(file.tensor("W_enc", &[2, 3]).unwrap(), expected);
            assert_eq!(file.tensor("turned", &[3, 2]).unwrap(), expected.tr());
            assert_eq!(file.tensor("b_enc", &[6]).unwrap(), expected.view([6]));
            refused(file.tensor("W_enc", &[3, 2]), &["`W_enc`", "[2, 3]", "[3, 2]"]);
            refused(file.tensor("W_dec", &[2, 3]), &["`W_dec`", "turned"]);
        }
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        let one = |header: &str, data: &[u8]| {
            open(&zip(&[("a.npy", npy(header, data))], CompressionMethod::Stored))
        };
        let data = bytes(&NUMBERS);
        assert!(one(HEADER, &data).is_ok());
        for (from, to) in [("'<f4'", "'>f4'"), ("'<f4'", "'|O'"), ("'<f4'", "'<c8'")] {
            refused(
                one(&HEADER.replace(from, to), &data).unwrap().tensor("a", &[2, 3]),
                &["`a`", "expected F32"],
            );
        }
        for header in ["", "{}", "{'descr': '<f4'}", "[1]", &format!("{HEADER}{HEADER}"), &HEADER[..30]] {
            refused(one(header, &data), &["`a`", "header"]);
        }
        let lies = [
            ("(2, 3)", "(2, 4)"),
            ("(2, 3)", "(2, -3)"),
            ("(2, 3)", "(4294967295, 4294967295, 4294967295)"),
            ("(2, 3)", "(99999999999999999999,)"),
            ("'shape'", "'form'"),
            ("'shape'", "'descr'"),
            ("'<f4'", "[('x', '<f4')]"),
            ("False", "Perhaps"),
        ];
        for (from, to) in lies {
            refused(one(&HEADER.replace(from, to), &data), &["`a`"]);
        }
        let raw =
            |name: &str, bytes: &[u8]| open(&zip(&[(name, bytes.to_vec())], CompressionMethod::Deflated));
        refused(raw("a.txt", b"hello"), &["a.txt", "no .npy array"]);
        refused(raw("a.npy", b"hello"), &["`a`"]);
        refused(raw("a.npy", b"\x93NUMPZ\x01\x00\x00\x00"), &["does not begin"]);
        refused(raw("a.npy", b"\x93NUMPY\x09\x00\x00\x00"), &["version 9"]);
        refused(raw("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), &["4294967295 bytes"]);
    }

    #[test]
    fn damaged_files_are_refused_wherever_the_damage_is() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let good = zip(&[("a.npy", npy(HEADER, &bytes(&NUMBERS)))], method);
            for cut in 4..good.len() {
                refused(open(&good[..cut]), &["npz"]);
            }
            // A changed byte is found, or changes nothing but values (which stored arrays do not sum up) or dates.
            for at in 4..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                if let Ok(file) = open(&bad) {
                    for name in file.names() {
                        let shape = file.shape(name).unwrap().to_vec();
                        let tensor = file.tensor(name, &shape);
                        assert!(tensor.is_err() || tensor.unwrap().numel() <= 6, "byte {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_entry_that_claims_more_than_it_holds_costs_no_memory() {
        // A deflated entry whose zip record claims 2 GiB: the claim is no more than DEFLATE could hold only if there are
        // megabytes of it.
        let header = HEADER.replace("(2, 3)", "(536870880,)");
        let array = npy(&header, &bytes(&NUMBERS));
        let mut bad = zip(&[("a.npy", array.clone())], CompressionMethod::Deflated);
        let (true_size, claim) =
            ((array.len() as u32).to_le_bytes(), (536_870_880u32 * 4 + 128).to_le_bytes());
        let places: Vec<_> = (0..bad.len() - 4).filter(|&i| bad[i..i + 4] == true_size).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&i| bad[i..i + 4].copy_from_slice(&claim));
        refused(open(&bad), &["`a`", "deflated"]);
        // The values are inflated only to the length that the header states.
        let zeros = npy(&HEADER.replace("(2, 3)", "(1000000,)"), &vec![0; 4_000_000]);
        let file = open(&zip(&[("a.npy", zeros)], CompressionMethod::Deflated)).unwrap();
        let sum = file.tensor("a", &[1_000_000]).unwrap().abs().sum(Kind::Float);
        assert_eq!(sum.double_value(&[]), 0.0);
    }
}
