//! `--view FILE.json`: the pins, groups and labels with which the page opens a new graph.
//!
//! So that work done on one graph goes over to the next one of the same prompt. What a graph does not have is left for the page to
//! pass over.

use crate::failure::{Code, Failure};
use crate::say::say;
use circuit_format::QParams;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Reads the view of a graph file, or of a file of its own.
pub(crate) fn read(path: &Path) -> Result<QParams, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut file: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|e| bad(format!("no view, nor a graph file with one: {e}")))?;
    // A graph file, or the view alone.
    let view = file.remove("qParams").unwrap_or(Value::Object(file));
    let view = QParams::deserialize(view).map_err(|e| bad(e.to_string()))?;
    if let [first, ..] = view.unread.as_slice() {
        say(format_args!("warning: {}: not understood and left out: {first}", path.display()));
    }
    Ok(view)
}
