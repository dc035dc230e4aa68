//! The server of attribution graphs.
