//! What can go wrong with a file: one error for the whole crate. Every message names the file, and what was expected.
//!
//! Which exit code a failure has, and what to advise, is the caller's business.

use circuit_graph::GraphError;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// An error of reading or writing a graph's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else stands where a part of the file should be.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// Which part of it: a tensor, a key, a header.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Text that is no JSON, or JSON of another form.
    #[error("{}: expected {expected}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        expected: &'static str,
        /// Where it does not, and why.
        source: serde_json::Error,
    },
    /// A graph whose parts do not fit each other.
    #[error("{}: {source}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: GraphError,
    },
    /// A name that cannot be the name of a graph.
    #[error("`{slug}` cannot name a graph: {reason}")]
    Slug {
        /// The name.
        slug: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `.pt` beyond the caller's limit.
    #[error(
        "{}: a .pt is square and would take {} ({n_nodes} x {n_nodes} nodes), more than the limit of {}; \
         the same graph as .safetensors takes about {}",
        path.display(), gibibytes(*needed), gibibytes(*limit), gibibytes(*as_rows)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many nodes the graph has.
        n_nodes: u64,
        /// How many bytes the file would take, or takes unpacked.
        needed: u64,
        /// How many the caller allows.
        limit: u64,
        /// How many bytes the rows alone take.
        as_rows: u64,
    },
}

impl FormatError {
    /// Wraps an error of the operating system.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), action, source }
    }

    /// Wraps an error of the graph's own check.
    pub(crate) fn graph(path: &Path) -> impl FnOnce(GraphError) -> Self {
        move |source| Self::Graph { path: path.into(), source }
    }
}

/// [`FormatError::Unexpected`] where the file's name is not at hand; [`Problem::at`] adds it.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    expected: String,
    found: String,
}

impl Problem {
    pub(crate) fn new(what: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self { what: what.to_string(), expected: expected.to_string(), found: found.to_string() }
    }

    pub(crate) fn at(self, path: &Path) -> FormatError {
        let Self { what, expected, found } = self;
        FormatError::Unexpected { path: path.into(), what, expected, found }
    }
}

/// A size for a reader: two significant digits are enough to decide.
fn gibibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let value = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.1} GiB", value / 1_073_741_824.0),
    }
}
