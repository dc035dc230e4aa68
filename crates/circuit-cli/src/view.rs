//! `--view FILE.json` and `--graph FILE.json`: pins, groups and labels of a graph file, or of a file that holds them alone.
//!
//! So that work done on one graph goes over to the next one of the same prompt. Not here: which ids a new graph has; that is
//! checked where it is written.

use crate::failure::{Code, Failure};
use crate::say::say_notices;
use circuit_format::QParams;
use circuit_index::Notice;
use circuit_model::text::without_mark;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// A view, and the nodes of the graph file that it stands in.
pub(crate) struct Saved {
    pub(crate) view: QParams,
    /// None of a file that holds a view alone.
    pub(crate) nodes: Vec<SavedNode>,
}

/// A node of a graph file, as far as a view needs it.
pub(crate) struct SavedNode {
    pub(crate) id: String,
    /// `jsNodeId`, which nodes share.
    pub(crate) older_id: String,
    pub(crate) feature_type: String,
}

/// A graph file without its links.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "qParams")]
    view: Option<Value>,
    nodes: Option<Value>,
}

/// Reads the view of a graph file, or of a file of its own.
pub(crate) fn read(path: &Path) -> Result<QParams, Failure> {
    Ok(read_saved(path)?.view)
}

/// Reads a view and the names of its graph's nodes.
pub(crate) fn read_saved(path: &Path) -> Result<Saved, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let expected = "expected a graph file, or an object with pinnedIds, supernodes and the like";
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let text = without_mark(&text);
    let wrong = |e: serde_json::Error| {
        let what = if e.is_data() { "this is no view" } else { "this is not JSON" };
        bad(format!("{what} from line {}, column {} on; {expected}", e.line(), e.column()))
    };
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(bad(format!("a list is no view; {expected}")));
    }
    let file: File = serde_json::from_slice(text).map_err(wrong)?;
    let nodes: Vec<_> = file.nodes.iter().filter_map(Value::as_array).flatten().map(node).collect();
    let view = match (file.view, file.nodes) {
        (Some(view), _) => QParams::deserialize(view)
            .map_err(|_| bad("`qParams` is no object; expected a saved view".into()))?,
        // A graph file without a view.
        (None, Some(_)) => QParams::default(),
        (None, None) => serde_json::from_slice(text).map_err(wrong)?,
    };
    if !view.unread.is_empty() {
        let keys: Vec<_> = view.unread.iter().map(|key| format!("`{key}`")).collect();
        let what =
            format!("{}: in a form that is not known, and left out: {}", path.display(), keys.join(", "));
        say_notices(&[Notice::warning(what)]);
    }
    Ok(Saved { view, nodes })
}

fn node(value: &Value) -> SavedNode {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    SavedNode { id: text("node_id"), older_id: text("jsNodeId"), feature_type: text("feature_type") }
}
