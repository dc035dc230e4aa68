//! The ids in a saved view held against the nodes of a graph: older names are replaced, and ids that no node has are reported.
//!
//! Nothing is removed here: a view may go on to another graph, which has the node. Not here: reading views from their JSON.

use super::QParams;
use circuit_index::Notice;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most ids that one message lists.
const MOST_LISTED: usize = 5;

/// Fewer letters of a group's name than this do not select it.
const MIN_STEM: usize = 4;

/// What the page calls the node that it makes for `logitDiff`; no file has it.
const LOGIT_DIFF: &str = "logit-diff";

/// The nodes of one graph by the names that views use for them: the id (`node_id`), or the older name (`jsNodeId`), which
/// several nodes share.
#[derive(Clone, Debug, Default)]
pub struct NodeNames {
    ids: HashSet<String>,
    older: HashMap<String, Vec<String>>,
}

impl NodeNames {
    /// The names of nodes, each given as its id and its older name, in the order of the file. An empty older name is none.
    pub fn new(nodes: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut names = Self::default();
        for (id, older) in nodes {
            if !older.is_empty() && names.ids.insert(id.clone()) {
                names.older.entry(older).or_default().push(id);
            } else {
                names.ids.insert(id);
            }
        }
        names
    }

    /// The ids of the nodes that a name stands for: itself if it is an id, all nodes of an older name, none if no node has it.
    #[must_use]
    pub fn find<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        match (self.ids.get(name), self.older.get(name)) {
            (Some(id), _) => vec![id],
            (None, Some(ids)) => ids.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        }
    }
}

/// What was found about the names of one view.
#[derive(Default)]
struct Findings {
    /// Older names, and the ids that they stand for.
    older: BTreeMap<String, Vec<String>>,
    /// Where an unknown id stands, and the id.
    unknown: Vec<(String, String)>,
}

impl Findings {
    /// The ids with older names replaced; what no node has stays.
    fn resolve(&mut self, names: &NodeNames, place: &str, given: &[String]) -> Vec<String> {
        let mut resolved: Vec<String> = Vec::with_capacity(given.len());
        for name in given {
            let found = names.find(name);
            match found.as_slice() {
                [] => self.unknown.push((place.to_owned(), name.clone())),
                [id] if id == name => {}
                ids => {
                    let ids = ids.iter().map(|&id| id.to_owned()).collect();
                    self.older.insert(name.clone(), ids);
                }
            }
            let found = if found.is_empty() { vec![name.as_str()] } else { found };
            for id in found {
                if !resolved.iter().any(|known| known == id) {
                    resolved.push(id.to_owned());
                }
            }
        }
        resolved
    }

    fn notices(self, file: &str) -> Vec<Notice> {
        let mut notices = Vec::new();
        if !self.older.is_empty() {
            let listed = self.older.iter().map(|(name, ids)| format!("`{name}` for {}", listed(ids)));
            let listed = some_of(listed, self.older.len(), "; ");
            notices.push(Notice::note(format!(
                "older names (jsNodeId) in the view stand for nodes of {file}, which are put in their place: {listed}"
            )));
        }
        if !self.unknown.is_empty() {
            let mut places: Vec<(&str, Vec<String>)> = Vec::new();
            for (place, id) in &self.unknown {
                match places.iter_mut().find(|(known, _)| known == place) {
                    Some((_, ids)) => ids.push(id.clone()),
                    None => places.push((place, vec![id.clone()])),
                }
            }
            let listed = places.iter().map(|(place, ids)| format!("{place} {}", listed(ids)));
            let listed = some_of(listed, places.len(), "; ");
            let what = match self.unknown.len() {
                1 => "an id in the view is no node".to_owned(),
                n => format!("{n} ids in the view are no nodes"),
            };
            notices.push(Notice::warning(format!(
                "{what} of {file} (not in this graph, or pruned): {listed}; the page shows nothing for them"
            )));
        }
        notices
    }
}

/// At most [`MOST_LISTED`] of `n` texts, and how many more there are.
fn some_of(texts: impl Iterator<Item = String>, n: usize, between: &str) -> String {
    let shown: Vec<_> = texts.take(MOST_LISTED).collect();
    let more = n - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(between))
}

fn listed(ids: &[String]) -> String {
    some_of(ids.iter().cloned(), ids.len(), ", ")
}

