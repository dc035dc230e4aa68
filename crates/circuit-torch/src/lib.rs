//! LibTorch under the rest of the workspace: loading it, devices, numbers, mapped tensor files.
//!
//! The only crate with `unsafe` or foreign functions. Knows nothing of language models. Read [`TensorStore`] for
//! weights, [`guard`] for how panics of tch become errors, [`runtime`] for CUDA and memory.

mod error;
mod files;
mod headers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod mkl;
mod npz;
mod pages;
mod recognise;
pub mod runtime;
mod safetensors_header;
mod shim;
mod staging;
mod stored;

pub use error::{TorchError, guard};
pub use files::{Access, Headers, TensorFile, TensorHeader, TensorStore, Wanted};
pub use headers::{StoredHeader, tensor_headers};
pub use pages::{populate, release};
pub use recognise::{json_fault, json_file_fault, recognised};
pub use shim::{inference_mode, products_of_slices, summed_products, tensor_over};
pub use staging::{Conveyor, Landing};
pub use stored::Stored;
