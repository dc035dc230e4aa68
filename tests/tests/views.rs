//! `--view`: which of its ids the new graph has, from the binary. Pins, groups and labels themselves are tested in `cli`.

use crate::cli::{run, text};
use circuit_tests::{CASES, fixture};
use serde_json::{Value, json};
use std::path::Path;

/// A graph of the first fixture with a view; its `qParams`, its nodes' ids, and what was said.
fn attributed(folder: &Path, view: &Value, more: &[&str]) -> (Value, Vec<String>, String) {
    let file = folder.join("view.json");
    std::fs::write(&file, view.to_string()).unwrap();
    let (model, set) = (fixture(CASES[0]).join("model"), fixture(CASES[0]).join("transcoders"));
    let raw = folder.join("g.safetensors");
    let mut args = vec!["attribute", "-m", model.to_str().unwrap(), "-t", set.to_str().unwrap()];
    args.extend(["--prompt-ids", "17,30,41,8,17,30", "--slug", "new", "-o", raw.to_str().unwrap()]);
    args.extend(["--node-threshold", "1"]);
    args.extend(["--graph-file-dir", folder.to_str().unwrap(), "--view", file.to_str().unwrap()]);
    args.extend(more);
    let output = run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (view, ids) = read(folder);
    (view, ids, text(&output.stderr))
}

fn read(folder: &Path) -> (Value, Vec<String>) {
    let mut graph: Value = serde_json::from_slice(&std::fs::read(folder.join("new.json")).unwrap()).unwrap();
    let id = |node: &Value| node["node_id"].as_str().unwrap().to_owned();
    let ids = graph["nodes"].as_array().unwrap().iter().map(id).collect();
    (graph["qParams"].take(), ids)
}

#[test]
fn ids_that_the_new_graph_has_not_are_said_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ids, stderr) = attributed(dir.path(), &json!({}), &[]);
    assert!(!stderr.contains("ids in the view") && !stderr.contains("older names"), "{stderr}");
    // A feature that stands at two positions, so that its older name stands for two nodes.
    let feature = |id: &str| id.rsplit_once('_').unwrap().0.to_owned();
    let features: Vec<_> = ids.iter().filter(|id| !id.starts_with('E') && !id.contains("-1")).collect();
    let twice = features.iter().find(|a| features.iter().filter(|b| feature(a) == feature(b)).count() > 1);
    let name = feature(twice.expect("a feature at two positions"));
    let at: Vec<_> = features.iter().filter(|id| feature(id) == name).collect();
    let view = json!({
        "pinnedIds": [format!("{name}-0"), "9_9_9"], "clickedId": "Nowhere",
        "supernodes": [["g", at[0], "8_8_8"], ["older", format!("{name}-0")]],
    });
    let expected = {
        let pins: Vec<_> = at.iter().map(|id| id.as_str()).chain(["9_9_9"]).collect();
        let older: Vec<_> = ["older"].into_iter().chain(at.iter().map(|id| id.as_str())).collect();
        json!({"pinnedIds": pins, "clickedId": "Nowhere", "supernodes": [["g", at[0], "8_8_8"], older]})
    };
    let said = |stderr: &str| {
        for part in [
            "warning: 3 ids in the view are no nodes of new.json",
            "pinnedIds 9_9_9; group `g` 8_8_8; clickedId Nowhere",
            "note: older names (jsNodeId) in the view stand for nodes of new.json",
            &format!("`{name}-0` for {}, ", at[0]),
        ] {
            assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    };
    let same = |found: &Value| {
        for key in ["pinnedIds", "supernodes", "clickedId"] {
            assert_eq!(found[key], expected[key]);
        }
    };
    let (found, _, stderr) = attributed(dir.path(), &view, &[]);
    same(&found);
    said(&stderr);
    let (raw, file) = (dir.path().join("g.safetensors"), dir.path().join("view.json"));
    let output = run(&[
        "graph-files",
        raw.to_str().unwrap(),
        "--slug",
        "new",
        "--graph-file-dir",
        dir.path().to_str().unwrap(),
        "--view",
        file.to_str().unwrap(),
        "--node-threshold",
        "1",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    same(&read(dir.path()).0);
    said(&text(&output.stderr));
}

#[test]
fn a_graph_file_without_a_view_gives_none() {
    let dir = tempfile::tempdir().unwrap();
    let graph = json!({"metadata": {"slug": "old"}, "nodes": [], "links": []});
    let (found, _, _) = attributed(dir.path(), &graph, &[]);
    assert!(found["nodes"].is_null() && found["metadata"].is_null(), "{found}");
    assert_eq!(found["pinnedIds"], json!([]));
}
