//! Graphs as lists of links, and their scores: what graph files hold, where most nodes and edges were pruned away.
//!
//! The formulas are those of the influence and scores modules; only the storage differs. A link `(s, t, weight)` is the
//! entry `A[t, s]`, and what is not listed is zero. Nodes need no layout here: each says what it is, and the order in
//! which influence flows follows from the links. Memory and time grow with their number, never with its square.
//!
//! One thing is new on a pruned graph: the error node that should take over what a removed feature writes may itself be
//! gone. Then there is nothing in the graph that could stand for it, and the feature's links are dropped, as on
//! Neuronpedia's page.

use crate::influence::inverse_sum;
use crate::{GraphError, Scores};
use circuit_index::{Layer, Pos};
use std::collections::HashMap;

/// What a node of a list of links is, as far as scores care.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinkNode {
    /// A feature of this layer and position.
    Feature(Layer, Pos),
    /// What the transcoder of this layer leaves unexplained at this position.
    Error(Layer, Pos),
    /// The embedding of a token.
    Token,
    /// A target, and its weight.
    Target(f64),
}

/// A direct effect of one node on another, by their places in the list of nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The node that writes.
    pub source: usize,
    /// The node that reads.
    pub target: usize,
    /// The direct effect.
    pub weight: f64,
}

/// Nodes and the links between them, without cycles.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkGraph {
    nodes: Vec<LinkNode>,
    /// For each node the links that it reads, sorted by source, no source twice.
    inputs: Vec<Vec<Input>>,
    /// All nodes, each before those that it reads.
    order: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Input {
    source: usize,
    weight: f64,
}

