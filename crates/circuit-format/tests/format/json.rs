//! Graph JSON: what is written, what survives reading, the listing, Neuronpedia's schema.

use crate::support::{ToyKept, data, graphs, json_file, options, toy};
use circuit_format::{
    FeatureDetails, FormatError, GenerationSettings, Info, Kept, Neuronpedia, QParams, Slug, feature_number,
    read_graph_json, write_graph_files, write_graph_json,
};
use circuit_graph::FirstToken;
use circuit_index::{FeatureId, TokenId};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn write_toy(folder: &Path, slug: &str) -> Value {
    let written = write_graph_files(folder, &toy(), &ToyKept::new().kept(), &options(slug)).unwrap();
    json_file(&written.path)
}

#[test]
fn nodes_and_links_are_named_as_specified() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_toy(&folder.path().join("new/folder"), "toy");
    let ids: Vec<_> =
        file["nodes"].as_array().unwrap().iter().map(|n| n["node_id"].as_str().unwrap()).collect();
    // Only the error with a link is there, but every token and target.
    assert_eq!(ids, ["0_3_1", "1_7_1", "1_-1_2", "E_2_0", "E_900_1", "E_7_2", "3_512_2", "3_1003_2"]);
    assert_eq!(
        file["nodes"][1],
        json!({"node_id": "1_7_1", "feature": 43, "layer": "1", "ctx_idx": 1,
            "feature_type": "cross layer transcoder", "token_prob": 0.0, "is_target_logit": false, "run_idx": 0,
            "reverse_ctx_idx": 0, "jsNodeId": "1_7-0", "clerp": "", "influence": f64::from(2f32 / 13.0),
            "activation": 3.25})
    );
    assert_eq!(
        file["nodes"][6],
        json!({"node_id": "3_512_2", "feature": 512, "layer": "3", "ctx_idx": 2, "feature_type": "logit",
            "token_prob": f64::from(0.6405f32), "is_target_logit": true, "run_idx": 0, "reverse_ctx_idx": 0,
            "jsNodeId": "L_512-2", "clerp": "Output \" blue\" (p=1\" (p=0.641)", "influence": null, "activation": null})
    );
    assert_eq!(file["nodes"][7]["is_target_logit"], false);
    assert_eq!(file["nodes"][7]["clerp"], "Output \"日本\" (p=0.250)");
    assert_eq!(
        file["links"],
        json!([
            {"source": "0_3_1", "target": "1_7_1", "weight": 0.5},
            {"source": "E_2_0", "target": "1_7_1", "weight": -0.25},
            {"source": "1_7_1", "target": "3_512_2", "weight": f64::from(1.9f32)},
            {"source": "1_-1_2", "target": "3_512_2", "weight": f64::from(f32::MIN_POSITIVE)},
            {"source": "E_7_2", "target": "3_1003_2", "weight": f64::from(4.1e-7f32)},
        ])
    );
}

#[test]
fn links_need_both_ends_and_features_need_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = ToyKept::new();
    kept.nodes[1] = false;
    let written = write_graph_files(folder.path(), &toy(), &kept.kept(), &options("toy")).unwrap();
    // Without feature 1, feature 0 has no link either.
    assert_eq!((written.n_nodes, written.n_links), (6, 2));
    let file = json_file(&written.path);
    assert_eq!(file["nodes"][0]["node_id"], "1_-1_2");
}

