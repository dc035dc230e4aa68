//! Attribution graphs after the tensors: rows of direct effects, influence, pruning, scores.
//!
//! Knows no LibTorch, no files and no formats. Read [`Graph`] first. The definitions are those of the methods paper
//! (Ameisen et al., *Circuit Tracing*, 2025).

mod graph;

pub use graph::{Graph, GraphError, ModelInfo, Rows, Target};
