//! The files of the Python reference: ours are the same but for the names of errors, and its own are read.

use crate::support::{Golden, data, json_file, options};
use circuit_format::{NodeKind, PtLimit, read_graph_json, read_pt, write_graph_files};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// `graph.json` and its entry in the listing, written from the case's graph.
fn writes_the_same(name: &str, folder: &Path, golden: &Golden) {
    let out = tempfile::tempdir().unwrap();
    let written = write_graph_files(out.path(), &golden.graph, &golden.kept(), &options(name)).unwrap();
    let mut ours = json_file(&written.path);
    let theirs = json_file(&folder.join("graph.json"));
    assert_eq!(written.n_nodes, theirs["nodes"].as_array().unwrap().len());
    assert_eq!(written.n_links, theirs["links"].as_array().unwrap().len());
    let listing = json_file(&out.path().join("graph-metadata.json"));
    assert_eq!(listing, json!({ "graphs": [theirs["metadata"]] }));

    // The reference names the error of layer l at position p like feature l of layer 0 there.
    let mut old_ids = HashMap::new();
    for node in ours["nodes"].as_array_mut().unwrap() {
        if node["feature_type"] == "mlp reconstruction error" {
            let (layer, pos) = (node["layer"].as_str().unwrap().to_owned(), node["ctx_idx"].clone());
            assert_eq!(node["node_id"], format!("{layer}_-1_{pos}"));
            assert_eq!(node["jsNodeId"], format!("{layer}_-1-{pos}"));
            let old = Value::from(format!("0_{layer}_{pos}"));
            old_ids.insert(node["node_id"].clone(), old.clone());
            node["node_id"] = old;
            node["jsNodeId"] = format!("{layer}_{pos}-0").into();
        }
    }
    for link in ours["links"].as_array_mut().unwrap() {
        for end in ["source", "target"] {
            if let Some(old) = old_ids.get(&link[end]) {
                link[end] = old.clone();
            }
        }
    }
    for part in ["metadata", "qParams", "nodes", "links"] {
        assert_eq!(ours[part], theirs[part], "{name}: {part}");
    }
    let text = std::fs::read_to_string(&written.path).unwrap();
    for keys in [
        &["metadata", "qParams", "nodes", "links"][..],
        &["slug", "scan", "transcoder_list", "prompt_tokens", "prompt", "node_threshold", "schema_version"],
        &["pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"],
        &[
            "node_id",
            "feature",
            "layer",
            "ctx_idx",
            "feature_type",
            "token_prob",
            "is_target_logit",
            "run_idx",
        ],
        &["run_idx", "reverse_ctx_idx", "jsNodeId", "clerp", "influence", "activation"],
        &["source", "target", "weight"],
    ] {
        let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{name}: order of {keys:?}");
    }
    assert!(text.starts_with("{\n  \"metadata\": {\n    \"slug\": "), "indented by two");
}

#[test]
fn graph_files_equal_the_reference() {
    for name in ["llama-plt-relu", "llama-clt-relu"] {
        let folder = data(name);
        let rows = read_pt(&folder.join("graph.pt"), PtLimit(1 << 30)).unwrap().graph.rows;
        writes_the_same(name, &folder, &Golden::read(&folder, Some(rows)));
    }
}

/// A larger check by hand: `make.py GOLDEN FOLDER CASE...`, then this with `CIRCUIT_TRACER_GOLDEN=FOLDER`.
#[test]
#[ignore = "needs cases that are not in the project"]
fn graph_files_equal_the_reference_in_other_cases() {
    let folder = std::env::var_os("CIRCUIT_TRACER_GOLDEN").unwrap();
    for case in std::fs::read_dir(folder).unwrap() {
        let case = case.unwrap();
        writes_the_same(
            &case.file_name().into_string().unwrap(),
            &case.path(),
            &Golden::read(&case.path(), None),
        );
    }
}

/// One of the two is packed, as other programs may do.
#[test]
fn the_references_pt_reads() {
    for name in ["llama-plt-relu", "llama-clt-relu"] {
        let folder = data(name);
        let read = read_pt(&folder.join("graph.pt"), PtLimit(1 << 20)).unwrap();
        let golden = Golden::read(&folder, Some(read.graph.rows.clone()));
        assert!(!read.token_strings_known && read.transcoder_list.is_empty());
        assert_eq!(read.tokenizer, "model");
        let mut graph = read.graph;
        assert_eq!(graph.token_strings[0], format!("<token {}>", graph.tokens[0]));
        graph.token_strings.clone_from(&golden.graph.token_strings);
        assert_eq!(graph, golden.graph);
        for (i, row) in graph.rows.iter().enumerate() {
            let sum: f64 = row.iter().map(|&v| f64::from(v)).sum();
            let size: f64 = row.iter().map(|&v| f64::from(v).abs()).sum();
            assert!((sum - golden.row_sums[i]).abs() < 1e-9, "{name}: row {i}");
            assert!((size - golden.row_sizes[i]).abs() < 1e-9, "{name}: row {i}");
        }
    }
}

#[test]
fn two_nodes_of_one_id_are_kept_apart_and_flagged() {
    let read = read_graph_json(&data("qwen3-plt-topk/graph.json")).unwrap();
    assert_eq!(read.links.ambiguous, ["0_0_10"]);
    assert_eq!(read.links.dangling, 0);
    assert_eq!(read.links.links.len(), read.file.links.len());
    let nodes = &read.file.nodes;
    let kinds: Vec<_> = nodes.iter().map(|n| n.kind(read.file.metadata.schema_version)).collect();
    let both: Vec<_> = (0..nodes.len()).filter(|&i| nodes[i].node_id == "0_0_10").collect();
    assert!(matches!((kinds[both[0]], kinds[both[1]]), (NodeKind::Feature(_), NodeKind::Error(..))));
    assert!(!read.links.links.iter().any(|l| l.source == both[1] || l.target == both[1]));
    // By kind, every node is another.
    assert_eq!(kinds.iter().collect::<std::collections::HashSet<_>>().len(), nodes.len());
    assert!(!kinds.contains(&NodeKind::Other));
}
