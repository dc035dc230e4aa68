//! All integration tests, in one binary.

mod checkpoints;
mod cli;
mod golden;
mod golden_tokens;
mod layouts;
mod linearity;
mod tensors;
