//! Safetensors files that tests read, change and write: fp32, and bytes to write.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tch::{Kind, Tensor};

/// The fp32 tensors of a file.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let shape: Vec<_> = view.shape().iter().map(|&n| n as i64).collect();
        (name, Tensor::from_data_size(view.data(), &shape, Kind::Float))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// Writes a file, whatever way the tensors lie in memory: bytes as bytes, all else as fp32.
pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let data = tensors.iter().map(|(name, t)| {
        let shape = t.size().iter().map(|&n| n as usize).collect::<Vec<_>>();
        let flat = t.contiguous().flatten(0, -1);
        match t.kind() {
            Kind::Uint8 => (name, Dtype::U8, shape, Vec::<u8>::try_from(flat).unwrap()),
            _ => {
                let numbers: Vec<f32> = Vec::try_from(flat.to_kind(Kind::Float)).unwrap();
                (name, Dtype::F32, shape, numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
            }
        }
    });
    let data: Vec<_> = data.collect();
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}
