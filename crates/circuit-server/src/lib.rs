//! The server of attribution graphs: the page, a folder of graphs, feature records.
//!
//! Read [`Server`] first. Two sets of addresses lead to the same files: `/api/v1` for our page and for programs, described
//! by its own OpenAPI document, and those of Python's server, so that its page and notebooks go on working. Graphs are
//! handed on as bytes wherever bytes suffice; work that blocks is done on threads for it.
//!
//! Not here: printing, signals, and choosing defaults, which are the command line's; computing graphs. No LibTorch.

mod api;
mod app;
mod body;
mod encoding;
mod error;
mod etag;
mod features;
mod files;
mod guard;
mod legacy;
mod openapi;
mod page;
mod range;
mod remote;
mod server;
mod store;

pub use error::ServerError;
pub use features::FeatureFolder;
pub use page::Frontend;
pub use remote::{RecordSource, RemoteFeatures};
pub use server::{Limits, Server, ServerConfig};
