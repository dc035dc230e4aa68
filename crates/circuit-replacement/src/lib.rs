//! A model and its transcoders on one prompt: what is frozen, what is active, what is left over.
