//! Inputs of the benches, made in place.
