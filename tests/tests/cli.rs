//! The command line as a user meets it: exit codes, what is said, and what lies on disk afterwards.

use circuit_tests::{demo, fixture};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const PROMPT: &str = "fact : the capital of the state containing Dallas is";

/// The binary, built once in the profile of the tests. Cargo does not build another package's binary for a test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let status =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "circuit-cli"]).status().unwrap();
        assert!(status.success());
        // target/debug/deps/all-…: the programs lie one folder up.
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("circuit-tracer")
    })
}

fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `attribute` on a folder with `model/` and `transcoders/`.
fn attribute(folder: &Path, more: &[&str]) -> Output {
    let (model, set) = (folder.join("model"), folder.join("transcoders"));
    let mut args = vec!["attribute", "-m", model.to_str().unwrap(), "-t", set.to_str().unwrap()];
    args.extend(more);
    run(&args)
}

/// Asserts a refusal: its code, and that its one line says these things; nothing on standard output.
#[track_caller]
fn refused(output: &Output, code: i32, says: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(text(&output.stdout), "");
    let line =
        stderr.lines().find(|l| l.starts_with("error: ")).unwrap_or_else(|| panic!("no error: {stderr}"));
    for part in says {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("frame #"), "{stderr}");
}

/// A copy of a fixture's `model/` and `transcoders/`, to be damaged.
fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["model", "transcoders"] {
        std::fs::create_dir(copy.path().join(part)).unwrap();
        for file in std::fs::read_dir(folder.join(part)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(part).join(file.file_name())).unwrap();
        }
    }
    copy
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn the_demo_is_traced_told_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, pt) = (dir.path().join("g.safetensors"), dir.path().join("g.pt"));
    let (folder, raw, pt) = (dir.path().to_str().unwrap(), raw.to_str().unwrap(), pt.to_str().unwrap());
    let output =
        attribute(&demo(), &["-p", PROMPT, "--slug", "dallas", "--graph_file_dir", folder, "-o", raw]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    for part in
        ["9:\"Dallas\"", "\"Austin\"             0.999", "556", "0.776 full", "0.938 full", "dallas.json"]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    for part in ["unexplained by layer:", "rows ", "peak memory"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!stderr.contains("warning"), "{stderr}");
    let written = std::fs::read(dir.path().join("dallas.json")).unwrap();

    // The raw graph alone gives the same file, and says the same of itself.
    let output = run(&["graph-files", raw, "--slug", "again", "--graph-file-dir", folder]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let again = std::fs::read_to_string(dir.path().join("again.json")).unwrap();
    assert_eq!(again.replace("\"again\"", "\"dallas\"").as_bytes(), written);
    let listing: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("graph-metadata.json")).unwrap()).unwrap();
    assert_eq!(listing["graphs"].as_array().unwrap().len(), 2);
    let output = run(&["scores", raw, "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((found["full"]["replacement"].as_f64().unwrap() - 0.776).abs() < 1e-3, "{found}");

    // Few features, for machines, as .pt; habits from Python are accepted.
    let few = ["--json", "--max_feature_nodes", "20", "--lazy-decoder", "--verbose", "-p", PROMPT, "-o", pt];
    let output = attribute(&demo(), &few);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["selected_features"], 20);
    assert!(found["unselected_influence"].as_f64().unwrap() > 0.0);
    let output = run(&["describe", pt]);
    assert!(text(&output.stdout).contains("selected features  20"), "{}", text(&output.stdout));
}

