//! A tensor that is still where the file has it: a part of it is read when it is asked for.
//!
//! Most are plain tensors over a mapped file. Arrays of an `.npz` begin anywhere, and LibTorch computes with aligned numbers alone:
//! such an array is held as its bytes, and becomes numbers where a part is taken out. Not here: files, and what tensors mean.

use crate::{TorchError, pages};
use tch::{Device, Kind, Tensor};

/// A tensor in a file (or in memory), to be read in parts.
#[derive(Debug)]
pub struct Stored {
    /// The numbers; or their bytes, with one dimension more for the bytes of a number.
    tensor: Tensor,
    /// The kind of number whose bytes are held.
    in_bytes: Option<Kind>,
}

impl From<Tensor> for Stored {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, in_bytes: None }
    }
}

impl Stored {
    /// The numbers of a kind whose bytes are the last dimension.
    pub(crate) fn from_bytes(bytes: Tensor, kind: Kind) -> Self {
        Self { tensor: bytes, in_bytes: Some(kind) }
    }

    fn view(&self, tensor: Tensor) -> Self {
        Self { tensor, in_bytes: self.in_bytes }
    }

    /// The same; its numbers are shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        self.view(self.tensor.shallow_clone())
    }

    /// Its shape.
    #[must_use]
    pub fn size(&self) -> Vec<i64> {
        let mut size = self.tensor.size();
        if self.in_bytes.is_some() {
            size.pop();
        }
        size
    }

    /// The type of its numbers.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.in_bytes.unwrap_or_else(|| self.tensor.kind())
    }

    /// Where it lies.
    #[must_use]
    pub fn device(&self) -> Device {
        self.tensor.device()
    }

    /// Whether it can be computed with as numbers of a type where it lies, without a copy.
    #[must_use]
    pub fn is_ready(&self, kind: Kind) -> bool {
        self.in_bytes.is_none() && self.tensor.kind() == kind && self.tensor.is_contiguous()
    }

    /// A part along a dimension, still in the file.
    ///
    /// # Errors
    /// If there is no such part.
    pub fn narrow(&self, dim: i64, start: i64, length: i64) -> Result<Self, TorchError> {
        Ok(self.view(self.tensor.f_narrow(dim, start, length)?))
    }

    /// One of the first dimension, still in the file.
    ///
    /// # Errors
    /// If there is no such one.
    pub fn get(&self, index: i64) -> Result<Self, TorchError> {
        Ok(self.view(self.tensor.f_get(index)?))
    }

    /// With its first two dimensions the other way round, still in the file.
    ///
    /// # Errors
    /// If it has fewer.
    pub fn turned(&self) -> Result<Self, TorchError> {
        Ok(self.view(self.tensor.f_transpose(0, 1)?))
    }

    /// With a dimension of one put in at `dim` (counted from the front), still in the file.
    ///
    /// # Errors
    /// If it has fewer dimensions.
    pub fn unsqueeze(&self, dim: i64) -> Result<Self, TorchError> {
        Ok(self.view(self.tensor.f_unsqueeze(dim)?))
    }

    /// The numbers: over the file where they are aligned there, otherwise a copy.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn to_tensor(&self) -> Result<Tensor, TorchError> {
        match self.in_bytes {
            None => Ok(self.tensor.shallow_clone()),
            Some(kind) => {
                let mut aligned = self.tensor.f_empty_like()?;
                aligned.f_copy_(&self.tensor)?;
                numbers(aligned, kind)
            }
        }
    }

    /// A copy of some of the first dimension, by their indices, on the device where it lies.
    ///
    /// # Errors
    /// If there is no such one.
    pub fn select(&self, indices: &Tensor) -> Result<Tensor, TorchError> {
        let chosen = self.tensor.f_index_select(0, &indices.f_to_device(self.device())?)?;
        match self.in_bytes {
            None => Ok(chosen),
            Some(kind) => numbers(chosen, kind),
        }
    }

    /// Takes the pages of its file at once, as [`pages::populate`].
    pub fn populate(&self) {
        pages::populate(&self.tensor);
    }

    /// Gives the pages of its file back, as [`pages::release`].
    pub fn release(&self) {
        pages::release(&self.tensor);
    }
}

/// Aligned bytes as the numbers that they are.
fn numbers(bytes: Tensor, kind: Kind) -> Result<Tensor, TorchError> {
    Ok(bytes.f_view_dtype(kind)?.f_squeeze_dim(-1)?)
}

