//! Opens the demo's transcoders and encodes a vector: which features are active, and what they write.
//!
//! `cargo run -p circuit-transcoder --example encode`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_transcoder::TranscoderSet;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/transcoders");
    let (n_layers, d_model) = (4, 128);
    let set = TranscoderSet::open(&folder, n_layers, d_model, Kind::Float, Device::Cpu)?;
    println!("features read at {} and write at {}", set.info().reads.name(), set.info().writes.name());

    // Twice what the encoder of feature 494 looks for, at one position; no position is ignored.
    let transcoder = &set.layers()[2];
    let x = transcoder.encoder_rows(&Tensor::from_slice(&[494i64])) * 2.0;
    let active = transcoder.encode(&x, 0, 0)?;
    // A feature of a per-layer set writes at its own layer alone: one row each.
    let writes = transcoder.decoder_rows(&active.indices).select(1, 0) * active.values.unsqueeze(-1);
    println!("{} of {} features are active", active.values.size()[0], transcoder.n_features());
    let strongest = active.values.argmax(0, false).int64_value(&[]);
    println!("the strongest is {}", active.indices.int64_value(&[strongest]));
    let reconstruction = transcoder.reconstruct(&writes, &active.positions, &x); // [pos, d_model]
    println!("norm of the reconstruction {:.3}", reconstruction.norm().double_value(&[]));
    Ok(())
}
