//! Checks a graph file that someone hands in: every fault with its place, as far as a reader needs the file to be right.
//!
//! What passes, [`super::read_graph_json`] reads, unless a node or link has a key twice. Nodes and links are looked at one by one and not kept, so that a large
//! file takes no memory. Dangling links, ids that two nodes share and unknown keys are no faults: readers cope with them.

use super::{LinkRecord, Metadata, NodeRecord, QParams};
use crate::Slug;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::io::Read;

/// More faults than this help nobody.
const MOST_FAULTS: usize = 50;

/// Something in a file that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a JSON pointer: `/nodes/3/layer`.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// A file that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedGraph {
    /// Its metadata.
    pub metadata: Metadata,
    /// How many nodes it has.
    pub n_nodes: usize,
    /// How many links it has.
    pub n_links: usize,
}

/// Why a file did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is no JSON, or could not be read.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is JSON, but no graph file. At least one fault, at most fifty.
    #[error("not a graph file: {}: {}", .0[0].path, .0[0].reason)]
    Faults(Vec<Fault>),
}

/// Checks a graph file.
///
/// # Errors
/// If it is no JSON, or not of the form of a graph file.
pub fn check_graph_json(from: impl Read) -> Result<CheckedGraph, CheckError> {
    let mut check = Check::default();
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(1 << 16, from));
    match (&mut check).deserialize(&mut json) {
        // JSON, but of another form altogether; the message says where.
        Err(e) if e.is_data() => {
            check.fault("/", e.to_string());
            return Err(CheckError::Faults(check.faults));
        }
        outcome => outcome?,
    }
    json.end()?;
    for (key, seen) in [
        ("metadata", check.metadata.is_some()),
        ("qParams", check.view),
        ("nodes", check.n_nodes.is_some()),
        ("links", check.n_links.is_some()),
    ] {
        // What was there but wrong has been reported.
        if !seen && !check.faults.iter().any(|fault| fault.path[1..].split('/').next() == Some(key)) {
            check.fault(format!("/{key}"), "is missing");
        }
    }
    match (check.metadata, check.n_nodes, check.n_links) {
        (Some(metadata), Some(n_nodes), Some(n_links)) if check.faults.is_empty() => {
            Ok(CheckedGraph { metadata, n_nodes, n_links })
        }
        _ => Err(CheckError::Faults(check.faults)),
    }
}

/// What a key may hold.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Number,
    Whole,
    Natural,
    Flag,
    LayerName,
}

impl Form {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Self::Number => value.is_number(),
            Self::Whole => value.as_i64().is_some(),
            Self::Natural => value.as_i64().is_some_and(|n| n >= 0),
            Self::Flag => value.is_boolean(),
            Self::LayerName => value.is_string() || value.as_i64().is_some(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::Natural => "a whole number from 0",
            Self::Flag => "true or false",
            Self::LayerName => "a text or a whole number",
        }
    }
}

/// Key, form, and whether it must be there; what need not be there may be null.
type Keys = &'static [(&'static str, Form, bool)];

const METADATA: Keys = &[
    ("slug", Form::Text, true),
    ("scan", Form::Text, true),
    ("transcoder_list", Form::Texts, false),
    ("prompt_tokens", Form::Texts, true),
    ("prompt", Form::Text, true),
    ("node_threshold", Form::Number, false),
    ("schema_version", Form::Natural, false),
];

const NODE: Keys = &[
    ("node_id", Form::Text, true),
    ("feature", Form::Whole, false),
    ("layer", Form::LayerName, true),
    ("ctx_idx", Form::Natural, true),
    ("feature_type", Form::Text, true),
    ("token_prob", Form::Number, false),
    ("is_target_logit", Form::Flag, false),
    ("run_idx", Form::Whole, false),
    ("reverse_ctx_idx", Form::Whole, false),
    ("jsNodeId", Form::Text, false),
    ("clerp", Form::Text, false),
    ("influence", Form::Number, false),
    ("activation", Form::Number, false),
];

const LINK: Keys =
    &[("source", Form::Text, true), ("target", Form::Text, true), ("weight", Form::Number, true)];

#[derive(Default)]
struct Check {
    metadata: Option<Metadata>,
    view: bool,
    n_nodes: Option<usize>,
    n_links: Option<usize>,
    faults: Vec<Fault>,
}

impl Check {
    fn fault(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { path: path.into(), reason: reason.into() });
        }
    }

    /// Checks the keys of an object; what it is as a record, if it is one.
    fn object<T: for<'de> Deserialize<'de>>(&mut self, path: &str, value: &Value, keys: Keys) -> Option<T> {
        let before = self.faults.len();
        let Some(map) = value.as_object() else {
            self.fault(path, format!("expected an object, found {}", kind(value)));
            return None;
        };
        for &(key, form, required) in keys {
            match map.get(key) {
                None if required => self.fault(format!("{path}/{key}"), "is missing"),
                Some(Value::Null) if !required => {}
                Some(value) if !form.holds(value) => self.fault(
                    format!("{path}/{key}"),
                    format!("expected {}, found {}", form.name(), kind(value)),
                ),
                _ => {}
            }
        }
        if self.faults.len() > before {
            return None;
        }
        // The tables above say why; that a reader takes it has the last word.
        match T::deserialize(value) {
            Ok(record) => Some(record),
            Err(e) => {
                self.fault(path, e.to_string());
                None
            }
        }
    }

    fn metadata(&mut self, value: &Value) {
        self.metadata = self.object("/metadata", value, METADATA);
        let slug = self.metadata.as_ref().map(|metadata| Slug::new(&metadata.slug));
        if let Some(Err(e)) = slug {
            self.fault("/metadata/slug", e.to_string());
        }
    }

    fn view(&mut self, value: &Value) {
        self.view = self.object::<QParams>("/qParams", value, &[]).is_some();
    }
}

