//! Tests of the files as files: golden cases, round trips, damaged and hostile input, other programs' readers.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod atomic;
mod features;
mod golden;
mod hostile;
mod json;
mod peers;
mod raw;
mod support;