#[cfg(test)]
mod tests {
    use crate::runtime::process_memory;
    use crate::{Access, TensorFile};
    use std::io::Write;
    use tch::{Kind, Tensor};
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    /// An `.npz` whose array `a [3, 4]` begins at an odd place.
    fn misaligned(dir: &std::path::Path, fortran: bool, numbers: &[f32]) -> TensorFile {
        for name in ["a.npy", "pad.npy"] {
            let (order, path) = (if fortran { "True" } else { "False" }, dir.join("x.npz"));
            let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            let mut write = |name: &str, shape: &str, dtype: &str, bytes: &[u8]| {
                let header =
                    format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
                zip.start_file(name, options).unwrap();
                zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
                zip.write_all(&u16::try_from(header.len()).unwrap().to_le_bytes()).unwrap();
                zip.write_all(header.as_bytes()).unwrap();
                zip.write_all(bytes).unwrap();
            };
            // One more entry shifts what follows, if `a` should happen to be aligned.
            if name == "pad.npy" {
                write(name, "(1,)", "|u1", &[0]);
            }
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            write("a.npy", "(3, 4)", "<f4", &bytes);
            zip.finish().unwrap();
            let file = TensorFile::open(&path).unwrap();
            if file.headers().any(|h| h.name == "a" && h.access == Access::Misaligned) {
                return file;
            }
        }
        panic!("both are aligned")
    }

    #[test]
    fn parts_of_a_misaligned_array_are_those_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..12).map(|i| i as f32 * 1.25 - 3.0).collect();
        for fortran in [false, true] {
            let file = misaligned(dir.path(), fortran, &numbers);
            let (whole, stored) = (file.tensor("a", &[3, 4]).unwrap(), file.stored("a", &[3, 4]).unwrap());
            assert_eq!((stored.size(), stored.kind()), (vec![3, 4], Kind::Float));
            assert_eq!(stored.to_tensor().unwrap(), whole);
            let pick = Tensor::from_slice(&[2i64, 0]);
            assert_eq!(stored.select(&pick).unwrap(), whole.index_select(0, &pick));
            let turned = stored.turned().unwrap();
            assert_eq!(turned.size(), [4, 3]);
            assert_eq!(turned.to_tensor().unwrap(), whole.tr());
            assert_eq!(turned.select(&pick).unwrap(), whole.tr().index_select(0, &pick));
            let part = turned.narrow(0, 1, 2).unwrap().unsqueeze(1).unwrap();
            assert_eq!(part.size(), [2, 1, 3]);
            assert_eq!(part.to_tensor().unwrap(), whole.tr().narrow(0, 1, 2).unsqueeze(1));
            assert_eq!(stored.get(1).unwrap().to_tensor().unwrap(), whole.get(1));
            assert_eq!(stored.narrow(1, 1, 3).unwrap().to_tensor().unwrap(), whole.narrow(1, 1, 3));
            assert!(stored.narrow(0, 2, 2).is_err() && stored.get(3).is_err());
            assert!(stored.select(&Tensor::from_slice(&[3i64])).is_err());
            // An aligned copy, which outlives its file.
            let copy = stored.to_tensor().unwrap();
            drop((stored, turned, part, file));
            assert_eq!(copy, whole);
        }
    }

    #[test]
    fn released_pages_are_no_memory_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let n = 16i64 << 20;
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{}]}}}}   "#, 4 * n);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.set_len(8 + header.len() as u64 + 4 * n as u64).unwrap();
        drop(file);
        let file = TensorFile::open(&path).unwrap();
        let stored = file.stored("a", &[n]).unwrap();
        let mapped = || process_memory().map_or(0, |m| (m.resident - m.allocated) >> 20);
        let sum = |t: &Tensor| t.sum(Kind::Double).double_value(&[]);
        let before = mapped();
        assert_eq!(sum(&stored.to_tensor().unwrap()), 0.0);
        let touched = mapped();
        stored.release();
        stored.populate();
        let (read, tail) = (mapped(), stored.narrow(0, n / 2, n / 2).unwrap());
        tail.release();
        let half = mapped();
        stored.release();
        let after = mapped();
        assert_eq!(sum(&stored.to_tensor().unwrap()), 0.0);
        if cfg!(target_os = "linux") {
            // 64 MiB of them; other tests map a little at the same time.
            let story = format!("{before} {touched} {read} {half} {after}");
            assert!(touched >= before + 56, "{story}");
            assert!(read >= before + 56 && half <= read - 24 && after <= read - 56, "{story}");
        }
        // What is no part of a map is left alone.
        let own = Tensor::ones([1 << 20], (Kind::Float, tch::Device::Cpu));
        crate::release(&own);
        assert_eq!(sum(&own), f64::from(1 << 20));
    }
}
