//! The command line as a user meets it: exit codes, what is said, and what lies on disk afterwards.

use circuit_tests::{TRAINED, demo, fixture};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const PROMPT: &str = "fact : the capital of the state containing Dallas is";

/// The binary, built once in the profile of the tests. Cargo does not build another package's binary for a test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // A build script that watches what cargo says of the running program (ring's does) would run again.
        let described = |name: &str| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR"
        };
        for (name, _) in std::env::vars().filter(|(name, _)| described(name)) {
            cargo.env_remove(name);
        }
        let status = cargo.args(["build", "--quiet", "-p", "circuit-cli"]).status().unwrap();
        assert!(status.success());
        // target/debug/deps/all-…: the programs lie one folder up.
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("circuit-tracer")
    })
}

pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
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
            // Feature pages are no part of what is traced.
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(part).join(file.file_name())).unwrap();
            }
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
fn a_set_that_names_the_wrong_site_is_told_the_right_one() {
    let folder = copy(&fixture(TRAINED));
    let config = folder.path().join("transcoders/config.yaml");
    let yaml = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        yaml.replace("feature_input_hook: mlp.hook_in", "feature_input_hook: hook_resid_mid"),
    )
    .unwrap();
    let output = attribute(folder.path(), &["-p", PROMPT, "--max-feature-nodes", "0", "--json"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let warning = stderr.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
    for part in ["it reads hook_resid_mid", "reading mlp.hook_in would leave 0.", "feature_input_hook"] {
        assert!(warning.contains(part), "`{part}` is not in: {stderr}");
    }
}

#[test]
fn a_trained_model_is_traced_told_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, pt) = (dir.path().join("g.safetensors"), dir.path().join("g.pt"));
    let (folder, raw, pt) = (dir.path().to_str().unwrap(), raw.to_str().unwrap(), pt.to_str().unwrap());
    let output = attribute(
        &fixture(TRAINED),
        &["-p", PROMPT, "--slug", "dallas", "--graph_file_dir", folder, "-o", raw],
    );
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
    let output = attribute(&fixture(TRAINED), &few);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["selected_features"], 20);
    assert!(found["unselected_influence"].as_f64().unwrap() > 0.0);
    let output = run(&["describe", pt]);
    assert!(text(&output.stdout).contains("selected features  20"), "{}", text(&output.stdout));
}

#[test]
fn other_families_and_layouts_are_described_and_traced() {
    let cases = [
        ("llama-clt-relu", "cross-layer, 4 layers", "low frequencies stretched"),
        ("gemma3-it-plt-jumprelu", "GemmaScope 2", "q/k norms"),
        ("gpt_oss-clt-jumprelu", "cross-layer, 4 layers", "2 of 5 experts"),
    ];
    for (case, of_set, of_model) in cases {
        let folder = fixture(case);
        let described = |part: &str| text(&run(&["describe", folder.join(part).to_str().unwrap()]).stdout);
        assert!(described("transcoders").contains(of_set), "{case}: {}", described("transcoders"));
        assert!(
            described("model").to_lowercase().contains(&of_model.to_lowercase()),
            "{}",
            described("model")
        );
        let expected = circuit_tests::Expected::of(case);
        let ids: Vec<_> = expected.indices("input_ids").iter().map(usize::to_string).collect();
        let given = [
            ("--prompt-ids", ids.join(",")),
            ("--ignored-positions", expected.count("/zero_positions/1").to_string()),
            ("--max-n-logits", expected.count("/attribute_args/max_n_logits").to_string()),
            ("--desired-logit-prob", expected.number("/attribute_args/desired_logit_prob").to_string()),
        ];
        let args: Vec<_> = given.iter().flat_map(|(flag, value)| [*flag, value]).chain(["--json"]).collect();
        let output = attribute(&folder, &args);
        let found: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        assert_eq!(found["active_features"], expected.count("/n_active_features"), "{case}");
        let score = found["scores"]["full"]["replacement"].as_f64().unwrap();
        assert!((score - expected.number("/replacement_score")).abs() < 1e-4, "{case}: {score}");
    }
}

