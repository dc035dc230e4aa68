//! `--ablate-group` and `--scale-group`: edits of all features of a group of a graph's view.
//!
//! Groups are named as Python's library names them: of several with one label the second is `label (2)`, the third `label (3)`.
//! Not here: edits of single features, and what the page does with groups.

use crate::closer_args::EditArgs;
use crate::edit_args::{Target, one_number};
use crate::failure::Failure;
use crate::say::say_notices;
use crate::view::{self, Saved, SavedNode};
use circuit_format::NodeNames;
use circuit_index::{FeatureIndex, Layer, Notice, Pos};
use circuit_intervention::{Change, Edit, Positions};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The most ids that a message lists.
const MOST_LISTED: usize = 5;

/// The edits of all groups that the arguments name.
pub(crate) fn edits(args: &EditArgs, on: Target) -> Result<Vec<Edit>, Failure> {
    let mut asked: Vec<(&str, Change)> =
        args.ablate_group.iter().map(|label| (label.as_str(), Change::Set(0.0))).collect();
    for text in &args.scale_group {
        let (label, factor) = one_number(text)?;
        asked.push((label, Change::Scale(factor)));
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let Some(path) = &args.graph else {
        return Err(Failure::usage("groups are those of a graph file: give it with --graph"));
    };
    let saved = view::read_saved(path)?;
    let groups = named(&saved.view.supernodes);
    let mut edits = Vec::new();
    for (name, change) in asked {
        let group = find(&groups, name).map_err(|wrong| Failure {
            message: format!("{}: {}", path.display(), wrong.message),
            ..wrong
        })?;
        let features = features(&saved, group, on);
        say_notices(&features.notices(path, group, !saved.nodes.is_empty()));
        if features.found.is_empty() {
            let name = &group.name;
            return Err(Failure::usage(format!("{}: group `{name}` has no features", path.display())));
        }
        edits.extend(features.found.into_iter().map(|(layer, feature, pos)| Edit {
            layer,
            feature,
            positions: Positions::At(pos),
            change,
        }));
    }
    Ok(edits)
}

/// A group with the name that is its own.
struct Group<'a> {
    label: &'a str,
    /// Which of the groups with this label it is, from 1, and how many there are.
    nth: usize,
    of: usize,
    name: String,
    members: &'a [String],
}

fn named(groups: &[Vec<String>]) -> Vec<Group<'_>> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut named: Vec<_> = groups
        .iter()
        .filter_map(|group| group.split_first())
        .map(|(label, members)| {
            let label = label.trim();
            let nth = counts.entry(label).or_default();
            *nth += 1;
            Group { label, nth: *nth, of: 0, name: String::new(), members }
        })
        .collect();
    for group in &mut named {
        group.of = counts[group.label];
        // Python's library calls the first one by its label alone, which says too little where there are several.
        let own = group.of == 1;
        group.name = if own { group.label.into() } else { format!("{} ({})", group.label, group.nth) };
    }
    named
}

/// The group of a name; the message of a failure is without the file.
fn find<'a, 'b>(groups: &'a [Group<'b>], text: &str) -> Result<&'a Group<'b>, Failure> {
    let text = text.trim();
    let names = |groups: &[&Group<'_>]| {
        groups.iter().map(|group| format!("`{}`", group.name)).collect::<Vec<_>>().join(", ")
    };
    let alike: Vec<_> = groups.iter().filter(|group| group.label == text).collect();
    if alike.len() > 1 {
        let message = format!(
            "{} groups are called `{text}`; in the order of the file: {}",
            alike.len(),
            names(&alike)
        );
        return Err(Failure::usage(message)
            .hint(format!("name one of them; Python's library calls `{text} (1)` just `{text}`")));
    }
    let found: Vec<_> = groups.iter().filter(|group| group.name == text).collect();
    match found[..] {
        [group] => Ok(group),
        [] if groups.is_empty() => Err(Failure::usage(format!("no group `{text}`; this view has no groups"))),
        [] => {
            let all: Vec<_> = groups.iter().collect();
            Err(Failure::usage(format!("no group `{text}`; there are: {}", names(&all))))
        }
        _ => Err(Failure::usage(format!(
            "`{text}` is the label of one group and the name of another, one of several with the same label"
        ))
        .hint("give one of them another label on the page")),
    }
}

/// A feature at a position.
type Place = (Layer, FeatureIndex, Pos);

/// What the members of a group are.
#[derive(Default)]
struct Features {
    found: Vec<Place>,
    /// Members that no node of the graph is called, but that have the form of a feature.
    not_in_the_graph: Vec<String>,
    /// Members that are no nodes and name no feature.
    unknown: Vec<String>,
    /// Tokens, errors and targets.
    others: Vec<String>,
}

impl Features {
    fn notices(&self, path: &Path, group: &Group<'_>, is_graph: bool) -> Vec<Notice> {
        let begin = format!("{}: group `{}`", path.display(), group.name);
        let mut notices = Vec::new();
        if is_graph && !self.not_in_the_graph.is_empty() {
            let ids = listed(&self.not_in_the_graph);
            notices.push(Notice::warning(format!(
                "{begin}: no node of this graph is {ids}; the feature is edited all the same"
            )));
        }
        if !self.unknown.is_empty() {
            notices.push(Notice::warning(format!("{begin}: no node is {}, left out", listed(&self.unknown))));
        }
        if !self.others.is_empty() {
            let ids = listed(&self.others);
            notices
                .push(Notice::note(format!("{begin}: only features are edited, not its other nodes {ids}")));
        }
        notices
    }
}