/// What a value is, in a few words.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.len() <= 40 => format!("{text:?}"),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

impl<'de> DeserializeSeed<'de> for &mut Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph file (an object with metadata, qParams, nodes, links)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            // Readers would take one of the two; which one differs.
            if seen.insert(key.clone(), Value::Null).is_some() {
                self.fault("/", format!("the key `{key}` is there twice"));
            }
            match key.as_str() {
                "metadata" => self.metadata(&map.next_value()?),
                "qParams" => self.view(&map.next_value()?),
                "nodes" => {
                    let check = |check: &mut Check, path: &str, value: &Value| {
                        check.object::<NodeRecord>(path, value, NODE);
                    };
                    self.n_nodes = map.next_value_seed(List { check: self, name: "nodes", each: check })?;
                }
                "links" => {
                    let check = |check: &mut Check, path: &str, value: &Value| {
                        check.object::<LinkRecord>(path, value, LINK);
                    };
                    self.n_links = map.next_value_seed(List { check: self, name: "links", each: check })?;
                }
                _ => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A list of records, each checked and dropped; gives how many there are.
struct List<'a> {
    check: &'a mut Check,
    name: &'static str,
    each: fn(&mut Check, &str, &Value),
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<usize>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<usize>, A::Error> {
        let mut n = 0;
        while let Some(value) = list.next_element::<Value>()? {
            (self.each)(self.check, &format!("/{}/{n}", self.name), &value);
            n += 1;
        }
        Ok(Some(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "metadata": {"slug": "toy", "scan": "a/b", "prompt_tokens": ["x"], "prompt": "x", "node_threshold": null},
            "qParams": {"pinnedIds": "1_2_0"},
            "nodes": [{"node_id": "1_2_0", "feature": 8, "layer": 1, "ctx_idx": 0, "feature_type": "lorsa", "more": []}],
            "links": [{"source": "1_2_0", "target": "nowhere", "weight": -1}],
            "qk_only_nodes": {}
        })
    }

    fn faults(value: &Value) -> Vec<(String, String)> {
        match check_graph_json(value.to_string().as_bytes()) {
            Err(CheckError::Faults(faults)) => faults.into_iter().map(|f| (f.path, f.reason)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_passes_and_a_reader_takes_it() {
        let file = sample();
        let checked = check_graph_json(file.to_string().as_bytes()).unwrap();
        assert_eq!((checked.metadata.slug.as_str(), checked.n_nodes, checked.n_links), ("toy", 1, 1));
        assert!(serde_json::from_value::<super::super::GraphFile>(file).is_ok());
    }

    #[test]
    fn faults_are_named_with_their_places() {
        for (pointer, value, path, says) in [
            ("/metadata/slug", json!("../x"), "/metadata/slug", "begins with a dot"),
            ("/metadata/prompt_tokens", json!([1]), "/metadata/prompt_tokens", "a list of texts"),
            ("/metadata/schema_version", json!(-1), "/metadata/schema_version", "from 0, found -1"),
            ("/metadata", json!(null), "/metadata", "an object, found null"),
            ("/qParams", json!([]), "/qParams", "an object, found a list"),
            ("/nodes/0/layer", json!(1.5), "/nodes/0/layer", "found 1.5"),
            ("/nodes/0/ctx_idx", json!(-1), "/nodes/0/ctx_idx", "found -1"),
            ("/nodes/0/node_id", json!(null), "/nodes/0/node_id", "a text, found null"),
            ("/nodes/0", json!("x"), "/nodes/0", "found \"x\""),
            ("/links/0/weight", json!("1"), "/links/0/weight", "a number"),
        ] {
            let mut file = sample();
            *file.pointer_mut(pointer).unwrap() = value;
            let found = faults(&file);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0 == path && found[0].1.contains(says), "{found:?}");
        }
        assert_eq!(faults(&json!({})).len(), 4);
        for (file, says) in [(json!([]), "expected a graph file"), (json!({"nodes": {}}), "a list of nodes")]
        {
            let found = faults(&file);
            assert!(found.last().unwrap().1.contains(says), "{found:?}");
        }
        let many = json!({"metadata": {}, "qParams": {}, "nodes": vec![1; 99], "links": []});
        assert_eq!(faults(&many).len(), MOST_FAULTS);
    }

    #[test]
    fn what_is_no_json_is_an_error_of_its_own() {
        let deep = format!(r#"{{"qParams": {}"#, "[".repeat(100_000));
        let bad = ["", "{", r#"{"nodes": [NaN]}"#, "{} {}", deep.as_str()];
        for text in bad {
            assert!(matches!(check_graph_json(text.as_bytes()), Err(CheckError::Json(_))), "{text:.20}");
        }
        let twice = br#"{"links": [], "links": []}"#;
        let Err(CheckError::Faults(found)) = check_graph_json(&twice[..]) else { panic!() };
        assert!(found.iter().any(|f| f.reason.contains("twice")), "{found:?}");
    }
}
