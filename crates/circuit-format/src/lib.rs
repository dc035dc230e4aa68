//! The files of attribution graphs: graph JSON, safetensors, Python's .pt.
