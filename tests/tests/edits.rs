//! Edits as users write them, from the binary: positions and values of `--edits` files and flags, groups by name, and edits that
//! change nothing. What edits do to a model is tested in `interventions`.

use crate::cli::{run, text};
use circuit_tests::{CASES, fixture};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// Five tokens with the one in front.
const IDS: &str = "17,30,41,8";

/// A command on the first fixture's model and set, with a prompt of five tokens.
fn on_the_fixture(command: &str, more: &[&str]) -> Output {
    let (model, set) = (fixture(CASES[0]).join("model"), fixture(CASES[0]).join("transcoders"));
    let mut args = vec![command, "-m", model.to_str().unwrap(), "-t", set.to_str().unwrap()];
    args.extend(["--prompt-ids", IDS, "--json"]);
    args.extend(more);
    run(&args)
}

/// What `intervene` prints as JSON, one object for each entry; with it what is said beside it.
#[track_caller]
fn intervened(more: &[&str]) -> (Vec<Value>, String) {
    let output = on_the_fixture("intervene", more);
    assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
    let lines = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, text(&output.stderr))
}

/// The entry of a file of edits with one entry of these edits.
#[track_caller]
fn from_file(folder: &Path, edits: &Value) -> (Value, String) {
    let path = folder.join("edits.json");
    std::fs::write(&path, json!([{"name": "edited", "interventions": edits}]).to_string()).unwrap();
    let (mut entries, stderr) = intervened(&["--edits", path.to_str().unwrap()]);
    (entries.remove(0), stderr)
}

