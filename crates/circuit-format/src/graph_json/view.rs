//! `qParams`: the saved state of the page. Two dialects are read: typed JSON, and what the reference page saves, where
//! lists become comma-joined or JSON text in a string. Typed JSON is written.
//!
//! A value in neither form is left out and reported: a graph whose saved pins are damaged should still open.

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The saved state of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct QParams {
    /// Ids of the nodes in the subgraph, in the order in which they were pinned.
    pub pinned_ids: Vec<String>,
    /// Groups of nodes: a label, then the members' ids.
    pub supernodes: Vec<Vec<String>>,
    /// Which links are shown: `input`, `output`, `either`, `both`.
    pub link_type: String,
    /// The selected node's id, or nothing.
    pub clicked_id: String,
    /// The layout of the subgraph in the old form: numbers separated by spaces.
    pub sg_pos: String,
    /// Where the slider stands.
    pub pruning_threshold: Option<f64>,
    /// Labels given by hand: which feature or node, and the label.
    pub clerps: Vec<(String, String)>,
    /// Features hidden by hand.
    pub hidden_ids: Vec<String>,
    /// Keys that this crate does not know.
    pub other: Map<String, Value>,
    /// What was read in no known form and left out; never written.
    pub unread: Vec<String>,
}

impl Default for QParams {
    fn default() -> Self {
        Self {
            pinned_ids: Vec::new(),
            supernodes: Vec::new(),
            link_type: "both".into(),
            clicked_id: String::new(),
            sg_pos: String::new(),
            pruning_threshold: None,
            clerps: Vec::new(),
            hidden_ids: Vec::new(),
            other: Map::new(),
            unread: Vec::new(),
        }
    }
}

impl Serialize for QParams {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("pinnedIds", &self.pinned_ids)?;
        map.serialize_entry("supernodes", &self.supernodes)?;
        map.serialize_entry("linkType", &self.link_type)?;
        map.serialize_entry("clickedId", &self.clicked_id)?;
        map.serialize_entry("sg_pos", &self.sg_pos)?;
        if let Some(threshold) = self.pruning_threshold {
            map.serialize_entry("pruningThreshold", &threshold)?;
        }
        if !self.clerps.is_empty() {
            map.serialize_entry("clerps", &self.clerps)?;
        }
        if !self.hidden_ids.is_empty() {
            map.serialize_entry("hiddenIds", &self.hidden_ids)?;
        }
        for (key, value) in &self.other {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for QParams {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map: Option<Map<String, Value>> = Option::deserialize(from)?;
        let mut view = Self::default();
        for (key, value) in map.into_iter().flatten() {
            if !view.take(&key, &value) {
                view.unread.push(key);
            }
        }
        Ok(view)
    }
}

impl QParams {
    /// Takes one key over; false if the value has no known form.
    fn take(&mut self, key: &str, value: &Value) -> bool {
        fn put<T>(to: &mut T, read: Option<T>) -> bool {
            read.map(|value| *to = value).is_some()
        }
        let known =
            ["pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos", "pruningThreshold", "clerps"];
        if is_absent(value) && (known.contains(&key) || key == "hiddenIds") {
            return true;
        }
        match key {
            "pinnedIds" => put(&mut self.pinned_ids, list(value)),
            "supernodes" => put(&mut self.supernodes, json_in_text(value)),
            "linkType" => put(&mut self.link_type, value.as_str().map(str::to_owned)),
            "clickedId" => put(&mut self.clicked_id, value.as_str().map(str::to_owned)),
            "sg_pos" => put(&mut self.sg_pos, value.as_str().map(str::to_owned)),
            "pruningThreshold" => {
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                put(&mut self.pruning_threshold, number.filter(|n| n.is_finite()).map(Some))
            }
            "clerps" => put(&mut self.clerps, json_in_text(value)),
            "hiddenIds" => put(&mut self.hidden_ids, list(value)),
            _ => {
                self.other.insert(key.into(), value.clone());
                true
            }
        }
    }
}

/// The reference page saves what it reads from the address, where nothing is spelled in four ways.
fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Null) || value.as_str().is_some_and(|s| matches!(s, "" | "null" | "undefined"))
}

/// A list of names, its JSON text in a string, or the names joined by commas.
fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) if text.trim_start().starts_with('[') => json_in_text(value),
        Value::String(joined) => {
            Some(joined.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect())
        }
        _ => Vec::deserialize(value).ok(),
    }
}

/// A value, or its JSON text in a string.
fn json_in_text<T: for<'de> Deserialize<'de>>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => T::deserialize(value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_dialects_say_the_same() {
        let typed = json!({
            "pinnedIds": ["1_7_2", "E_900_2"], "supernodes": [["sky \"blue\"", "1_7_2"]], "linkType": "both",
            "clickedId": "1_7_2", "sg_pos": "1 2", "pruningThreshold": 0.63, "clerps": [["43", "sky"]],
            "hiddenIds": ["43"], "gridsnap": "x"
        });
        let saved = json!({
            "pinnedIds": "1_7_2,E_900_2", "supernodes": "[[\"sky \\\"blue\\\"\",\"1_7_2\"]]", "linkType": null,
            "clickedId": "1_7_2", "sg_pos": "1 2", "pruningThreshold": "0.63", "clerps": "[[\"43\",\"sky\"]]",
            "hiddenIds": "[\"43\"]", "gridsnap": "x"
        });
        let typed_view = QParams::deserialize(&typed).unwrap();
        assert_eq!(QParams::deserialize(&saved).unwrap(), typed_view);
        assert_eq!(serde_json::to_value(&typed_view).unwrap(), typed);
    }

    #[test]
    fn nothing_has_four_spellings() {
        for nothing in [json!(null), json!(""), json!("null"), json!("undefined")] {
            let view = json!({"pinnedIds": nothing, "supernodes": nothing, "clerps": nothing, "linkType": nothing,
                "clickedId": nothing, "pruningThreshold": nothing, "hiddenIds": nothing, "sg_pos": nothing});
            assert_eq!(QParams::deserialize(&view).unwrap(), QParams::default());
        }
        assert_eq!(QParams::deserialize(&json!(null)).unwrap(), QParams::default());
        assert_eq!(QParams::deserialize(&json!({})).unwrap(), QParams::default());
    }

    #[test]
    fn damaged_values_are_left_out_and_named() {
        let view = json!({"pinnedIds": 3, "supernodes": "[[", "clerps": {"a": 1}, "pruningThreshold": "NaN"});
        let read = QParams::deserialize(&view).unwrap();
        assert_eq!(read.unread, ["pinnedIds", "supernodes", "clerps", "pruningThreshold"]);
        assert!(read.pinned_ids.is_empty() && read.supernodes.is_empty());
    }
}