#[test]
fn prompts_come_as_text_ids_or_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.txt");
    std::fs::write(&file, PROMPT).unwrap();
    let by = |args: &[&str]| {
        let output = attribute(&fixture(TRAINED), &[args, &["--json", "--max-feature-nodes", "0"]].concat());
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
    let trained = fixture(TRAINED);
    let p = ["-p", PROMPT];
    let with = |more: &[&str]| attribute(&trained, &[&p[..], more].concat());
    refused(&with(&["--node-threshold", "1.5"]), 2, &["node", "1.5"]);
    refused(&with(&["--edge_threshold", "-0.1"]), 2, &["edge", "-0.1"]);
    refused(&with(&["--desired-logit-prob", "2"]), 2, &["--desired-logit-prob"]);
    refused(&with(&["--server"]), 2, &["--server needs a graph to show"]);
    refused(&with(&["--slug", "x"]), 2, &["--graph-file-dir"]);
    refused(&with(&["--slug", "../x", "--graph-file-dir", "."]), 2, &["../x"]);
    refused(&with(&["-o", "x.json"]), 2, &[".safetensors or .pt"]);
    refused(&attribute(&trained, &[]), 2, &["no prompt"]);
    refused(
        &run(&["attribute", "-m", "owner/no-such-model", "-t", "owner/no-such-set", "-p", "a", "--offline"]),
        3,
        &["owner/no-such-model"],
    );
    refused(&with(&["--device", "cuda:99"]), 6, &["cuda:99"]);
    refused(&with(&["--max-n-logits", "594"]), 4, &["594", "593"]);
    refused(&with(&["--target-ids", "7,593"]), 4, &["593"]);
    refused(&with(&["--target-strings", "Dallas Austin"]), 4, &["Dallas Austin"]);
    refused(&attribute(&trained, &["-p", ""]), 4, &["no tokens"]);
    refused(&attribute(&trained, &["-p", &"the ".repeat(64)]), 4, &["65", "64"]);
    refused(&attribute(&trained, &["--prompt-ids", "1,9999"]), 4, &["9999"]);
}

