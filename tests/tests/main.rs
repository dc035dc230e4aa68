//! All integration tests, in one binary.

mod golden;
mod golden_tokens;
