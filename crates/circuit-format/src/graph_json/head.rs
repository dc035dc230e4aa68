//! The head of a graph file: its metadata, without reading nodes and links where they come later, as they do.

use super::Metadata;
use crate::FormatError;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The metadata of a graph file, `None` if the file is none: no JSON object that has metadata and a list of nodes, or cut
/// off. Reads no further than it must, so a fault far behind in the file stays unseen.
///
/// # Errors
/// If the file cannot be read.
pub fn read_graph_head(path: &Path) -> Result<Option<Metadata>, FormatError> {
    let failed = |e| FormatError::io(path, "read")(e);
    let mut file = File::open(path).map_err(failed)?;
    if !ends_like_an_object(&mut file).map_err(failed)? {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut head = Head::default();
    let outcome = (&mut head)
        .deserialize(&mut serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file)));
    match outcome {
        Err(e) if e.is_io() => Err(failed(e.into())),
        // An error is also how reading stops early.
        _ => Ok(head.metadata.filter(|_| head.has_nodes)),
    }
}

/// Whether the last thing in the file is a closing brace: a file that is still being written, or was cut off, is told
/// apart without reading all of it.
fn ends_like_an_object(file: &mut File) -> io::Result<bool> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(64)))?;
    let mut tail = Vec::new();
    file.take(64).read_to_end(&mut tail)?;
    Ok(tail.trim_ascii_end().ends_with(b"}"))
}

#[derive(Default)]
struct Head {
    metadata: Option<Metadata>,
    has_nodes: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Head {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => self.metadata = Some(map.next_value()?),
                "nodes" => map.next_value_seed(Nodes(self))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Nodes<'a>(&'a mut Head);

impl<'de> DeserializeSeed<'de> for Nodes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Nodes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.has_nodes = true;
        if self.0.metadata.is_some() {
            return Err(A::Error::custom("enough is known"));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str =
        r#"{"slug": "s", "scan": "x", "prompt_tokens": ["a"], "prompt": "a", "info": {"k": 1}}"#;

    fn head(text: &str) -> Option<Metadata> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.json");
        std::fs::write(&path, text).unwrap();
        read_graph_head(&path).unwrap()
    }

    #[test]
    fn metadata_are_found_in_any_order_and_before_faults() {
        for text in [
            format!(r#"{{"metadata": {METADATA}, "qParams": {{}}, "nodes": [], "links": []}}"#),
            format!(r#"{{"links": [1, {{"a": []}}], "nodes": [{{}}], "metadata": {METADATA}}} "#),
            // Python writes NaN, which is no JSON; the page may still be able to show such a graph.
            format!("{{\"metadata\": {METADATA}, \"nodes\": [], \"links\": [NaN]}}\n"),
        ] {
            let found = head(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.slug.as_str(), &found.other["info"]["k"]), ("s", &1.into()));
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        for text in [
            String::new(),
            "[]".into(),
            r#"{"graphs": []}"#.into(),
            r#"{"metadata": {"total_size": 1}, "weight_map": {}}"#.into(),
            format!(r#"{{"metadata": {METADATA}}}"#),
            format!(r#"{{"metadata": {METADATA}, "nodes": {{}}}}"#),
            format!(r#"{{"metadata": {METADATA}, "nodes": [{{"node_id": "#),
        ] {
            assert_eq!(head(&text), None, "{text}");
        }
        assert!(read_graph_head(Path::new("none.json")).unwrap_err().to_string().contains("none.json"));
    }
}
