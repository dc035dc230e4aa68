//! Where each node stands: the order of nodes in files and matrices, and the order in which sources are written.
//!
//! [`NodeLayout`] is the order users see: features, errors (layer-major), tokens, targets. [`SourceOrder`] is the order
//! of the computation: tokens, then layer by layer and position by position the features and the error written there,
//! so that what a row at layer `l` can see is a prefix. [`SumOrder`] is how their effects
//! are summed up. All are only numbers: no values are kept here.

use crate::{FeatureId, Layer, NodeIndex, Pos};
use std::ops::Range;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The n-th feature of the graph (of its *selected* features, where a choice was made).
    Feature(usize),
    /// What the transcoder of this layer leaves unexplained at this position.
    Error(Layer, Pos),
    /// The embedding of the token at this position.
    Token(Pos),
    /// The n-th target.
    Target(usize),
}

/// The order of nodes in every matrix and file: features, errors (layer-major), tokens, targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    /// Number of features in the graph.
    pub n_features: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of tokens, the one in front included.
    pub n_pos: usize,
    /// Number of targets.
    pub n_targets: usize,
}

impl NodeLayout {
    /// Number of error nodes.
    #[must_use]
    pub const fn n_errors(&self) -> usize {
        self.n_layers * self.n_pos
    }

    /// Number of nodes that write: features, errors and tokens. The columns of the rows.
    #[must_use]
    pub const fn n_sources(&self) -> usize {
        self.n_features + self.n_errors() + self.n_pos
    }

    /// Number of nodes that read: features and targets. The rows of the rows.
    #[must_use]
    pub const fn n_rows(&self) -> usize {
        self.n_features + self.n_targets
    }

    /// Number of all nodes.
    #[must_use]
    pub const fn n_nodes(&self) -> usize {
        self.n_sources() + self.n_targets
    }

    /// The feature nodes.
    #[must_use]
    pub const fn features(&self) -> Range<usize> {
        0..self.n_features
    }

    /// The error nodes.
    #[must_use]
    pub const fn errors(&self) -> Range<usize> {
        self.n_features..self.n_features + self.n_errors()
    }

    /// The token nodes.
    #[must_use]
    pub const fn tokens(&self) -> Range<usize> {
        self.errors().end..self.n_sources()
    }

    /// The target nodes.
    #[must_use]
    pub const fn targets(&self) -> Range<usize> {
        self.n_sources()..self.n_nodes()
    }

    /// The place of a node.
    ///
    /// # Panics
    /// If the node does not exist in this layout.
    #[must_use]
    pub fn index(&self, node: Node) -> NodeIndex {
        let (place, limit) = match node {
            Node::Feature(i) => (i, self.n_features),
            Node::Error(layer, pos) => {
                assert!(pos.get() < self.n_pos, "position {pos} of {}", self.n_pos);
                (self.errors().start + layer.get() * self.n_pos + pos.get(), self.errors().end)
            }
            Node::Token(pos) => (self.tokens().start + pos.get(), self.n_sources()),
            Node::Target(i) => (self.n_sources() + i, self.n_nodes()),
        };
        assert!(place < limit, "{node:?} is not in {self:?}");
        place.into()
    }

    /// The node at a place, `None` past the end.
    #[must_use]
    pub fn node(&self, index: NodeIndex) -> Option<Node> {
        let i = index.get();
        if i < self.n_features {
            Some(Node::Feature(i))
        } else if i < self.errors().end {
            let e = i - self.n_features;
            Some(Node::Error((e / self.n_pos).into(), (e % self.n_pos).into()))
        } else if i < self.n_sources() {
            Some(Node::Token((i - self.tokens().start).into()))
        } else if i < self.n_nodes() {
            Some(Node::Target(i - self.n_sources()))
        } else {
            None
        }
    }

    /// The node that a row of the rows matrix belongs to: features first, then targets.
    #[must_use]
    pub fn row_node(&self, row: usize) -> Option<Node> {
        match row {
            r if r < self.n_features => Some(Node::Feature(r)),
            r if r < self.n_rows() => Some(Node::Target(r - self.n_features)),
            _ => None,
        }
    }

    /// The row of a node, `None` for errors and tokens, which read nothing.
    #[must_use]
    pub fn row(&self, node: Node) -> Option<usize> {
        match node {
            Node::Feature(i) => Some(i),
            Node::Target(i) => Some(self.n_features + i),
            Node::Error(..) | Node::Token(_) => None,
        }
    }
}

/// The order in which sources are written into the residual stream: tokens, then for each layer and position its active
/// features by index and the error. A row that reads at layer `l` sees exactly [`SourceOrder::visible_from`]`(l)`
/// sources: a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOrder {
    n_layers: usize,
    n_pos: usize,
    /// `starts[l * n_pos + p]`: first source of group (l, p); one entry more at the end.
    starts: Vec<usize>,
}

