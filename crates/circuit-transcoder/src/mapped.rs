//! Writing safetensors files, of a set or of results, a piece at a time: however large a tensor is, little of it is held.
//!
//! What goes into a file, and under which names, is for the caller to say. Where the bytes go, and that a file is there whole or not
//! at all, too.

use crate::TranscoderError;
use circuit_torch::Stored;
use serde_json::{Map, json};
use std::io::{self, Write};
use std::path::PathBuf;
use tch::{Device, Kind};

/// Bytes of a tensor that are copied at once.
const PIECE: usize = 1 << 25;

/// A file to be written.
#[derive(Debug)]
pub struct MappedFile {
    name: String,
    tensors: Vec<(String, Stored)>,
}

impl MappedFile {
    /// A file of this name with these tensors, in this order.
    #[must_use]
    pub fn new(name: String, tensors: Vec<(String, Stored)>) -> Self {
        Self { name, tensors }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the file, matrices in the type `kind` where one is given: vectors are small, and a rounded threshold would switch
    /// features on or off. Thresholds of infinity are kept; any other value that is no number is refused, also one that is too
    /// large for the type.
    ///
    /// # Errors
    /// What `out` says; or, of the kind `InvalidData`, a [`TranscoderError`] about a tensor.
    pub fn write(&self, kind: Option<Kind>, out: &mut impl Write) -> io::Result<()> {
        let kinds: Vec<_> = self.tensors.iter().map(|(_, tensor)| kind_of(tensor, kind)).collect();
        out.write_all(&self.header(&kinds)?)?;
        for ((name, tensor), kind) in self.tensors.iter().zip(kinds) {
            circuit_torch::guard(|| self.write_tensor(name, tensor, kind, out)).map_err(|e| match e {
                Failed::Write(e) => e,
                Failed::Tensor(e) => io::Error::new(io::ErrorKind::InvalidData, e),
            })?;
        }
        Ok(())
    }

    /// Eight bytes of length, then JSON that says where each tensor lies.
    fn header(&self, kinds: &[Kind]) -> io::Result<Vec<u8>> {
        let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
        let mut start = 0;
        for ((name, tensor), &kind) in self.tensors.iter().zip(kinds) {
            let n_numbers: i64 = tensor.size().iter().product();
            let end = start + n_numbers as usize * kind.elt_size_in_bytes();
            let dtype = match kind {
                Kind::Double => "F64",
                Kind::Float => "F32",
                Kind::Half => "F16",
                Kind::BFloat16 => "BF16",
                other => return Err(io::Error::other(format!("no tensor file holds numbers of {other:?}"))),
            };
            let entry = json!({"dtype": dtype, "shape": tensor.size(), "data_offsets": [start, end]});
            header.insert(name.clone(), entry);
            start = end;
        }
        let mut text = serde_json::to_vec(&header)?;
        // Padded so that the tensors begin at a multiple of eight and can be used where they lie.
        text.resize(text.len().next_multiple_of(8), b' ');
        Ok([(text.len() as u64).to_le_bytes().to_vec(), text].concat())
    }

    fn write_tensor(
        &self,
        name: &str,
        tensor: &Stored,
        kind: Kind,
        out: &mut impl Write,
    ) -> Result<(), Failed> {
        let shape = tensor.size();
        let row: i64 = shape.iter().skip(1).product();
        let step = (PIECE / (row.max(1) as usize * kind.elt_size_in_bytes())).max(1) as i64;
        let n_rows = shape.first().copied().unwrap_or(1);
        let mut bytes = Vec::new();
        let mut start = 0;
        while start < n_rows {
            let len = step.min(n_rows - start);
            let stored = tensor.narrow(0, start, len).map_err(TranscoderError::from)?;
            let piece = stored.to_tensor().map_err(TranscoderError::from)?;
            let piece = piece.to_device(Device::Cpu).to_kind(kind).contiguous();
            let wrong = match shape.len() {
                1 => piece.isnan(),
                _ => piece.isfinite().logical_not(),
            };
            if bool::try_from(wrong.any()).map_err(TranscoderError::from)? {
                let (path, name) = (PathBuf::from(&self.name), name.to_owned());
                return Err(TranscoderError::NotNumbers { path, name }.into());
            }
            bytes.resize(piece.numel() * kind.elt_size_in_bytes(), 0);
            piece.f_copy_data_u8(&mut bytes, piece.numel()).map_err(TranscoderError::from)?;
            out.write_all(&bytes)?;
            stored.release();
            start += len;
        }
        Ok(())
    }
}

/// The type in which a tensor is written: vectors stay as they are.
fn kind_of(tensor: &Stored, kind: Option<Kind>) -> Kind {
    kind.filter(|_| tensor.size().len() > 1).unwrap_or(tensor.kind())
}

/// Why a tensor was not written.
enum Failed {
    Write(io::Error),
    Tensor(TranscoderError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<TranscoderError> for Failed {
    fn from(error: TranscoderError) -> Self {
        Self::Tensor(error)
    }
}

impl From<circuit_torch::TorchError> for Failed {
    fn from(error: circuit_torch::TorchError) -> Self {
        Self::Tensor(error.into())
    }
}
