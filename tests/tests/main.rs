//! All integration tests, in one binary.

mod cli;
mod golden;
mod golden_tokens;
mod linearity;
mod serve;
