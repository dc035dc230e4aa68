//! MLP transcoders: reading sets, encoding, decoder rows.