#[test]
fn files_and_flags_say_the_same_edits() {
    let dir = tempfile::tempdir().unwrap();
    // Active at position 2, so that scaling it there changes something.
    let (_, active) = silent_and_active(2);
    let edit = |pos: Value, key: &str, value: Value| {
        let mut edit = json!({"layer": 0, "pos": pos, "feature": active});
        edit[key] = value;
        json!([edit])
    };
    for (file, flags) in [
        (edit(json!({"slice": [2, 4]}), "value", json!([3.0, 5.0])), &["--set", "0_F@2:4=3,5"][..]),
        (
            edit(json!({"slice": [2, 4]}), "value", json!([3.0, 5.0])),
            &["--set", "0_F@2=3", "--set", "0_F@3=5"],
        ),
        (edit(json!({"slice": [-3, null]}), "value", json!([1, 2, 3])), &["--set", "0_F@2:=1,2,3"]),
        (edit(json!(-1), "value", json!(3.0)), &["--set", "0_F@-1=3"]),
        (edit(json!([2, -1]), "value", json!(3.0)), &["--set", "0_F@2,4=3"]),
        (edit(json!([4, 2]), "value", json!([3.0, 4.0])), &["--set", "0_F@2,-1=4,3"]),
        (edit(json!(2), "scale", json!(3.0)), &["--scale", "0_F@2=3"]),
        (edit(json!([2, 3]), "add", json!([1.5, -2])), &["--add", "0_F@2,3=1.5,-2"]),
    ] {
        let (from_file, _) = from_file(dir.path(), &file);
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace('F', &active.to_string())).collect();
        let (typed, _) = intervened(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(from_file["tokens"], typed[0]["tokens"], "{file} {flags:?}");
        let changed = |row: &Value| row["before"] != row["after"];
        assert!(from_file["tokens"].as_array().unwrap().iter().any(changed), "{file}: {from_file}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_named_by_entry_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edits.json");
    for (edit, words) in [
        (
            json!({"layer": 0, "pos": {"slice": [2, 4]}, "feature": 5, "value": [1, 2, 3]}),
            "3 values for 2 positions",
        ),
        (json!({"layer": 0, "pos": 5, "feature": 5, "value": 1}), "`pos`: there is no position 5"),
        (json!({"layer": 0, "pos": "all", "feature": 5, "value": 1}), "`pos`: found \"all\""),
        (json!({"layer": 0, "pos": 1, "feature": 5, "values": 1}), "one of `value`, `scale` and `add`"),
        (json!({"layer": 77, "pos": 1, "feature": 5, "value": 1}), "`layer` is 77"),
    ] {
        let file = json!([{"name": "one", "interventions": []}, {"name": "two", "interventions": [edit]}]);
        std::fs::write(&path, file.to_string()).unwrap();
        let output = on_the_fixture("intervene", &["--edits", path.to_str().unwrap()]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{edit}: {stderr}");
        for part in ["edits.json: entry 2 (`two`), intervention 1: ", words] {
            assert!(stderr.contains(part), "{edit}: `{part}` is not in: {stderr}");
        }
        assert!(!stderr.contains("untagged"), "{stderr}");
    }
    // What only the set knows is named by the entry, and keys that mean nothing are said.
    let edit = json!({"layer": 0, "pos": 1, "feature": 999_999, "value": 1, "lable": "x"});
    std::fs::write(&path, json!([{"name": "two", "interventions": [edit]}]).to_string()).unwrap();
    let output = on_the_fixture("intervene", &["--edits", path.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("error: two: layer 0 has no feature 999999"), "{stderr}");
    assert!(stderr.contains("warning: ") && stderr.contains("the key `lable`"), "{stderr}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file_of_edits_and_utf_16_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edits.json");
    let edit = json!({"layer": 0, "pos": -1, "feature": 5, "value": 3});
    let file = json!([{"name": "one", "interventions": [edit]}]).to_string();
    std::fs::write(&path, format!("\u{FEFF}{file}")).unwrap();
    let (entries, _) = intervened(&["--edits", path.to_str().unwrap()]);
    assert_eq!(entries[0]["name"], "one");
    let utf_16: Vec<u8> = file.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, [&[0xFF, 0xFE][..], &utf_16].concat()).unwrap();
    let output = on_the_fixture("intervene", &["--edits", path.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(4) && stderr.contains("edits.json: line 1 is UTF-16"), "{stderr}");
}

/// A feature of layer 0 that is silent at a position and one that is active there.
fn silent_and_active(pos: usize) -> (usize, usize) {
    let (mut silent, mut active) = (None, None);
    let watch: Vec<String> = (0..110).map(|feature| format!("0_{feature}@{pos}")).collect();
    let mut args = vec!["--set", "1_0@1=0"];
    for name in &watch {
        args.extend(["--watch", name]);
    }
    let (entries, _) = intervened(&args);
    for (feature, row) in entries[0]["features"].as_array().unwrap().iter().enumerate() {
        let found = if row["before"].as_f64().unwrap() == 0.0 { &mut silent } else { &mut active };
        found.get_or_insert(feature);
    }
    (silent.unwrap(), active.unwrap())
}

#[test]
fn edits_of_silent_features_say_that_nothing_changed() {
    let (silent, active) = silent_and_active(3);
    let (silent, active) = (format!("0_{silent}@3"), format!("0_{active}@3"));
    let scaled = format!("{silent}=10");
    for edit in [["--scale", &scaled], ["--ablate", &silent]] {
        let (entries, stderr) = intervened(&edit);
        assert_eq!(entries[0]["unchanged"], json!([silent]));
        let rows = entries[0]["tokens"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["before"] == row["after"]), "{rows:?}");
        let notes: Vec<_> = stderr.lines().filter(|line| line.contains("silent")).collect();
        let note =
            format!("note: edited: nothing changed: this feature is silent there (activation 0): {silent}");
        assert_eq!(notes, [note]);
    }
    // Beside an edit that does something, and at a position where features do not count.
    let (entries, stderr) = intervened(&["--ablate", &silent, "--ablate", &active, "--scale", "0_1@0=3"]);
    assert_eq!(entries[0]["unchanged"], json!(["0_1@0", silent]));
    assert!(stderr.contains("some edits change nothing: these features are silent"), "{stderr}");
    // What changes an activation is not mentioned, nor is a factor of 1, which was asked for.
    let (once, set) = (format!("{active}=1"), format!("{silent}=2"));
    let (entries, stderr) = intervened(&["--scale", &once, "--set", &set]);
    assert!(entries[0]["unchanged"].as_array().unwrap().is_empty() && !stderr.contains("silent"), "{stderr}");

    let plain = {
        let (model, set) = (fixture(CASES[0]).join("model"), fixture(CASES[0]).join("transcoders"));
        let (model, set) = (model.to_str().unwrap(), set.to_str().unwrap());
        run(&["intervene", "-m", model, "-t", set, "--prompt-ids", IDS, "--ablate", &silent])
    };
    assert!(text(&plain.stdout).contains(&format!("{silent} removed: silent there, nothing changed")));
    let output = on_the_fixture("generate", &["--max-new-tokens", "2", "--ablate", &silent]);
    assert!(text(&output.stderr).contains("note: nothing changed"), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["unchanged"], json!([silent]));
}

#[test]
fn an_open_slice_is_silent_only_if_it_is_so_wherever_it_acts() {
    let (silent, active) = silent_and_active(3);
    let unchanged = |feature: usize, positions: &str, value: Option<&str>| {
        let place = format!("0_{feature}@{positions}");
        let set = value.map(|value| format!("{place}={value}"));
        let edit = match &set {
            Some(set) => ["--set", set],
            None => ["--ablate", &place],
        };
        let output = on_the_fixture("generate", &[&["--max-new-tokens", "3"][..], &edit].concat());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        !found["unchanged"].as_array().unwrap().is_empty()
    };
    assert!(unchanged(silent, "3:4", None));
    assert!(!unchanged(active, "3:", None), "it acts on the prompt");
    // Behind the prompt it acts on generated tokens alone, whatever the feature is in the prompt.
    assert!(!unchanged(silent, "5:", Some("4")));
}

#[test]
fn a_value_for_each_position_is_refused_where_tokens_follow() {
    let output = on_the_fixture("generate", &["--set", "0_5@3:=1,2"]);
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("generated tokens"), "{stderr}");
}

#[test]
fn groups_are_chosen_by_a_name_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let graph = dir.path().join("g.json");
    let node =
        |id: &str, older: &str, kind: &str| json!({"node_id": id, "jsNodeId": older, "feature_type": kind});
    let feature = "cross layer transcoder";
    let (_, active) = silent_and_active(3);
    let (at3, at4, older) = (format!("0_{active}_3"), format!("0_{active}_4"), format!("0_{active}-0"));
    let file = json!({
        "metadata": {}, "links": [],
        "nodes": [node(&at3, &older, feature), node(&at4, &older, feature), node("E_8_4", "E_8-4", "embedding")],
        "qParams": {"supernodes": [
            ["capital", at3], ["state", "E_8_4"], ["capital", at4], ["both", older, "E_8_4", "nonsense"]
        ]}
    });
    std::fs::write(&graph, file.to_string()).unwrap();
    let graph = graph.to_str().unwrap();
    let tokens = |more: &[&str]| intervened(more).0.remove(0)["tokens"].take();
    let typed = |positions: &str| tokens(&["--ablate", &format!("0_{active}@{positions}")]);
    for (name, positions) in [("capital (1)", "3"), ("capital (2)", "4"), ("both", "3,4")] {
        assert_eq!(tokens(&["--graph", graph, "--ablate-group", name]), typed(positions), "{name}");
    }
    let halved = tokens(&["--graph", graph, "--scale-group", "capital (2)=0.5"]);
    assert_eq!(halved, tokens(&["--scale", &format!("0_{active}@4=0.5")]));
    let (_, stderr) = intervened(&["--graph", graph, "--ablate-group", "both"]);
    for part in ["warning: ", "group `both`: no node is nonsense", "note: ", "E_8_4"] {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }

    for (flag, name, words) in [
        (
            "--ablate-group",
            "capital",
            "2 groups are called `capital`; in the order of the file: `capital (1)`, `capital (2)`",
        ),
        ("--scale-group", "capital=2", "2 groups are called `capital`"),
        (
            "--ablate-group",
            "country",
            "no group `country`; there are: `capital (1)`, `state`, `capital (2)`, `both`",
        ),
        ("--ablate-group", "state", "group `state` has no features"),
    ] {
        let output = on_the_fixture("intervene", &["--graph", graph, flag, name]);
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(words), "{flag} {name}: {stderr}");
        assert!(stderr.contains("g.json"), "{stderr}");
    }
}