#[test]
fn kept_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let good = ToyKept::new();
    let metadata = circuit_format::graph_metadata(&toy(), &options("x")).unwrap();
    for (nodes, edges, cumulative, message) in [
        (12, vec![], 13, "kept nodes"),
        (13, vec![], 12, "cumulative shares"),
        (13, vec![(4, 0)], 13, "kept edges"),
        (13, vec![(0, 11)], 13, "kept edges"),
        (13, vec![(2, 1), (1, 1)], 13, "ascending"),
        (13, vec![(2, 1), (2, 1)], 13, "ascending"),
    ] {
        let kept = Kept { nodes: &good.nodes[..nodes], edges, cumulative: &good.cumulative[..cumulative] };
        let error =
            write_graph_json(&path, &toy(), &kept, &metadata, &QParams::default()).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("x.json"), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn unknown_keys_survive_and_views_become_typed() {
    let folder = tempfile::tempdir().unwrap();
    let file = json!({
        "metadata": {"slug": "np", "scan": "gemma-2-2b", "prompt_tokens": ["a"], "prompt": "a", "schema_version": 1,
            "info": {"creator_name": "us"}, "replacement_score": 0.5},
        "qParams": {"pinnedIds": "E_1_0,x", "supernodes": "[[\"s\",\"E_1_0\"]]", "linkType": null, "odd": [1],
            "densityThreshold": 0.9},
        "nodes": [
            {"node_id": "E_1_0", "feature": 0, "layer": "E", "ctx_idx": 0, "feature_type": "embedding",
                "token_prob": 0.0, "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0,
                "jsNodeId": "E_1-0", "clerp": "", "influence": 1.0, "activation": null, "token": "a"},
            {"node_id": "2_lor_1_0", "feature": null, "layer": 2, "ctx_idx": 0, "feature_type": "lorsa",
                "token_prob": 0.0, "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0, "jsNodeId": "",
                "clerp": "", "influence": null, "activation": null, "qk_tracing_results": {"x": [1e-30, 12345678901234i64]}},
        ],
        "links": [{"source": "E_1_0", "target": "2_lor_1_0", "weight": 0.1, "kind": "ov"},
            {"source": "gone", "target": "E_1_0", "weight": 1.0}],
        "qk_only_nodes": {"y": {}},
    });
    fs::write(folder.path().join("np.json"), file.to_string()).unwrap();
    let read = read_graph_json(&folder.path().join("np.json")).unwrap();
    assert_eq!((read.links.links.len(), read.links.dangling), (1, 1));
    read.file.save(folder.path()).unwrap();
    let mut expected = file;
    expected["metadata"]["transcoder_list"] = json!([]);
    expected["qParams"] = json!({"pinnedIds": ["E_1_0", "x"], "supernodes": [["s", "E_1_0"]], "linkType": "both",
        "clickedId": "", "sg_pos": "", "odd": [1], "densityThreshold": 0.9});
    assert_eq!(json_file(&folder.path().join("np.json")), expected);
    assert_eq!(read_graph_json(&folder.path().join("np.json")).unwrap(), read);
}

#[test]
fn reading_our_file_and_saving_it_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_toy(folder.path(), "toy");
    let path = folder.path().join("toy.json");
    let before = fs::read(&path).unwrap();
    let read = read_graph_json(&path).unwrap();
    assert!(read.links.ambiguous.is_empty());
    read.file.save(folder.path()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn no_graph_file_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    assert!(matches!(read_graph_json(&path), Err(FormatError::Io { .. })));
    for text in ["", "{", "[]", "{\"metadata\": {}}", "{\"graphs\": []}", "\u{0}", &"[".repeat(100_000)] {
        fs::write(&path, text).unwrap();
        let error = read_graph_json(&path).unwrap_err().to_string();
        assert!(error.contains("bad.json") && error.contains("a graph file"), "{error}");
    }
}

#[test]
fn a_slug_moves_to_the_end_and_others_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let other = json!({"slug": "other", "extra": {"deep": [1, 2.5, null]}});
    let listing = json!({"graphs": [{"slug": "toy", "old": true}, other, "not an object"], "note": "kept"});
    fs::write(folder.path().join("graph-metadata.json"), listing.to_string()).unwrap();
    let file = write_toy(folder.path(), "toy");
    let expected = json!({"graphs": [other, "not an object", file["metadata"]], "note": "kept"});
    assert_eq!(json_file(&folder.path().join("graph-metadata.json")), expected);
    assert_eq!(json_file(&folder.path().join("toy.json"))["metadata"]["slug"], "toy");
}

#[test]
fn a_damaged_listing_is_named_and_left_alone() {
    for damaged in ["", "{\"graphs\": [", "[]", "{}"] {
        let folder = tempfile::tempdir().unwrap();
        let listing = folder.path().join("graph-metadata.json");
        fs::write(&listing, damaged).unwrap();
        let kept = ToyKept::new();
        let error =
            write_graph_files(folder.path(), &toy(), &kept.kept(), &options("toy")).unwrap_err().to_string();
        assert!(error.contains("graph-metadata.json") && error.contains("list of graphs"), "{error}");
        assert_eq!(fs::read_to_string(&listing).unwrap(), damaged);
        assert!(!folder.path().join("toy.json").exists());
    }
}

#[test]
fn parallel_writers_lose_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|threads| {
        for writer in 0..8 {
            let folder = folder.path();
            threads.spawn(move || {
                for graph in 0..4 {
                    write_toy(folder, &format!("graph-{writer}-{graph}"));
                }
            });
        }
    });
    let listing = json_file(&folder.path().join("graph-metadata.json"));
    assert_eq!(listing["graphs"].as_array().unwrap().len(), 32);
}