#[test]
fn damaged_models_and_sets_are_refused_by_name() {
    let from = fixture(TRAINED);
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
        c["use_mrope"] = true.into();
    });
    fails(&dir, &["config.json: key `use_mrope` = true is not implemented for qwen3"]);
    edit_json(&model(&dir, "config.json"), |c| c["use_mrope"] = false.into());
    let strict = attribute(dir.path(), &["-p", PROMPT, "--strict-config"]);
    refused(&strict, 3, &["config.json: unknown for qwen3: `new_trick` = 3"]);
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
    fails(&dir, &["layer_0.safetensors", "b_dec", "128"]);
    let config = std::fs::read_to_string(set(&dir, "config.yaml")).unwrap();
    std::fs::write(set(&dir, "config.yaml"), config.replace("mlp.hook_in", "mlp.hook_inn")).unwrap();
    fails(&dir, &["config.yaml", "mlp.hook_inn"]);
    let dir = fresh();
    std::fs::write(set(&dir, "config.yaml"), format!("{config}\nnovelty: 1\n")).unwrap();
    let output = attribute(dir.path(), &["--prompt-ids", "1,7,9", "--dry-run"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let warning = "config.yaml: unknown keys are left aside: `novelty`";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    refused(&run(&["attribute", "-m", "/nowhere", "-t", "/nowhere", "-p", "a"]), 3, &["/nowhere"]);
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "mine").unwrap();
    refused(
        &attribute(&fixture(TRAINED), &["-p", PROMPT, "-o", &at("file/g.safetensors")]),
        5,
        &["is not a folder"],
    );
    let json = ["-p", PROMPT, "--slug", "s", "--graph-file-dir", &at("file/graphs")];
    refused(&attribute(&fixture(TRAINED), &json), 5, &["is not a folder"]);
    refused(
        &attribute(&fixture(TRAINED), &["-p", PROMPT, "-o", &at("g.pt"), "--pt-limit", "1K"]),
        5,
        &["g.pt", "limit"],
    );

    // A limit on the size of files ends the write, not the process, and the old file stays.
    std::fs::write(at("g.safetensors"), "old").unwrap();
    let (trained, out) = (fixture(TRAINED), at("g.safetensors"));
    let trained = trained.to_str().unwrap();
    let script = format!(
        "ulimit -f 100; exec {} attribute -m {trained}/model -t {trained}/transcoders -p '{PROMPT}' -o {out}",
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
    let dir = copy(&fixture(TRAINED));
    let path = dir.path().join("transcoders/config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("mlp.hook_in", "hook_resid_mid")).unwrap();
    let output = attribute(dir.path(), &["-p", PROMPT, "--max-feature-nodes", "0"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("warning") && stderr.contains("hook_resid_mid"), "{stderr}");
}

#[test]
fn flags_behind_target_strings_are_flags() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let output = attribute(
        &fixture(TRAINED),
        &["--target-strings", "Austin", "--target_strings", "Sacramento", "-p", PROMPT, "--slug", "s"]
            .into_iter()
            .chain(["--graph-file-dir", folder, "--max-feature-nodes", "0", "--json", "--verbose"])
            .collect::<Vec<_>>(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("note: --verbose"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let labels: Vec<_> = found["targets"].as_array().unwrap().iter().map(|t| t["label"].clone()).collect();
    assert_eq!(labels, ["Austin", "Sacramento"]);
}

#[test]
fn a_full_or_closed_stream_loses_no_file_and_no_result_silently() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("g.safetensors");
    let (trained, out) = (fixture(TRAINED), out.to_str().unwrap());
    let shell = |redirect: &str| {
        let trained = trained.to_str().unwrap();
        let command = format!(
            "{} attribute -m {trained}/model -t {trained}/transcoders -p '{PROMPT}' --max-feature-nodes 0 -o {out} {redirect}",
            binary().display()
        );
        Command::new("bash").args(["-c", &command]).output().unwrap()
    };
    for redirect in ["2>/dev/full", "2>&-"] {
        let output = shell(redirect);
        assert!(output.status.success(), "{redirect}: {:?}", output.status);
        std::fs::remove_file(out).unwrap();
    }
    let output = shell(">/dev/full");
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("standard output"));
    assert!(Path::new(out).is_file());
    assert!(shell("| head -c 5").status.success());
}

#[test]
fn raw_graphs_change_their_form_and_find_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let case = fixture("llama-plt-relu");
    let (pt, model) = (case.join("graph.pt"), case.join("model"));
    let (pt, model) = (pt.to_str().unwrap(), model.to_str().unwrap());
    let json = ["--slug", "x", "--graph-file-dir", &at("graphs")];

    let output = run(&[&["graph-files", pt][..], &json].concat());
    assert!(text(&output.stderr).contains("warning") && text(&output.stderr).contains("-m MODEL"));
    let output = run(&[&["graph-files", pt, "-m", model, "-o", &at("g.safetensors")][..], &json].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let ours: Value = serde_json::from_slice(&std::fs::read(at("graphs/x.json")).unwrap()).unwrap();
    assert_eq!(ours["metadata"]["prompt_tokens"][7], " Dallas");

    // There and back again, bit by bit.
    let output = run(&["graph-files", &at("g.safetensors"), "-o", &at("g.pt")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(&["graph-files", &at("g.pt"), "-o", &at("again.safetensors")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(at("again.safetensors")).unwrap(), std::fs::read(at("g.safetensors")).unwrap());
    refused(&run(&["graph-files", pt]), 2, &["nothing to write"]);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for folder in ["g.pt", "s.json"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    let with = |more: &[&str]| {
        let output = attribute(&fixture(TRAINED), &[&["-p", PROMPT][..], more].concat());
        assert!(!text(&output.stderr).contains("s in all"), "{}", text(&output.stderr));
        output
    };
    refused(&with(&["-o", &at("g.pt")]), 5, &["g.pt", "a folder"]);
    refused(&with(&["--slug", "s", "--graph-file-dir", &at("")]), 5, &["s.json", "a folder"]);
    refused(&with(&["-o", &at("h.pt"), "--pt-limit", "1K"]), 5, &["h.pt", "limit"]);
    refused(&with(&["--threads", "0"]), 2, &["0 threads"]);
    let huge = ["--batch-size", &usize::MAX.to_string(), "--update-interval", "3"];
    refused(&with(&huge), 2, &["--batch-size times --update-interval"]);
    let targets = |entry: &str| {
        std::fs::write(at("t.json"), format!("[{{\"label\": \"x\", \"plus\": [7], {entry}}}]")).unwrap();
        with(&["--targets", &at("t.json")])
    };
    refused(&targets("\"weight\": 1e300"), 4, &["weight", "float32"]);
    refused(&targets("\"weight\": 1, \"scale\": 1e39"), 4, &["`x`", "finite"]);
}

#[test]
fn keys_that_are_absent_have_the_family_s_defaults() {
    let dir = copy(&fixture("gemma2-plt-jumprelu"));
    let (path, folder) = (dir.path().join("model/config.json"), dir.path().join("model"));
    let described = || text(&run(&["describe", folder.to_str().unwrap()]).stdout);
    edit_json(&path, |config| {
        let config = config.as_object_mut().unwrap();
        config.remove("attn_logit_softcapping");
        config.insert("final_logit_softcapping".into(), Value::Null);
    });
    assert!(described().contains("soft cap 50,"), "{}", described());
    assert!(described().contains("unembedding        tied\n"), "{}", described());
    edit_json(&path, |config| config["num_hidden_layers"] = 2_000_000_000.into());
    refused(&run(&["describe", folder.to_str().unwrap()]), 3, &["num_hidden_layers", "layers"]);

    let dir = copy(&fixture("llama-plt-relu"));
    let (path, folder) = (dir.path().join("model/config.json"), dir.path().join("model"));
    edit_json(&path, |config| config["rope_scaling"]["type"] = "llama3".into());
    assert!(run(&["describe", folder.to_str().unwrap()]).status.success());
    edit_json(&path, |config| config["rope_scaling"]["type"] = "linear".into());
    let both = run(&["describe", folder.to_str().unwrap()]);
    assert!(both.status.success() && text(&both.stdout).contains("low frequencies stretched"));
    assert!(text(&both.stderr).contains("`rope_scaling.type` is \"linear\"; `rope_type` is used"));
}

#[test]
fn a_view_goes_over_to_a_new_graph() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let view = demo().join("view.json");
    let with_view = |slug: &str, view: &str| {
        let to =
            ["--slug", slug, "--graph-file-dir", &at("graphs"), "-o", &at("g.safetensors"), "--view", view];
        attribute(&demo(), &[&["-p", PROMPT][..], &to].concat())
    };
    assert!(with_view("first", view.to_str().unwrap()).status.success());
    let read = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(at(name)).unwrap()).unwrap();
    let first = read("graphs/first.json");
    assert_eq!(first["qParams"]["supernodes"][0][0], "Texas");
    // Everything that the demo pins is in its graph.
    let ids: Vec<_> = first["nodes"].as_array().unwrap().iter().map(|node| &node["node_id"]).collect();
    assert!(first["qParams"]["pinnedIds"].as_array().unwrap().iter().all(|pin| ids.contains(&pin)));
    // From a graph file, by way of the raw graph.
    let raw = at("g.safetensors");
    let to = ["--slug", "second", "--graph-file-dir", &at("graphs"), "--view", &at("graphs/first.json")];
    assert!(run(&[&["graph-files", &raw][..], &to].concat()).status.success());
    assert_eq!(read("graphs/second.json")["qParams"], first["qParams"]);
    std::fs::write(at("list.json"), "[1]").unwrap();
    refused(
        &with_view("third", &at("list.json")),
        3,
        &["list.json", "a list is no view", "expected a graph file"],
    );
    std::fs::write(at("cut.json"), "{\"pinnedIds\": [").unwrap();
    refused(
        &with_view("third", &at("cut.json")),
        3,
        &["cut.json", "not JSON", "line 1", "expected a graph file"],
    );
}