impl SourceOrder {
    /// The order for `active`, which must be sorted and within `n_layers` and `n_pos`.
    ///
    /// # Panics
    /// If `active` is not strictly ascending or names a layer or position that is not there.
    #[must_use]
    pub fn new(n_layers: usize, n_pos: usize, active: &[FeatureId]) -> Self {
        assert!(active.is_sorted_by(|a, b| a < b), "active features must be strictly ascending");
        let mut sizes = vec![1; n_layers * n_pos]; // the error of each group
        for f in active {
            assert!(
                f.layer.get() < n_layers && f.pos.get() < n_pos,
                "{f} outside {n_layers} layers x {n_pos}"
            );
            sizes[f.layer.get() * n_pos + f.pos.get()] += 1;
        }
        let mut next = n_pos; // tokens come first
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        for size in sizes {
            starts.push(next);
            next += size;
        }
        starts.push(next);
        Self { n_layers, n_pos, starts }
    }

    /// Number of sources.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.starts[self.n_layers * self.n_pos]
    }

    /// How many sources (a prefix) are written before layer `layer` reads; for `n_layers`, all of them.
    #[must_use]
    pub fn visible_from(&self, layer: usize) -> usize {
        self.starts[layer * self.n_pos]
    }

    /// The sources written at (layer, pos): its features by index, then its error.
    #[must_use]
    pub fn group(&self, layer: Layer, pos: Pos) -> Range<usize> {
        let g = layer.get() * self.n_pos + pos.get();
        self.starts[g]..self.starts[g + 1]
    }

    /// The features of a group, as places in the sorted list of active features.
    #[must_use]
    pub fn group_features(&self, layer: Layer, pos: Pos) -> Range<usize> {
        let g = layer.get() * self.n_pos + pos.get();
        // Before group g stand n_pos tokens and g errors.
        let first = self.starts[g] - self.n_pos - g;
        first..first + self.group(layer, pos).len() - 1
    }

    /// The place in this order of the n-th active feature, given where it is.
    #[must_use]
    pub fn feature(&self, layer: Layer, pos: Pos, nth: usize) -> usize {
        self.n_pos + layer.get() * self.n_pos + pos.get() + nth
    }

    /// The place in this order of an error.
    #[must_use]
    pub fn error(&self, layer: Layer, pos: Pos) -> usize {
        self.group(layer, pos).end - 1
    }

    /// The place in this order of a token.
    #[must_use]
    pub fn token(&self, pos: Pos) -> usize {
        pos.get()
    }
}

/// The order in which effects are summed up: tokens first, then groups of features and error, so that whatever writes at one layer and
/// position is one range.
///
/// Where features write at their own layer alone, this is [`SourceOrder`] itself: what a row sees is a prefix. Where they write at
/// several layers, groups stand position by position, and what writes at one layer comes from neighbours, from however many layers
/// below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumOrder {
    n_layers: usize,
    n_pos: usize,
    /// Whether groups stand position by position rather than layer by layer.
    by_position: bool,
    /// First source of each group; one entry more at the end.
    starts: Vec<usize>,
}

impl SumOrder {
    /// The order of the sources of another order, where features write at their own layer alone.
    #[must_use]
    pub fn one_layer(order: &SourceOrder) -> Self {
        Self::of(order, false)
    }

    /// The same where features may write at several layers.
    #[must_use]
    pub fn several_layers(order: &SourceOrder) -> Self {
        Self::of(order, true)
    }

    fn of(order: &SourceOrder, by_position: bool) -> Self {
        let (n_layers, n_pos) = (order.n_layers, order.n_pos);
        let mut next = n_pos; // tokens come first
        let mut starts = Vec::with_capacity(n_layers * n_pos + 1);
        for group in 0..n_layers * n_pos {
            let (l, p) = match by_position {
                true => (group % n_layers, group / n_layers),
                false => (group / n_pos, group % n_pos),
            };
            starts.push(next);
            next += order.group(l.into(), p.into()).len();
        }
        starts.push(next);
        Self { n_layers, n_pos, by_position, starts }
    }

    /// Whether each place is written by one layer alone.
    #[must_use]
    pub fn is_of_one_layer(&self) -> bool {
        !self.by_position
    }

