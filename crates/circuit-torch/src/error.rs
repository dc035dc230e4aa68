//! What can go wrong below the model: files, tensors, LibTorch itself.

use std::path::PathBuf;

/// An error of LibTorch or of a tensor file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no safetensors file, or a damaged one.
    #[error("{}: not a valid safetensors file: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A zip that is no `.npz` file, or a damaged one.
    #[error("{}: not a valid npz file: {reason}", path.display())]
    Npz {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that is not there.
    #[error("{}: no tensor `{name}`; it has {present}", path.display())]
    MissingTensor {
        /// The file, or the folder of a checkpoint of several.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Some of those that are there.
        present: String,
    },
    /// A tensor of another shape.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// The shape that the description asks for.
        expected: Vec<i64>,
    },
    /// A tensor of another type of number.
    #[error("{}: tensor `{name}` has type {found}, expected {expected}", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
        /// The types that would do.
        expected: &'static str,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch: {}", what_it_says(.0))]
    Libtorch(String),
}

impl From<tch::TchError> for TorchError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(error.to_string())
    }
}

/// The one line that a reader needs. LibTorch appends its own stack, and a panic of tch wraps the whole in the words of
/// `unwrap`, line breaks written as `\\n`.
fn what_it_says(message: &str) -> &str {
    let message = message.trim();
    let inner =
        message.strip_prefix("called `Result::unwrap()` on an `Err` value: Torch(\"").unwrap_or(message);
    let end = inner.find('\n').into_iter().chain(inner.find("\\n")).min().unwrap_or(inner.len());
    inner[..end].trim_end()
}

/// Runs a computation and turns a panic of tch's operators (`a + b`, `matmul`, …) into an error, so that formulas can be
/// written as formulas and no panic crosses a crate's edge. Errors of the computation itself pass through.
///
/// # Errors
/// The computation's own, or [`TorchError::Libtorch`] for a panic.
pub fn guard<T, E: From<TorchError>>(compute: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(TorchError::Libtorch(text.unwrap_or_else(|| "unknown failure".into())).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_an_operator_says_one_line() {
        let x = tch::Tensor::from_slice(&[1.0f32, 2.0]);
        let result: Result<_, TorchError> = guard(|| Ok(x.dot(&x.narrow(0, 0, 1))));
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("LibTorch: inconsistent tensor size"), "{message}");
        assert!(!message.contains("frame") && !message.contains("\\n") && message.len() < 200, "{message}");
        let plain = TorchError::Libtorch("no memory\nframe #0".into()).to_string();
        assert_eq!(plain, "LibTorch: no memory");
    }
}