impl LinkGraph {
    /// A graph from its nodes and links. Links between the same two nodes add up.
    ///
    /// # Errors
    /// If a link leads to no node, into an error or a token, or is not finite; if a target's weight is negative or not
    /// finite; or if the links go in a circle.
    pub fn new(nodes: Vec<LinkNode>, links: impl IntoIterator<Item = Link>) -> Result<Self, GraphError> {
        let fail = |what: &'static str, detail: String| Err(GraphError::Inconsistent { what, detail });
        let bad_weight =
            |node: &LinkNode| matches!(node, LinkNode::Target(w) if !(w.is_finite() && *w >= 0.0));
        if let Some(node) = nodes.iter().position(bad_weight) {
            return fail("targets", format!("the weight of node {node} is negative or not finite"));
        }
        let mut inputs = vec![Vec::new(); nodes.len()];
        for Link { source, target, weight } in links {
            if source >= nodes.len() || target >= nodes.len() {
                return fail("links", format!("{source} -> {target} among {} nodes", nodes.len()));
            }
            if !weight.is_finite() {
                return fail("links", format!("the weight of {source} -> {target} is not finite"));
            }
            if matches!(nodes[target], LinkNode::Error(..) | LinkNode::Token) {
                return fail("links", format!("{source} -> {target} leads into an error or a token"));
            }
            inputs[target].push(Input { source, weight });
        }
        inputs.iter_mut().for_each(add_up);
        let order = order(&inputs).ok_or(GraphError::Cycle)?;
        Ok(Self { nodes, inputs, order })
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[LinkNode] {
        &self.nodes
    }

    /// The scores of the graph as it is.
    #[must_use]
    pub fn scores(&self) -> Scores {
        self.score(&self.inputs)
    }

    /// The scores of the subgraph that keeps, of all features, those at the places that `keep` says yes to; the others
    /// count as error of their layer and position, where the graph has that error.
    #[must_use]
    pub fn subgraph_scores(&self, keep: impl Fn(usize) -> bool) -> Scores {
        let errors: HashMap<_, _> = (self.nodes.iter().enumerate())
            .filter_map(|(place, node)| match *node {
                LinkNode::Error(layer, pos) => Some(((layer, pos), place)),
                _ => None,
            })
            .collect();
        // Where what a node writes is counted: with itself, with an error, or nowhere.
        let heirs: Vec<Option<usize>> = (self.nodes.iter().enumerate())
            .map(|(place, node)| match *node {
                LinkNode::Feature(layer, pos) if !keep(place) => errors.get(&(layer, pos)).copied(),
                _ => Some(place),
            })
            .collect();
        let merged: Vec<Vec<Input>> = (self.inputs.iter().enumerate())
            .map(|(place, inputs)| {
                if heirs[place] != Some(place) {
                    return Vec::new();
                }
                let heir = |&Input { source, weight }: &Input| Some(Input { source: heirs[source]?, weight });
                let mut inputs = inputs.iter().filter_map(heir).collect();
                add_up(&mut inputs);
                inputs
            })
            .collect();
        self.score(&merged)
    }

    fn score(&self, inputs: &[Vec<Input>]) -> Scores {
        let influence = self.influence(inputs);
        let (mut tokens, mut errors, mut all) = (0.0, 0.0, 0.0);
        for (node, influence) in self.nodes.iter().zip(influence) {
            all += influence;
            match node {
                LinkNode::Token => tokens += influence,
                LinkNode::Error(..) => errors += influence,
                LinkNode::Target(weight) => all += weight,
                LinkNode::Feature(..) => {}
            }
        }
        Scores::of(tokens, errors, all)
    }

    /// `I` of each node. When a node's turn comes, all that reads it has passed its own on.
    fn influence(&self, inputs: &[Vec<Input>]) -> Vec<f64> {
        let mut influence = vec![0.0; self.nodes.len()];
        for &node in &self.order {
            let weight = if let LinkNode::Target(weight) = self.nodes[node] { weight } else { 0.0 };
            let sum = inputs[node].iter().map(|input| input.weight.abs()).sum();
            let factor = (influence[node] + weight) * inverse_sum(sum);
            for input in &inputs[node] {
                influence[input.source] += factor * input.weight.abs();
            }
        }
        influence
    }
}

/// Sorts inputs by source and adds those of one source up, with their signs.
fn add_up(inputs: &mut Vec<Input>) {
    inputs.sort_by_key(|input| input.source);
    inputs.dedup_by(|next, sum| {
        let same = next.source == sum.source;
        if same {
            sum.weight += next.weight;
        }
        same
    });
}

/// All nodes, each before those that it reads; `None` if there is no such order. Removing nodes or handing what one
/// writes on to an error, which reads nothing, leaves an order valid.
fn order(inputs: &[Vec<Input>]) -> Option<Vec<usize>> {
    let mut readers = vec![0_usize; inputs.len()];
    inputs.iter().flatten().for_each(|input| readers[input.source] += 1);
    let mut order: Vec<usize> = (0..inputs.len()).filter(|&node| readers[node] == 0).collect();
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for input in &inputs[node] {
            readers[input.source] -= 1;
            if readers[input.source] == 0 {
                order.push(input.source);
            }
        }
    }
    (order.len() == inputs.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(list: &[(usize, usize, f64)]) -> Vec<Link> {
        list.iter().map(|&(source, target, weight)| Link { source, target, weight }).collect()
    }

    /// Layer 0 at position 0: features `a`, `b` and their error; layer 1 at position 1: `c`, whose error was pruned.
    ///
    /// `x` (weight 0.5) reads `c` 2, `a` 1 and the error 1: its inputs sum to 4. `c` reads `b` 3 and the token 1.
    /// `a` and `b` read the token alone.
    fn example() -> LinkGraph {
        let (low, high) = ((Layer(0), Pos(0)), (Layer(1), Pos(1)));
        let nodes = vec![
            LinkNode::Feature(low.0, low.1),
            LinkNode::Feature(low.0, low.1),
            LinkNode::Feature(high.0, high.1),
            LinkNode::Error(low.0, low.1),
            LinkNode::Token,
            LinkNode::Target(0.5),
        ];
        let (a, b, c, error, token, x) = (0, 1, 2, 3, 4, 5);
        let list = [(c, x, 2.0), (a, x, 1.0), (error, x, -1.0), (b, c, -3.0), (token, c, 1.0)];
        LinkGraph::new(nodes, links(&[&list[..], &[(token, a, 2.0), (token, b, 5.0)]].concat())).unwrap()
    }

    #[test]
    fn scores_worked_by_hand() {
        // I(c) = 1/2 · 2/4 = 1/4, I(a) = I(error) = 1/8, I(b) = 1/4 · 3/4 = 3/16, I(token) = 1/16 + 1/8 + 3/16 = 3/8.
        // Replacement: 3/8 of 3/8 + 1/8. Completeness: 1 - 1/8 of (1/4 + 1/8 + 1/8 + 3/16 + 3/8 + 1/2 = 25/16).
        let found = example().scores();
        assert_eq!(found.replacement, Some(0.75));
        assert!((found.completeness.unwrap() - (1.0 - 2.0 / 25.0)).abs() < 1e-15);
    }

    #[test]
    fn removed_features_count_as_error_with_their_signs() {
        // Without `a`, whose 1 and the error's -1 on `x` cancel, `x` reads `c` alone: I(c) = 1/2, I(b) = 3/8,
        // I(token) = 1/8 + 3/8.
        let found = example().subgraph_scores(|node| node != 0);
        assert_eq!((found.replacement, found.completeness), (Some(1.0), Some(1.0)));
        // Without `b`, `c` reads the error -3 and the token 1: I(c) = 1/4, I(a) = 1/8, I(error) = 1/8 + 3/16,
        // I(token) = 1/16 + 1/8.
        let found = example().subgraph_scores(|node| node != 1);
        assert!((found.replacement.unwrap() - 3.0 / 8.0).abs() < 1e-15);
        assert!((found.completeness.unwrap() - (1.0 - 5.0 / 22.0)).abs() < 1e-15);
    }

    #[test]
    fn links_of_a_removed_feature_without_an_error_are_dropped() {
        // Without `c`, `x` reads `a` 1 and the error -1: I(a) = I(error) = I(token) = 1/4.
        let found = example().subgraph_scores(|node| node != 2);
        assert_eq!(found.replacement, Some(0.5));
        assert_eq!(found.completeness, Some(1.0 - 0.25 / 1.25));
    }

    #[test]
    fn links_between_the_same_nodes_add_up() {
        let nodes = vec![LinkNode::Token, LinkNode::Error(Layer(0), Pos(0)), LinkNode::Target(1.0)];
        let list = links(&[(0, 2, 1.0), (1, 2, 1.0), (0, 2, -4.0)]);
        assert_eq!(LinkGraph::new(nodes, list).unwrap().scores().replacement, Some(0.75));
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        let feature = LinkNode::Feature(Layer(0), Pos(0));
        let refused = |nodes: &[LinkNode], list: &[(usize, usize, f64)]| {
            LinkGraph::new(nodes.to_vec(), links(list)).unwrap_err().to_string()
        };
        let pair = [feature, feature];
        assert!(refused(&pair, &[(0, 1, 1.0), (1, 0, 1.0)]).contains("circle"));
        assert!(refused(&pair, &[(0, 0, 1.0)]).contains("circle"));
        assert!(refused(&pair, &[(0, 2, 1.0)]).contains("among 2 nodes"));
        assert!(refused(&pair, &[(0, 1, f64::NAN)]).contains("not finite"));
        assert!(refused(&[feature, LinkNode::Token], &[(0, 1, 1.0)]).contains("leads into"));
        assert!(refused(&[LinkNode::Target(-1.0)], &[]).contains("negative"));
        let nothing = LinkGraph::new(Vec::new(), []).unwrap().scores();
        assert_eq!((nothing.replacement, nothing.completeness), (None, None));
    }
}
