//! Typed indices of an attribution graph: layers, positions, features, tokens, nodes, and hook sites.
//!
//! The leaf of the workspace: every other crate speaks in these words, and none of them does arithmetic on node
//! offsets itself. Knows no tensors, no files and no graph. Read [`NodeLayout`] first, then [`Site`].

mod layout;
mod notice;
mod site;

pub use layout::{Node, NodeLayout, SourceOrder, SumOrder};
pub use notice::{Level, Notice};
pub use site::{LayerSite, Site, SiteError};

use std::fmt;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl $name {
            /// The index as an offset into a slice.
            #[must_use]
            pub const fn get(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            /// # Panics
            /// If the index does not fit, which for these kinds would mean an impossible model.
            fn from(raw: usize) -> Self {
                Self(<$raw>::try_from(raw).expect(concat!(stringify!($name), " out of range")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index! {
    /// A layer (transformer block), counted from the input.
    Layer(u32)
}
index! {
    /// A position in the prompt; 0 is the token in front.
    Pos(u32)
}
index! {
    /// A feature within the transcoder of one layer.
    FeatureIndex(u32)
}
index! {
    /// A token of the model's vocabulary; targets that are no token use numbers above it ("virtual" ids).
    TokenId(u32)
}
index! {
    /// An active feature: its place in the list of all active features, which is sorted by [`FeatureId`].
    ActiveIndex(u32)
}
index! {
    /// A node: its place in the order features, errors, tokens, targets (see [`NodeLayout`]).
    NodeIndex(u64)
}

/// One feature at one position. Ordered by layer, then position, then index: the order of every file and matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureId {
    /// The layer whose transcoder holds the feature.
    pub layer: Layer,
    /// The position at which it is active.
    pub pos: Pos,
    /// The feature within its layer.
    pub index: FeatureIndex,
}

impl FeatureId {
    /// A feature from raw numbers.
    ///
    /// # Panics
    /// If a number does not fit 32 bits.
    #[must_use]
    pub fn new(layer: usize, pos: usize, index: usize) -> Self {
        Self { layer: layer.into(), pos: pos.into(), index: index.into() }
    }
}

impl fmt::Display for FeatureId {
    /// `layer_index_pos`, the spelling of node ids in graph files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.layer, self.index, self.pos)
    }
}
