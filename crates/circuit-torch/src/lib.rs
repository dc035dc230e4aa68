//! LibTorch under the rest of the workspace: loading it, devices, numbers, mapped tensor files.
//!
//! The only crate with `unsafe` or foreign functions. Knows nothing of language models. Read [`TensorStore`] for
//! weights, [`guard`] for how panics of tch become errors, [`runtime`] for CUDA and memory.

mod error;
mod files;
mod headers;
mod npz;
pub mod runtime;
mod shim;

pub use error::{TorchError, guard};
pub use files::{TensorFile, TensorStore};
pub use headers::{TensorHeader, tensor_headers};
pub use shim::{inference_mode, tensor_over};
