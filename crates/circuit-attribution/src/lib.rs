//! The attribution engine: targets, the frozen pull-back, ranking.
//!
//! Start at [`attribute`] for the whole, at [`PullBack`] for the mathematics; which heads carry an edge is [`PullBack::row_by_head`],
//! why a head looks somewhere is [`QueryKey`]; what memory a prompt will need is [`budget`]. Tensors end here: what comes out are plain rows
//! (`circuit_graph::Rows`). Not here: pruning, files, interventions.

#![allow(non_snake_case, reason = "weights carry the field's names: W_O, W_V, W_skip")]

mod attribute;
pub mod budget;
mod error;
mod pullback;
mod query_key;
mod targets;

pub use attribute::{AttributeConfig, Attribution, Progress, RowRoom, attribute, attribute_within};
pub use error::AttributionError;
pub use pullback::{PullBack, Read};
pub use query_key::{Pair, Part, QueryKey, ScoreParts};
pub use targets::{Direction, ResolvedTarget, TargetChoice};

// The program in docs/embedding.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;
