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
pub mod runtime;
mod shim;
mod staging;
mod stored;

pub use error::{TorchError, guard};
pub use files::{Access, TensorFile, TensorHeader, TensorStore};
pub use headers::{StoredHeader, tensor_headers};
pub use pages::{populate, release};
pub use shim::{inference_mode, products_of_slices, summed_products, tensor_over};
pub use staging::{Conveyor, Landing};
pub use stored::Stored;
