//! The `.pt` of Python's circuit-tracer: what `Graph.to_pt` writes and `Graph.from_pt` opens.
//!
//! A zip with a pickled dictionary and one file per tensor. The adjacency matrix in it is square, with a row of zeros for
//! each error and token, so its size goes with the square of the number of nodes: [`pt_size`] says it first. Reading
//! runs no code: `pickle` interprets the few instructions that such a file needs and refuses the rest. Token strings
//! are not part of Python's file; ours carries them in an entry that Python does not look at.

mod pickle;
mod read;
mod stored_zip;
mod write;

pub use read::{PtGraph, read_pt};
pub use write::{check_pt_size, pt_size, write_pt};

/// The most bytes that a `.pt` may take, on disk or unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PtLimit(pub u64);

/// Names of `torch` types, as they are pickled and as [`circuit_graph::ModelInfo`] has them.
const DTYPES: [&str; 4] = ["float32", "bfloat16", "float16", "float64"];

/// Where our files keep the token strings.
const TOKEN_STRINGS: &str = "extra/circuit_tracer_token_strings.json";

/// The classes of Python's package: their modules and names.
const CONFIG_CLASS: (&str, &str) = ("circuit_tracer.utils.tl_nnsight_mapping", "UnifiedConfig");
const TARGET_CLASS: (&str, &str) = ("circuit_tracer.attribution.targets", "LogitTarget");
