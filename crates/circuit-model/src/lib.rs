//! Language models from a description: one forward pass with typed hook sites.
