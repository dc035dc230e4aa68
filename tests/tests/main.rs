//! All integration tests, in one binary.

mod checkpoints;
mod cli;
mod explain;
mod golden;
mod golden_tokens;
mod graph_files;
mod hooks;
mod layouts;
mod linearity;
mod random;
mod serve;
mod snapshots;
mod tensors;
mod train;
