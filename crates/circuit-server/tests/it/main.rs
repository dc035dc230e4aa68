//! Everything that tests the server from outside, over the loopback: routes, ranges, attacks, saves, limits, the document.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod attacks;
mod document;
mod features;
mod graphs;
mod legacy;
mod limits;
mod saves;
mod support;
