//! Attribution graphs after the tensors: rows of direct effects, influence, pruning, scores.
//!
//! Knows no LibTorch, no formats, and of files only the unnamed one to which rows may overflow. Read [`Graph`] first, then
//! [`prune`]; [`Ranking`] serves the engine while it decides which rows to compute. The definitions are those of the methods paper (Ameisen et al., *Circuit
//! Tracing*, 2025).
//!
//! Every function here expects a graph that passes [`Graph::validate`], may panic on another, and gives the same bits
//! for the same graph whatever the number of threads.

mod agreement;
mod graph;
mod influence;
mod links;
mod prune;
mod ranking;
mod scores;
mod summary;
mod threshold;
mod total;

pub use agreement::{Agreement, Pair, Reach, agreement_by_distance};
pub use graph::{FirstToken, Graph, GraphError, ModelInfo, Rows, Target};
pub use influence::influence;
pub use links::{Link, LinkGraph, LinkNode};
pub use prune::{Edge, Pruned, Thresholds, prune};
pub use ranking::{FeatureRow, Ranking, RowCutter, RowFileError};
pub use scores::{Scores, scores, subgraph_scores};
pub use summary::{Path, strongest_features, strongest_paths};
pub use total::total_effects;
