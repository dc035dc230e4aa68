//! Safetensors files that tests read, change and write: fp32 alone.

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

/// Writes a file, whatever way the tensors lie in memory.
pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let bytes = |t: &Tensor| {
        let numbers: Vec<f32> = Vec::try_from(t.contiguous().flatten(0, -1)).unwrap();
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()
    };
    let data: Vec<_> = tensors
        .iter()
        .map(|(name, t)| (name, t.size().iter().map(|&n| n as usize).collect::<Vec<_>>(), bytes(t)))
        .collect();
    let views = data
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}
