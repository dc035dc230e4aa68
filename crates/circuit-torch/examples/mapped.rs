//! What LibTorch there is, and a tensor of a mapped file: nothing is read before its values are used.
//!
//! `cargo run -p circuit-torch --example mapped`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_torch::{TensorFile, guard, runtime};
use std::path::Path;
use tch::Kind;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("LibTorch {}, {} threads", runtime::libtorch_version(), runtime::threads());
    println!("CUDA: {}", runtime::cuda_status());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/transcoders/layer_0.safetensors");
    let file = TensorFile::open(&path)?;
    for name in file.names() {
        println!("{name} {:?}", file.shape(name).expect("it is listed"));
    }
    // The shape is checked here, once; a wrong one is an error that names file, tensor and both shapes.
    let b_enc = file.tensor("b_enc", &[512])?;
    println!("mean of b_enc: {:.4}", b_enc.mean(Kind::Float).double_value(&[]));
    println!("{}", file.tensor("b_enc", &[511]).expect_err("one too few"));

    // Operators of tch panic; behind a guard they are errors. (A program silences Rust's own report of the panic.)
    std::panic::set_hook(Box::new(|_| {}));
    let wrong: Result<_, circuit_torch::TorchError> = guard(|| Ok(b_enc.matmul(&b_enc.narrow(0, 0, 5))));
    println!("{}", wrong.expect_err("512 times 5"));
    Ok(())
}
