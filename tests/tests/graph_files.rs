//! From the command line to the reference's `graph.json`, end to end: every golden case traced by the binary.

use crate::cli::{run, text};
use circuit_tests::{CASES, Expected, SCORE, Tolerance, assert_close, fixture, json};
use serde_json::Value;

/// What `attribute` writes of a case at the thresholds and limits of its `graph.json`.
fn traced(case: &str, expected: &Expected) -> (Value, Value) {
    let out = tempfile::tempdir().unwrap();
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let number = |pointer: &str| expected.number(pointer).to_string();
    let folder = path(out.path().into());
    let args = [
        "attribute",
        "--model",
        &path(fixture(case).join("model")),
        "--transcoder_set",
        &path(fixture(case).join("transcoders")),
        "--prompt",
        expected.text("/prompt"),
        "--slug",
        case,
        "--graph_file_dir",
        &folder,
        "--max_n_logits",
        &number("/attribute_args/max_n_logits"),
        "--desired_logit_prob",
        &number("/attribute_args/desired_logit_prob"),
        "--batch_size",
        &number("/attribute_args/batch_size"),
        "--max_feature_nodes",
        "all",
        "--node_threshold",
        &number("/prune/0/node_threshold"),
        "--edge_threshold",
        &number("/prune/0/edge_threshold"),
        // The reference knows it by the model's name, we by the description.
        "--ignored_positions",
        &number("/zero_positions/1"),
    ];
    let output = run(&args);
    assert!(output.status.success(), "{case}: {}", text(&output.stderr));
    let read = |name: &str| serde_json::from_slice(&std::fs::read(out.path().join(name)).unwrap()).unwrap();
    (read(&format!("{case}.json")), read("graph-metadata.json"))
}

/// The numbers of `key` in a list of objects, taken out of it; a missing number stays where it is.
fn take(list: &mut [Value], key: &str) -> Vec<f64> {
    list.iter_mut().filter_map(|object| object.as_object_mut()?.get_mut(key)?.take().as_f64()).collect()
}

/// The names that the reference gives to errors: those of features of layer 0, so that its ids are not unique.
fn old_error_names(graph: &mut Value) {
    let mut old = std::collections::HashMap::new();
    for node in graph["nodes"].as_array_mut().unwrap() {
        if node["feature_type"] == "mlp reconstruction error" {
            let (layer, pos) = (node["layer"].as_str().unwrap().to_owned(), node["ctx_idx"].to_string());
            old.insert(format!("{layer}_-1_{pos}"), format!("0_{layer}_{pos}"));
            node["jsNodeId"] = format!("{layer}_{pos}-0").into();
            node["node_id"] = old[node["node_id"].as_str().unwrap()].clone().into();
        }
    }
    for link in graph["links"].as_array_mut().unwrap() {
        for end in ["source", "target"] {
            if let Some(name) = old.get(link[end].as_str().unwrap()) {
                link[end] = name.clone().into();
            }
        }
    }
}

#[test]
fn the_binary_writes_the_reference_s_graph_json() {
    for case in CASES {
        let expected = Expected::of(case);
        let (mut ours, mut listing) = traced(case, &expected);
        let mut theirs = json(case, "graph.json");
        // What stands in front of prompts is the one thing that the reference's files do not say.
        for metadata in [&mut ours["metadata"], &mut listing["graphs"][0]] {
            let first = metadata.as_object_mut().unwrap().remove("first_token").unwrap();
            assert_eq!(first["id"], expected.at("/input_ids")[0], "{case}");
            assert_eq!(first["text"], expected.at("/token_strings")[0], "{case}");
        }
        assert_eq!(listing, json(case, "graph-metadata.json"), "{case}");
        old_error_names(&mut ours);
        let parts: [(&str, &str, Tolerance); 4] = [
            ("links", "weight", Tolerance::Tensor),
            ("nodes", "activation", Tolerance::Tensor),
            ("nodes", "influence", SCORE),
            ("nodes", "token_prob", SCORE),
        ];
        for (list, key, tolerance) in parts {
            let [found, wanted] =
                [&mut ours, &mut theirs].map(|g| take(g[list].as_array_mut().unwrap(), key));
            assert!(!wanted.is_empty(), "{case}: no {key}");
            assert_close(&format!("{case} {list} {key}"), &found, &wanted, tolerance);
        }
        // What is left must be the same to the letter: names, layers, types, labels, order.
        for part in ["metadata", "qParams", "nodes", "links"] {
            assert_eq!(ours[part], theirs[part], "{case}: {part}");
        }
    }
}
