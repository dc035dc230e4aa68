//! All integration tests, in one binary.

mod budget;
mod cache;
mod chat;
mod checkpoints;
mod cli;
mod convert;
mod explain;
mod families;
mod golden;
mod golden_tokens;
mod graph_files;
mod hooks;
mod hostile;
mod hub;
mod interventions;
mod language;
mod layouts;
mod linearity;
mod random;
mod serve;
mod sets;
mod snapshots;
mod stories;
mod tensors;
mod train;