    /// Number of sources.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.starts[self.n_layers * self.n_pos]
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        0..self.n_pos
    }

    /// The groups of a range of layers at a position: of each layer its features by index, then its error.
    ///
    /// # Panics
    /// If it is not one layer, and features write at their own alone.
    #[must_use]
    pub fn groups(&self, layers: Range<usize>, pos: Pos) -> Range<usize> {
        if self.by_position {
            let group = |layer| self.starts[pos.get() * self.n_layers + layer];
            return group(layers.start)..group(layers.end);
        }
        assert_eq!(layers.len(), 1, "one layer alone writes here");
        let group = layers.start * self.n_pos + pos.get();
        self.starts[group]..self.starts[group + 1]
    }

    /// How many places from the first on hold all that a row at `layer` sees.
    #[must_use]
    pub fn width(&self, layer: usize) -> usize {
        if self.by_position { self.n_sources() } else { self.starts[layer * self.n_pos] }
    }

    /// Where the sources that a row at `layer` sees stand here, piece by piece in [`SourceOrder`].
    pub fn visible_from(&self, layer: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let (prefix, layers) = match self.by_position {
            true => (self.tokens(), layer),
            false => (0..self.width(layer), 0),
        };
        let groups = (0..layers).flat_map(|l| (0..self.n_pos).map(move |p| (l, p)));
        std::iter::once(prefix).chain(groups.map(|(l, p)| self.groups(l..l + 1, p.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_one_node_and_back() {
        let layout = NodeLayout { n_features: 3, n_layers: 2, n_pos: 4, n_targets: 2 };
        assert_eq!(layout.n_nodes(), 3 + 8 + 4 + 2);
        for i in 0..layout.n_nodes() {
            let node = layout.node(i.into()).unwrap();
            assert_eq!(layout.index(node).get(), i, "{node:?}");
        }
        assert_eq!(layout.node(layout.n_nodes().into()), None);
        assert_eq!(layout.node(3.into()), Some(Node::Error(Layer(0), Pos(0))));
        assert_eq!(layout.row(Node::Target(1)), Some(4));
        assert_eq!(layout.row_node(4), Some(Node::Target(1)));
        assert_eq!(layout.row_node(5), None);
    }

    #[test]
    fn sources_stand_in_the_order_they_are_written() {
        let active = [FeatureId::new(0, 1, 7), FeatureId::new(0, 1, 9), FeatureId::new(1, 0, 2)];
        let order = SourceOrder::new(2, 2, &active);
        // tokens 0 1 | (0,0): error 2 | (0,1): 3 4 error 5 | (1,0): 6 error 7 | (1,1): error 8
        assert_eq!(order.n_sources(), 9);
        assert_eq!((0..=2).map(|l| order.visible_from(l)).collect::<Vec<_>>(), [2, 6, 9]);
        assert_eq!(order.group(Layer(0), Pos(1)), 3..6);
        assert_eq!(order.group_features(Layer(0), Pos(1)), 0..2);
        assert_eq!(order.group_features(Layer(1), Pos(0)), 2..3);
        assert_eq!(order.error(Layer(0), Pos(1)), 5);
        for (nth, f) in active.iter().enumerate() {
            let place = order.feature(f.layer, f.pos, nth);
            assert_eq!(
                place - order.group(f.layer, f.pos).start,
                nth - order.group_features(f.layer, f.pos).start
            );
        }
    }
    #[test]
    fn what_writes_at_one_position_are_neighbours() {
        let active = [FeatureId::new(0, 1, 7), FeatureId::new(0, 1, 9), FeatureId::new(1, 0, 2)];
        let source = SourceOrder::new(2, 2, &active);
        let order = SumOrder::several_layers(&source);
        // tokens 0 1 | position 0: (0) error 2, (1) 3 error 4 | position 1: (0) 5 6 error 7, (1) error 8
        assert_eq!(order.n_sources(), source.n_sources());
        assert_eq!(order.tokens(), 0..2);
        assert_eq!(order.groups(0..2, Pos(0)), 2..5);
        assert_eq!(order.groups(1..2, Pos(0)), 3..5);
        assert_eq!(order.groups(0..1, Pos(1)), 5..8);
        assert_eq!(order.visible_from(2).flatten().collect::<Vec<_>>(), [0, 1, 2, 5, 6, 7, 3, 4, 8]);
        assert_eq!(order.visible_from(1).collect::<Vec<_>>(), [0..2, 2..3, 5..8]);
        // Where features write at their own layer alone: tokens 0 1 | layer 0: 2, 3 4 5 | layer 1: 6 7, 8
        let own = SumOrder::one_layer(&source);
        assert_eq!(own.n_sources(), source.n_sources());
        for (l, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(own.groups(l..l + 1, p.into()), source.group(l.into(), p.into()));
        }
        assert_eq!([own.width(1), order.width(1)], [6, 9]);
        assert_eq!((0..=2).flat_map(|l| own.visible_from(l)).collect::<Vec<_>>(), [0..2, 0..6, 0..9]);
        let empty = SumOrder::several_layers(&SourceOrder::new(1, 2, &[]));
        assert_eq!((empty.groups(0..1, Pos(1)), empty.n_sources()), (3..4, 4));
    }
}
