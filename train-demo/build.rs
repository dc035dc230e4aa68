//! Tells the linker where this package's programs find LibTorch; see `crates/circuit-torch/build.rs`.

fn main() {
    let arg = std::env::var("DEP_CIRCUIT_TORCH_LINK_ARG").expect("circuit-torch is a direct dependency");
    println!("cargo::rustc-link-arg={arg}");
}