impl QParams {
    /// This view for a graph with these nodes, and what is to be said about it. Older names in pins and groups become node ids.
    /// Ids that no node has, also the selected one, stay and are reported. `file` names the graph in messages.
    #[must_use]
    pub fn for_nodes(&self, names: &NodeNames, file: &str) -> (Self, Vec<Notice>) {
        let (mut view, mut found) = (self.clone(), Findings::default());
        view.pinned_ids = found.resolve(names, "pinnedIds", &self.pinned_ids);
        for group in &mut view.supernodes {
            if let Some((label, members)) = group.split_first() {
                let members = found.resolve(names, &format!("group `{label}`"), members);
                *group = [vec![label.clone()], members].concat();
            }
        }
        let clicked = self.clicked_id.as_str();
        if !clicked.is_empty() && names.find(clicked).is_empty() && !self.selects_group(clicked) {
            found.unknown.push(("clickedId".into(), clicked.into()));
        }
        if self.other.contains_key("logitDiff") {
            found.unknown.retain(|(_, id)| id != LOGIT_DIFF);
        }
        (view, found.notices(file))
    }

    /// Whether a `clickedId` selects a group, as the page reads it: `s:` and its first member, or its name, also without
    /// punctuation or shortened.
    fn selects_group(&self, clicked: &str) -> bool {
        let bare = |text: &str| {
            let kept = text.chars().filter(|c| c.is_alphanumeric());
            kept.flat_map(char::to_lowercase).collect::<String>()
        };
        let name = bare(clicked);
        self.supernodes.iter().any(|group| {
            let (Some(label), first) = (group.first(), group.get(1)) else { return false };
            let label_bare = bare(label);
            first.is_some_and(|first| clicked.strip_prefix("s:") == Some(first))
                || label == clicked
                || !name.is_empty() && label_bare == name
                || name.chars().count() >= MIN_STEM && label_bare.starts_with(&name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    fn names() -> NodeNames {
        let nodes = [
            ("E_9_0", "E_9-0"),
            ("12_345_3", "12_345-0"),
            ("12_345_5", "12_345-0"),
            ("7_1_5", "7_1-0"),
            ("13_-1_5", ""),
        ];
        NodeNames::new(nodes.map(|(id, older)| (id.to_owned(), older.to_owned())))
    }

    fn checked(view: &Value) -> (QParams, Vec<String>) {
        let (view, notices) = QParams::deserialize(view).unwrap().for_nodes(&names(), "g.json");
        (view, notices.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_view_of_nodes_that_are_there_stays_as_it_is() {
        let view = json!({"pinnedIds": ["12_345_3", "E_9_0"], "supernodes": [["a b", "7_1_5", "13_-1_5"]]});
        for clicked in ["", "7_1_5", "12_345-0", "s:7_1_5", "a b", "AB"] {
            let mut view = view.clone();
            view["clickedId"] = json!(clicked);
            let (read, notices) = checked(&view);
            assert_eq!(read, QParams::deserialize(&view).unwrap());
            assert!(notices.is_empty(), "{clicked}: {notices:?}");
        }
    }

    #[test]
    fn an_older_name_stands_for_all_its_nodes() {
        let (view, notices) = checked(&json!({
            "pinnedIds": ["12_345_5", "12_345-0", "7_1-0"], "supernodes": [["g", "12_345-0"]]
        }));
        assert_eq!(view.pinned_ids, ["12_345_5", "12_345_3", "7_1_5"]);
        assert_eq!(view.supernodes, [["g", "12_345_3", "12_345_5"]]);
        let [note] = notices.as_slice() else { panic!("{notices:?}") };
        assert!(note.starts_with("note: ") && note.contains("`12_345-0` for 12_345_3, 12_345_5"), "{note}");
    }

    #[test]
    fn ids_that_no_node_has_stay_and_are_reported() {
        let view = json!({
            "pinnedIds": ["9_9_9", "7_1_5"], "supernodes": [["capital", "1_1_1", "7_1_5"], ["x", "2_2_2"]],
            "clickedId": "Nowhere"
        });
        let (read, notices) = checked(&view);
        assert_eq!(read, QParams::deserialize(&view).unwrap());
        let [warning] = notices.as_slice() else { panic!("{notices:?}") };
        for part in [
            "warning: 4 ids",
            "g.json",
            "pinnedIds 9_9_9",
            "group `capital` 1_1_1",
            "`x` 2_2_2",
            "clickedId Nowhere",
        ] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
        let many: Vec<_> = (0..50).map(|n| format!("9_{n}_0")).collect();
        let (_, notices) = checked(&json!({"pinnedIds": many}));
        assert!(notices[0].contains("9_4_0 and 45 more") && !notices[0].contains("9_5_0"), "{notices:?}");
    }

    #[test]
    fn the_pages_own_node_for_a_difference_is_known() {
        let view = json!({"pinnedIds": ["logit-diff"], "logitDiff": "a__vs__b"});
        assert!(checked(&view).1.is_empty());
        assert_eq!(checked(&json!({"pinnedIds": ["logit-diff"]})).1.len(), 1);
    }
}