fn features(saved: &Saved, group: &Group<'_>, on: Target) -> Features {
    let names = NodeNames::new(saved.nodes.iter().map(|node| (node.id.clone(), node.older_id.clone())));
    let kinds: HashMap<&str, &SavedNode> =
        saved.nodes.iter().rev().map(|node| (node.id.as_str(), node)).collect();
    let (mut features, mut seen) = (Features::default(), BTreeSet::new());
    for member in group.members {
        let ids = names.find(member);
        let known = !ids.is_empty();
        for id in if known { ids } else { vec![member.as_str()] } {
            let other = kinds.get(id).is_some_and(|node| !is_feature(node)) || is_other(id, on);
            match (place(id), other) {
                (_, true) => features.others.push(id.to_owned()),
                (None, false) => features.unknown.push(id.to_owned()),
                (Some(place), false) => {
                    if !known {
                        features.not_in_the_graph.push(id.to_owned());
                    }
                    if seen.insert(place) {
                        features.found.push(place);
                    }
                }
            }
        }
    }
    features
}

/// Whether a node of a file is a feature of a transcoder.
fn is_feature(node: &SavedNode) -> bool {
    matches!(node.feature_type.as_str(), "cross layer transcoder" | "unexplored node" | "")
}

/// Whether an id by its form is that of a token, an error or a target.
fn is_other(id: &str, on: Target) -> bool {
    let parts: Vec<_> = id.split('_').collect();
    match parts.as_slice() {
        ["E", _, _] | [_, "-1", _] => true,
        [layer, _, _] => layer.parse().is_ok_and(|layer: usize| layer >= on.n_layers),
        _ => false,
    }
}

/// `layer_index_position`.
fn place(id: &str) -> Option<Place> {
    let parts: Vec<u32> = id.split('_').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [layer, index, pos] = parts[..] else { return None };
    Some((Layer(layer), FeatureIndex(index), Pos(pos)))
}

fn listed(ids: &[String]) -> String {
    let shown = ids[..ids.len().min(MOST_LISTED)].join(", ");
    match ids.len().checked_sub(MOST_LISTED) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_format::QParams;

    const ON: Target = Target { n_pos: 5, n_layers: 2, generates: false };

    fn groups(labels: &[&str]) -> Vec<Vec<String>> {
        labels
            .iter()
            .enumerate()
            .map(|(nth, label)| vec![(*label).to_owned(), format!("0_{nth}_1")])
            .collect()
    }

    fn found(labels: &[&str], name: &str) -> Result<String, String> {
        let groups = groups(labels);
        find(&named(&groups), name).map(|group| group.members[0].clone()).map_err(|e| e.message)
    }

    #[test]
    fn groups_with_one_label_are_numbered_in_the_order_of_the_file() {
        let labels = ["capital", "other", "capital", "capital "];
        assert_eq!(found(&labels, "other").unwrap(), "0_1_1");
        assert_eq!(found(&labels, "capital (1)").unwrap(), "0_0_1");
        assert_eq!(found(&labels, "capital (2)").unwrap(), "0_2_1");
        assert_eq!(found(&labels, " capital (3)").unwrap(), "0_3_1");
        let error = found(&labels, "capital").unwrap_err();
        assert_eq!(
            error,
            "3 groups are called `capital`; in the order of the file: `capital (1)`, `capital (2)`, `capital (3)`"
        );
        let error = found(&labels, "state").unwrap_err();
        assert!(error.contains("`other`") && error.contains("`capital (2)`"), "{error}");
        assert!(found(&[], "state").unwrap_err().contains("no groups"));
    }

    #[test]
    fn a_label_that_is_another_groups_name_is_not_guessed() {
        assert!(found(&["a", "a", "a (2)"], "a (2)").unwrap_err().contains("another"));
        assert_eq!(found(&["a", "a (2)"], "a (2)").unwrap(), "0_1_1");
    }

    #[test]
    fn members_are_features_of_the_graph_or_reported() {
        let node = |id: &str, older: &str, kind: &str| SavedNode {
            id: id.into(),
            older_id: older.into(),
            feature_type: kind.into(),
        };
        let feature = "cross layer transcoder";
        let nodes = vec![
            node("0_7_3", "0_7-0", feature),
            node("0_7_4", "0_7-0", feature),
            node("1_2_0", "1_2-0", feature),
            node("E_9_0", "E_9-0", "embedding"),
            node("3_5_4", "L_5-4", "logit"),
            node("1_-1_2", "", "mlp reconstruction error"),
        ];
        let saved = Saved { view: QParams::default(), nodes };
        let members = ["0_7-0", "0_7_4", "E_9_0", "3_5_4", "1_-1_2", "1_8_2", "nonsense"].map(str::to_owned);
        let groups = [[vec!["g".to_owned()], members.to_vec()].concat()];
        let group = &named(&groups)[0];
        let features = features(&saved, group, ON);
        let place = |layer, index, pos| (Layer(layer), FeatureIndex(index), Pos(pos));
        assert_eq!(features.found, [place(0, 7, 3), place(0, 7, 4), place(1, 8, 2)]);
        assert_eq!(features.others, ["E_9_0", "3_5_4", "1_-1_2"]);
        assert_eq!(features.not_in_the_graph, ["1_8_2"]);
        assert_eq!(features.unknown, ["nonsense"]);
        assert_eq!(features.notices(Path::new("g.json"), group, true).len(), 3);
    }
}
