//! The header of a safetensors file: eight bytes of length, then JSON that says where each tensor lies.
//!
//! Checked before anything is read or allocated: every tensor's bytes fit its type and shape, and together they cover the
//! rest of the file without gap or overlap, as the format asks.

use crate::bytes::Dtype;
use crate::error::Problem;
use serde::Deserialize;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// The limit of the safetensors library itself.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A tensor to be written.
pub(super) struct OutTensor<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: &'a str,
    pub(super) shape: &'a [usize],
}

/// The bytes before the tensors, which must follow in the same order.
pub(super) fn encode(
    metadata: &BTreeMap<&'static str, String>,
    tensors: &[OutTensor<'_>],
) -> serde_json::Result<Vec<u8>> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut start = 0;
    for t in tensors {
        let end = start + t.shape.iter().product::<usize>() * if t.dtype == "I64" { 8 } else { 4 };
        let entry = json!({ "dtype": t.dtype, "shape": t.shape, "data_offsets": [start, end] });
        header.insert(t.name.into(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&header)?;
    // Padded with spaces so that the tensors begin at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() as u64 > MAX_HEADER_BYTES {
        return Err(serde::ser::Error::custom(format_args!("prompt and labels take {} bytes", text.len())));
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    Ok(bytes)
}

/// A checked header.
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Entry>,
    /// Where the tensors begin in the file.
    body: u64,
}

/// Where a tensor lies.
#[derive(Deserialize)]
pub(super) struct Entry {
    dtype: String,
    pub(super) shape: Vec<usize>,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads and checks the header of a file of `len` bytes.
    pub(super) fn read(input: &mut impl Read, len: u64) -> Result<Self, Problem> {
        let bad = |expected: &str, found: String| Problem::new("safetensors header", expected, found);
        let mut bytes = [0; 8];
        input.read_exact(&mut bytes).map_err(|_| bad("at least 8 bytes", format!("{len}")))?;
        let size = u64::from_le_bytes(bytes);
        let limit = MAX_HEADER_BYTES.min(len.saturating_sub(8));
        if size > limit {
            return Err(bad(
                &format!("at most {limit} bytes in a file of {len}"),
                format!("a claim of {size}"),
            ));
        }
        let mut text = Vec::new();
        input.take(size).read_to_end(&mut text).map_err(|e| bad("readable bytes", e.to_string()))?;
        let wire: Wire = serde_json::from_slice(&text)
            .map_err(|e| bad("JSON that says type, shape and place of each tensor", e.to_string()))?;
        let header = Self { metadata: wire.metadata, tensors: wire.tensors, body: 8 + size };
        header.check_places(len - header.body)?;
        Ok(header)
    }

    /// Tensors lie one after the other and fill the file.
    fn check_places(&self, body_len: u64) -> Result<(), Problem> {
        let mut entries: Vec<_> = self.tensors.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.data_offsets);
        let mut next = 0;
        for (name, entry) in entries {
            let (start, end) = entry.data_offsets;
            if start != next || end < start {
                let expected = format_args!("a place from byte {next} on, without gap or overlap");
                return Err(Problem::new(tensor(name), expected, format_args!("bytes {start} to {end}")));
            }
            if end > body_len {
                let expected = format_args!("at least {end} bytes of tensors in the file");
                return Err(Problem::new(
                    tensor(name),
                    expected,
                    format_args!("{body_len}: the file is cut off"),
                ));
            }
            next = end;
        }
        if next != body_len {
            return Err(Problem::new("tensors", format_args!("{next} bytes in all"), body_len));
        }
        Ok(())
    }

    /// A tensor that must be there.
    pub(super) fn tensor(&self, name: &str) -> Result<&Entry, Problem> {
        self.tensors.get(name).ok_or_else(|| {
            let there: Vec<_> = self.tensors.keys().take(16).map(String::as_str).collect();
            let there = if there.is_empty() {
                "no tensor at all".into()
            } else {
                format!("only {}", there.join(", "))
            };
            Problem::new(tensor(name), "such a tensor", there)
        })
    }

    /// Goes to a tensor of known type and shape; says how to read it and how many values it has.
    pub(super) fn seek(
        &self,
        input: &mut impl Seek,
        name: &str,
        dtype: &str,
        shape: &[usize],
    ) -> Result<(Dtype, usize), Problem> {
        let entry = self.tensor(name)?;
        if entry.dtype != dtype || entry.shape != shape {
            let found = format_args!("{} of shape {:?}", entry.dtype, entry.shape);
            return Err(Problem::new(tensor(name), format_args!("{dtype} of shape {shape:?}"), found));
        }
        let known = if dtype == "I64" { Dtype::I64 } else { Dtype::F32 };
        let (start, end) = entry.data_offsets;
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        // `end` lies in the file, so a number of values that fits it is no absurd one.
        let bytes = n.and_then(|n| n.checked_mul(known.bytes()));
        let Some(n) = n.filter(|_| bytes.map(|b| b as u64) == Some(end - start)) else {
            let expected = format_args!("the bytes of {dtype} of shape {shape:?}");
            return Err(Problem::new(tensor(name), expected, format_args!("{} bytes", end - start)));
        };
        let at = self.body + start;
        input
            .seek(SeekFrom::Start(at))
            .map_err(|e| Problem::new(tensor(name), format_args!("byte {at}"), e))?;
        Ok((known, n))
    }
}

fn tensor(name: &str) -> String {
    format!("tensor `{name}`")
}
