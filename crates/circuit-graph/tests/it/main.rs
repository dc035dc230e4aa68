//! Everything that tests this crate from outside: golden cases, the specification in prose, properties, refused input.

mod golden;
mod overflow;
mod properties;
mod refused;
mod spec;
mod support;
