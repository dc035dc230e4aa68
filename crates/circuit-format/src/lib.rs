//! The files of attribution graphs, read and written: graph JSON for the page and Neuronpedia, raw graphs as
//! safetensors, and as the `.pt` of Python's circuit-tracer; feature records, read.
//!
//! The only crate that knows wire types; what it hands out is a [`circuit_graph::Graph`] or a [`GraphFile`]. Files are
//! written whole or not at all ([`write_atomically`]), and nothing in a file that is read is ever run. Not here: tensors
//! of models, pruning, and where files should go.

mod atomic;
mod bytes;
mod cantor;
mod confined;
mod error;
mod features;
mod first_token;
mod graph_json;
mod pt;
mod safetensors_graph;
mod slug;

pub use atomic::{check_destination, remove_unfinished, write_atomically};
pub use cantor::{feature_number, feature_of_number};
pub use confined::file_inside;
pub use error::FormatError;
pub use features::{
    PACKED_INDEX, PackedFeatures, PackedIndex, packed_offsets, read_feature_json, unpack_record,
    write_packed_index, write_packed_layer,
};
pub use graph_json::*;
pub use pt::{PtGraph, PtLimit, check_pt_size, pt_size, read_pt, write_pt};
pub use safetensors_graph::{read_safetensors, write_safetensors};
pub use slug::Slug;
