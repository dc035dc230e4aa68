//! All integration tests, in one binary.

mod cli;
mod golden;
mod golden_tokens;
mod graph_files;
mod hooks;
mod linearity;
mod random;
mod snapshots;
