//! Saves a view into a graph file without reading the graph: the bytes of `qParams` are replaced, all others stay.
//!
//! So a save costs one pass over the bytes, keeps every key, its order and its numbers as they were written, and works
//! on files that no strict reader takes (Python writes NaN). Only where values begin and end is looked at here; whether
//! they are valid JSON is not.

use crate::error::Problem;
use crate::{FormatError, Slug};
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::Path;

/// The content `file` of a graph file with `view` as its `qParams`. `path` is for the error.
///
/// # Errors
/// If `file` is no object with metadata.
pub fn with_view(path: &Path, file: &[u8], view: &Value) -> Result<Vec<u8>, FormatError> {
    let parts = Parts::of(file).ok_or_else(|| no_graph(path))?;
    Ok(match parts.view.clone() {
        Some(place) => replaced(file, place, &parts.text(view)),
        None => {
            let space = if parts.pretty { "\n  " } else { " " };
            let text = format!(",{space}\"qParams\": {}", parts.text(view));
            replaced(file, parts.metadata.end..parts.metadata.end, &text)
        }
    })
}

/// The content `file` of a graph file with `slug` in its metadata. `path` is for the error.
///
/// # Errors
/// If `file` is no object whose metadata are an object.
pub fn with_slug(path: &Path, file: &[u8], slug: &Slug) -> Result<Vec<u8>, FormatError> {
    let parts = Parts::of(file).ok_or_else(|| no_graph(path))?;
    let metadata = serde_json::from_slice(&file[parts.metadata.clone()]);
    let mut metadata: Map<String, Value> = metadata.map_err(|_| no_graph(path))?;
    metadata.insert("slug".into(), slug.as_str().into());
    let text = parts.text(&Value::Object(metadata));
    Ok(replaced(file, parts.metadata, &text))
}

fn no_graph(path: &Path) -> FormatError {
    Problem::new("the file", "an object that has metadata", "something else, or a part of one").at(path)
}

fn replaced(file: &[u8], place: Range<usize>, text: &str) -> Vec<u8> {
    [&file[..place.start], text.as_bytes(), &file[place.end..]].concat()
}

/// Where things are in a graph file.
struct Parts {
    /// Whether the file has a line for each value, as circuit-tracer writes.
    pretty: bool,
    /// The value of `qParams`; of several the last, which is the one that readers take.
    view: Option<Range<usize>>,
    metadata: Range<usize>,
}

