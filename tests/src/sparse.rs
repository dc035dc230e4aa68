//! Files of any size that take no room on the disk: safetensors whose values are zero where nothing was written.
//!
//! With them tests have checkpoints as large as published ones. What they hold is for the tests to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A safetensors file of zeros, some of which can be written over.
#[derive(Debug)]
pub struct SparseFile {
    file: File,
    /// Where each tensor begins.
    starts: BTreeMap<String, u64>,
}

impl SparseFile {
    /// Creates a file with these tensors: name, type as safetensors names it (`F32` or `BF16`), shape.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn create(path: &Path, tensors: &[(String, &str, Vec<u64>)]) -> Self {
        let (mut header, mut starts, mut end) = (serde_json::Map::new(), BTreeMap::new(), 0);
        for (name, dtype, shape) in tensors {
            let width = if *dtype == "F32" { 4 } else { 2 };
            let start = end;
            end += shape.iter().product::<u64>() * width;
            let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            header.insert(name.clone(), entry);
            starts.insert(name.clone(), start);
        }
        let mut header = serde_json::Value::Object(header).to_string();
        header += &" ".repeat(header.len().next_multiple_of(64) - header.len() + 56); // values begin aligned
        let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("room for a header");
        file.write_all(header.as_bytes()).expect("room for a header");
        let base = 8 + header.len() as u64;
        file.set_len(base + end).expect("a sparse file");
        starts.values_mut().for_each(|start| *start += base);
        Self { file, starts }
    }

    /// Writes numbers of an `F32` tensor from the `first` on.
    ///
    /// # Panics
    /// If there is no such tensor, or no room.
    pub fn write(&self, tensor: &str, first: u64, numbers: &[f32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, self.starts[tensor] + 4 * first).expect("room for some numbers");
    }
}

/// A cross-layer set for the model of the demo whose files are about so many bytes long in all. Of each layer the first `active`
/// features are active at every position; they read a little of the stream and write a little. Returns the bytes.
///
/// # Panics
/// If it cannot be written.
pub fn cross_layer_set(folder: &Path, bytes: u64, active: u64) -> u64 {
    const N_LAYERS: u64 = 4;
    const D_MODEL: u64 = 128;
    let rows: u64 = (0..N_LAYERS).map(|l| 1 + N_LAYERS - l).sum(); // encoder and decoder rows of a feature of each layer
    let n_features = bytes / (rows * D_MODEL * 4);
    let config = "model_kind: cross_layer_transcoder\nmodel_name: sparse\nfeature_input_hook: mlp.hook_in\n\
                  feature_output_hook: mlp.hook_out\nscan: sparse\n";
    std::fs::write(folder.join("config.yaml"), config).expect("room for a config");
    // Numbers that look random and are the same each time.
    let mut state = 1u32;
    let mut some = |n: u64, size: f32| -> Vec<f32> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state as f32 / u32::MAX as f32 - 0.5) * size
        };
        (0..n).map(next).collect()
    };
    for l in 0..N_LAYERS {
        let (enc, dec) = (format!("W_enc_{l}"), format!("W_dec_{l}"));
        let (b_enc, b_dec) = (format!("b_enc_{l}"), format!("b_dec_{l}"));
        let encoder = SparseFile::create(
            &folder.join(format!("{enc}.safetensors")),
            &[
                (enc.clone(), "F32", vec![n_features, D_MODEL]),
                (b_enc.clone(), "F32", vec![n_features]),
                (b_dec, "F32", vec![D_MODEL]),
            ],
        );
        // Spread out, so that rows lie far apart.
        for i in 0..active {
            let feature = i * (n_features / active);
            encoder.write(&enc, feature * D_MODEL, &some(D_MODEL, 0.02));
            encoder.write(&b_enc, feature, &[2.0]);
        }
        let outputs = N_LAYERS - l;
        let decoder = SparseFile::create(
            &folder.join(format!("{dec}.safetensors")),
            &[(dec.clone(), "F32", vec![n_features, outputs, D_MODEL])],
        );
        for i in 0..active {
            let feature = i * (n_features / active);
            decoder.write(&dec, feature * outputs * D_MODEL, &some(outputs * D_MODEL, 0.1));
        }
    }
    n_features * rows * D_MODEL * 4
}