#[test]
fn the_metadata_say_what_stands_in_front_of_prompts() {
    let schema = jsonschema::validator_for(&json_file(&data("neuronpedia/graph-schema.json"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut graph = toy();
    for (first, written) in [
        (Some(FirstToken::Nothing), json!("none")),
        (Some(FirstToken::Token { id: TokenId(2), text: "<bos>".into() }), json!({"id": 2, "text": "<bos>"})),
        (None, Value::Null),
    ] {
        graph.model.first_token = first;
        let options = options("toy");
        let path = write_graph_files(folder.path(), &graph, &ToyKept::new().kept(), &options).unwrap().path;
        let file = json_file(&path);
        assert_eq!(file["metadata"]["first_token"], written);
        assert!(schema.is_valid(&file), "{written}");
        assert!(read_graph_json(&path).is_ok());
    }
}

#[test]
fn neuronpedias_schema_accepts_both_forms() {
    let schema = jsonschema::validator_for(&json_file(&data("neuronpedia/graph-schema.json"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(schema.is_valid(&write_toy(folder.path(), "toy")));
    assert!(
        !schema.is_valid(&json!({"metadata": {}, "qParams": {}, "nodes": [], "links": []})),
        "the schema works"
    );

    let mut options = options("toy-2");
    options.slug = Slug::rewritten("toy: the sky/2");
    options.neuronpedia = Some(Neuronpedia {
        model_id: None,
        feature_details: FeatureDetails {
            feature_json_base_url: Some("https://example.org/features".into()),
            neuronpedia_source_set: None,
        },
        info: Info {
            creator_name: Some("us".into()),
            create_time_ms: Some(1_795_400_000_000),
            ..Info::default()
        },
        generation_settings: GenerationSettings {
            max_n_logits: Some(10),
            desired_logit_prob: Some(0.95),
            batch_size: Some(64),
            max_feature_nodes: None,
        },
        edge_threshold: Some(0.98),
    });
    let written = write_graph_files(folder.path(), &toy(), &ToyKept::new().kept(), &options).unwrap();
    let file = json_file(&written.path);
    let errors: Vec<_> = schema.iter_errors(&file).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let metadata = &file["metadata"];
    assert_eq!((&metadata["slug"], &metadata["scan"]), (&json!("toy-the-sky-2"), &json!("Toy-2L")));
    assert_eq!(metadata["feature_details"], json!({"feature_json_base_url": "https://example.org/features"}));
    assert_eq!(metadata["info"]["transcoder_set"], "acme/toy-transcoders@v2");
    assert_eq!(metadata["info"]["source_urls"], json!(["https://huggingface.co/acme/toy-transcoders"]));
    assert_eq!(metadata["info"]["generator"]["name"], "circuit-tracer");
    assert_eq!(
        metadata["generation_settings"],
        json!({"max_n_logits": 10, "desired_logit_prob": 0.95, "batch_size": 64})
    );
    assert_eq!(metadata["pruning_settings"], json!({"node_threshold": 0.8, "edge_threshold": 0.98}));

    // Nothing known is nothing written, and null is no threshold there.
    options.neuronpedia = Some(Neuronpedia::default());
    options.node_threshold = None;
    let written = write_graph_files(folder.path(), &toy(), &ToyKept::new().kept(), &options).unwrap();
    let file = json_file(&written.path);
    assert!(schema.is_valid(&file));
    for absent in ["feature_details", "generation_settings", "pruning_settings", "node_threshold"] {
        assert_eq!(file["metadata"].get(absent), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the graph: valid JSON, unique ids, every link between nodes that are there.
    #[test]
    fn any_graph_makes_a_file_that_reads(graph in graphs()) {
        let folder = tempfile::tempdir().unwrap();
        let layout = graph.layout();
        let nodes = vec![true; layout.n_nodes()];
        let cumulative = vec![0.5; layout.n_nodes()];
        let n_columns = layout.n_sources();
        let edges = (0..layout.n_rows() * n_columns).step_by(3).map(|i| (i / n_columns, i % n_columns));
        let kept = Kept { nodes: &nodes, edges, cumulative: &cumulative };
        // Targets of one token would share an id; in a real graph they differ.
        let mut graph = graph;
        for (i, target) in graph.targets.iter_mut().enumerate() {
            target.token_id.0 = u32::try_from(i).unwrap();
        }
        let written = write_graph_files(folder.path(), &graph, &kept, &options("any")).unwrap();
        let read = read_graph_json(&written.path).unwrap();
        prop_assert!(read.links.ambiguous.is_empty());
        prop_assert_eq!(read.links.dangling, 0);
        prop_assert_eq!(read.links.links.len(), written.n_links);
        prop_assert_eq!(read.file.nodes.len(), written.n_nodes);
        prop_assert_eq!(&read.file.metadata.prompt, &graph.prompt);
        prop_assert_eq!(&read.file.metadata.prompt_tokens, &graph.token_strings);
    }
}

#[test]
fn feature_numbers_are_cantors() {
    let f = FeatureId::new(0, 5, 12_284);
    assert_eq!(feature_number(f.layer, f.index), Some(75_466_754));
}