#[test]
fn prompts_come_as_text_ids_or_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.txt");
    std::fs::write(&file, PROMPT).unwrap();
    let by = |args: &[&str]| {
        let output = attribute(&demo(), &[args, &["--json", "--max-feature-nodes", "0"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let from_text = by(&["-p", PROMPT]);
    let ids: Vec<_> = from_text["tokens"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(by(&["--prompt-file", file.to_str().unwrap()])["tokens"], from_text["tokens"]);
    assert_eq!(by(&["--prompt-ids", &ids.join(",")])["tokens"], from_text["tokens"]);
    assert_eq!(by(&["--prompt-ids", &ids[1..].join(",")])["tokens"], from_text["tokens"]);
    assert_eq!(from_text["selected_features"], 0);
}

#[test]
fn impossible_arguments_are_refused_before_any_work() {
    let demo = demo();
    let p = ["-p", PROMPT];
    let with = |more: &[&str]| attribute(&demo, &[&p[..], more].concat());
    refused(&with(&["--node-threshold", "1.5"]), 2, &["node", "1.5"]);
    refused(&with(&["--edge_threshold", "-0.1"]), 2, &["edge", "-0.1"]);
    refused(&with(&["--desired-logit-prob", "2"]), 2, &["--desired-logit-prob"]);
    refused(&with(&["--server"]), 2, &["--server needs a graph to show"]);
    refused(&with(&["--slug", "x"]), 2, &["--graph-file-dir"]);
    refused(&with(&["--slug", "../x", "--graph-file-dir", "."]), 2, &["../x"]);
    refused(&with(&["-o", "x.json"]), 2, &[".safetensors or .pt"]);
    refused(&attribute(&demo, &[]), 2, &["no prompt"]);
    refused(
        &run(&["attribute", "-m", "google/gemma-2-2b", "-t", "x/y", "-p", "a"]),
        3,
        &["google/gemma-2-2b"],
    );
    refused(&with(&["--device", "cuda:99"]), 6, &["cuda:99"]);
    refused(&with(&["--max-n-logits", "594"]), 4, &["594", "593"]);
    refused(&with(&["--target-ids", "7,593"]), 4, &["593"]);
    refused(&with(&["--target-strings", "Dallas Austin"]), 4, &["Dallas Austin"]);
    refused(&attribute(&demo, &["-p", ""]), 4, &["no tokens"]);
    refused(&attribute(&demo, &["-p", &"the ".repeat(64)]), 4, &["65", "64"]);
    refused(&attribute(&demo, &["--prompt-ids", "1,9999"]), 4, &["9999"]);
}

#[test]
fn damaged_models_and_sets_are_refused_by_name() {
    let from = demo();
    let fresh = || copy(&from);
    let fails =
        |dir: &tempfile::TempDir, says: &[&str]| refused(&attribute(dir.path(), &["-p", PROMPT]), 3, says);
    let model = |dir: &tempfile::TempDir, file: &str| dir.path().join("model").join(file);
    let set = |dir: &tempfile::TempDir, file: &str| dir.path().join("transcoders").join(file);

    let dir = fresh();
    edit_json(&model(&dir, "config.json"), |c| c["model_type"] = "mystery".into());
    fails(&dir, &["mystery", "config.json", "qwen3"]);
    edit_json(&model(&dir, "config.json"), |c| {
        c["model_type"] = "qwen3".into();
        c["new_trick"] = 3.into();
    });
    fails(&dir, &["new_trick", "config.json"]);
    edit_json(&model(&dir, "config.json"), |c| {
        c["new_trick"] = false.into();
        c["intermediate_size"] = 385.into();
    });
    fails(&dir, &["model.safetensors", "384", "385"]);

    let dir = fresh();
    let path = model(&dir, "model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    fails(&dir, &["model.safetensors", "safetensors file"]);
    std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
    fails(&dir, &["model.safetensors", "claims"]);
    std::fs::write(&path, b"abc").unwrap();
    fails(&dir, &["model.safetensors", "3 bytes"]);
    let mut nan = whole.clone();
    nan[whole.len() - 4000..].iter_mut().for_each(|b| *b = 0xff);
    std::fs::write(&path, &nan).unwrap();
    fails(&dir, &["not finite", "NaN"]);
    std::fs::remove_file(&path).unwrap();
    fails(&dir, &["model.safetensors"]);

    let dir = fresh();
    std::fs::rename(set(&dir, "layer_3.safetensors"), set(&dir, "layer_4.safetensors")).unwrap();
    fails(&dir, &["layer_3.safetensors is missing"]);
    let dir = fresh();
    std::fs::copy(
        fixture("llama-plt-skip/transcoders/layer_0.safetensors"),
        set(&dir, "layer_0.safetensors"),
    )
    .unwrap();
    fails(&dir, &["layer_0.safetensors", "W_"]);
    let config = std::fs::read_to_string(set(&dir, "config.yaml")).unwrap();
    std::fs::write(set(&dir, "config.yaml"), config.replace("mlp.hook_in", "mlp.hook_inn")).unwrap();
    fails(&dir, &["config.yaml", "mlp.hook_inn"]);
    std::fs::write(set(&dir, "config.yaml"), format!("{config}\nnovelty: 1\n")).unwrap();
    fails(&dir, &["config.yaml", "novelty"]);
    refused(&run(&["attribute", "-m", "/nowhere", "-t", "/nowhere", "-p", "a"]), 3, &["/nowhere"]);
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "mine").unwrap();
    refused(&attribute(&demo(), &["-p", PROMPT, "-o", &at("file/g.safetensors")]), 5, &["is not a folder"]);
    let json = ["-p", PROMPT, "--slug", "s", "--graph-file-dir", &at("file/graphs")];
    refused(&attribute(&demo(), &json), 5, &["is not a folder"]);
    refused(
        &attribute(&demo(), &["-p", PROMPT, "-o", &at("g.pt"), "--pt-limit", "1K"]),
        5,
        &["g.pt", "limit"],
    );

    // A limit on the size of files ends the write, not the process, and the old file stays.
    std::fs::write(at("g.safetensors"), "old").unwrap();
    let (demo, out) = (demo(), at("g.safetensors"));
    let demo = demo.to_str().unwrap();
    let script = format!(
        "ulimit -f 100; exec {} attribute -m {demo}/model -t {demo}/transcoders -p '{PROMPT}' -o {out}",
        binary().display()
    );
    refused(&Command::new("bash").args(["-c", &script]).output().unwrap(), 5, &["g.safetensors", "write"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "old");
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "g.safetensors"]);
}

#[test]
fn a_wrong_site_is_noticed() {
    let dir = copy(&demo());
    let path = dir.path().join("transcoders/config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("mlp.hook_in", "hook_resid_mid")).unwrap();
    let output = attribute(dir.path(), &["-p", PROMPT, "--max-feature-nodes", "0"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("warning") && stderr.contains("hook_resid_mid"), "{stderr}");
}