impl Parts {
    fn of(file: &[u8]) -> Option<Self> {
        let mut at = Cursor { file, at: 0 };
        at.space();
        at.expect(b'{')?;
        let pretty = file[at.at..].starts_with(b"\n") || file[at.at..].starts_with(b"\r\n");
        let (mut view, mut metadata) = (None, None);
        loop {
            at.space();
            let key = at.string()?;
            at.space();
            at.expect(b':')?;
            at.space();
            let start = at.at;
            at.value()?;
            // A key may be written with escapes.
            match serde_json::from_slice::<String>(&file[key]).ok()?.as_str() {
                "qParams" => view = Some(start..at.at),
                "metadata" => metadata = Some(start..at.at),
                _ => {}
            }
            at.space();
            match at.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        at.space();
        (at.at == file.len()).then_some(Self { pretty, view, metadata: metadata? })
    }

    /// A value as it should stand in this file, one level down.
    fn text(&self, value: &Value) -> String {
        if self.pretty { format!("{value:#}").replace('\n', "\n  ") } else { value.to_string() }
    }
}

struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.file.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn space(&mut self) {
        let rest = &self.file[self.at..];
        self.at += rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len());
    }

    /// Goes past a string; where it is, quotes included.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.next()? {
                b'"' => return Some(start..self.at),
                b'\\' => {
                    self.next()?;
                }
                _ => {}
            }
        }
    }

    /// Goes past a value of any kind. Depth is counted, not recursed into: no nesting is too deep.
    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.file.get(self.at)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    // A number or a word, which ends where something else begins.
                    let start = self.at;
                    let rest = &self.file[start..];
                    let end = rest.iter().position(|b| {
                        matches!(b, b',' | b'}' | b']' | b'"' | b'{' | b'[' | b':') || b.is_ascii_whitespace()
                    });
                    self.at += end?;
                    if self.at == start {
                        return None;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn spliced(file: &str, view: &Value) -> Result<String, String> {
        let out = with_view(Path::new("g.json"), file.as_bytes(), view);
        out.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn only_the_view_changes() {
        let view = json!({"pinnedIds": ["a"], "z": {"b": 0.1}});
        for (file, expected) in [
            (
                r#"{"metadata":{"a":"}\""},"qParams":{"x":[1]},"links":[NaN,1e400]}"#,
                r#"{"metadata":{"a":"}\""},"qParams":{"pinnedIds":["a"],"z":{"b":0.1}},"links":[NaN,1e400]}"#,
            ),
            (
                r#" {"qParams" : null , "metadata" : 1 } "#,
                r#" {"qParams" : {"pinnedIds":["a"],"z":{"b":0.1}} , "metadata" : 1 } "#,
            ),
            (r#"{"metadata":{}}"#, r#"{"metadata":{}, "qParams": {"pinnedIds":["a"],"z":{"b":0.1}}}"#),
            // Of two keys the last counts; a key may be escaped.
            (
                r#"{"metadata":{},"qParams":1,"\u0071Params":2}"#,
                r#"{"metadata":{},"qParams":1,"\u0071Params":{"pinnedIds":["a"],"z":{"b":0.1}}}"#,
            ),
            (
                "{\n  \"metadata\": {},\n  \"qParams\": {},\n  \"nodes\": []\n}",
                "{\n  \"metadata\": {},\n  \"qParams\": {\n    \"pinnedIds\": [\n      \"a\"\n    ],\n    \"z\": {\n      \"b\": 0.1\n    }\n  },\n  \"nodes\": []\n}",
            ),
            (
                "{\n  \"metadata\": {}\n}",
                "{\n  \"metadata\": {},\n  \"qParams\": {\n    \"pinnedIds\": [\n      \"a\"\n    ],\n    \"z\": {\n      \"b\": 0.1\n    }\n  }\n}",
            ),
        ] {
            assert_eq!(spliced(file, &view).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"a":1}"#,
            r#"{"metadata":{}"#,
            r#"{"metadata":}"#,
            r#"{"metadata":{},}"#,
            r#"{"metadata" {}}"#,
            r#"{"metadata":{}} x"#,
            r#"{"metadata":{"#,
            r#"{"metadata":"x"#,
            r#"{"metadata":1 2}"#,
            r#"{"metadata":]}"#,
            "{\"metadata\\",
        ] {
            let error = spliced(bad, &json!({})).unwrap_err();
            assert!(error.contains("g.json"), "{error}");
        }
    }

    #[test]
    fn a_slug_is_changed_in_its_place() {
        let renamed = |file: &str| {
            with_slug(Path::new("g.json"), file.as_bytes(), &Slug::new("new").unwrap())
                .map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let file = r#"{"metadata":{"a":0.1,"slug":"old","scan":"s"},"links":[NaN]}"#;
        assert_eq!(renamed(file).unwrap(), file.replace("old", "new"));
        assert!(renamed(r#"{"metadata":[]}"#).is_err() && renamed("{}").is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],:\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,4}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_else_is_equal_as_json(
            before in values(), metadata in values(), old in values(), after in values(),
            view in values(), pretty in any::<bool>(),
        ) {
            let file = json!({"a": before, "metadata": metadata, "qParams": old, "nodes": after});
            let text = if pretty { format!("{file:#}") } else { file.to_string() };
            let mut expected = file;
            expected["qParams"] = view.clone();
            let found: Value = serde_json::from_str(&spliced(&text, &view).unwrap()).unwrap();
            prop_assert_eq!(found.to_string(), expected.to_string());
        }
    }
}
