//! What is said of sets that are not right: a config under another name, folders one level too high or too low, lists and files that
//! hold a layer twice, sets for another model.

use crate::cli::{run, text};
use crate::hub::World;
use crate::sets::{copy, listing, model, open};
use crate::tensors::{read, write};
use circuit_tests::fixture;
use circuit_transcoder::{Conversion, TranscoderSet};
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const CASE: &str = "llama-plt-relu";

/// What `attribute` says of a set for the case's model; it must refuse it.
#[track_caller]
fn says(set: &Path, parts: &[&str]) -> String {
    let model = fixture(CASE).join("model");
    let args = [
        "attribute",
        "-m",
        model.to_str().unwrap(),
        "-t",
        set.to_str().unwrap(),
        "-p",
        "The ship",
        "--dry-run",
    ];
    let output = run(&args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    said
}

#[track_caller]
fn refused(set: &Path, parts: &[&str]) {
    let model = model(CASE);
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    // A plan, the work, and rewriting say the same.
    for message in [
        open(set, &model).map(drop).unwrap_err().to_string(),
        TranscoderSet::sizes(set, n_layers, d_model).map(drop).unwrap_err().to_string(),
        Conversion::open(set).map(drop).unwrap_err().to_string(),
    ] {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_config_under_another_name_is_named_with_the_lines_to_write() {
    let dir = copy(CASE);
    let at = |name: &str| dir.path().join(name);
    fs::rename(at("config.yaml"), at("config.yml")).unwrap();
    says(
        dir.path(),
        &[
            "no transcoder set",
            "`config.yml` lies there",
            "rename config.yml to config.yaml, or write",
            "\nmodel_name: ",
        ],
    );
    // A set's config under a name of its own, and one of a training run.
    fs::rename(at("config.yml"), at("llama.yaml")).unwrap();
    says(dir.path(), &["`llama.yaml` lies there and reads like one", "rename llama.yaml"]);
    fs::remove_file(at("llama.yaml")).unwrap();
    fs::write(at("wanb-config.yaml"), "d_model: {value: 32}\n").unwrap();
    let said =
        says(dir.path(), &["`wanb-config.yaml` lies there", "hint: write config.yaml with these lines"]);
    // The lines are a config that loads.
    let lines: Vec<_> = said.lines().skip_while(|line| !line.starts_with("model_name:")).collect();
    assert_eq!(lines.len(), 5, "{said}");
    fs::write(at("config.yaml"), lines.join("\n")).unwrap();
    let set = open(dir.path(), &model(CASE)).unwrap();
    assert_eq!(set.info().model_name.as_deref(), Some("OWNER/MODEL"));
    assert_eq!((set.info().reads.name(), set.info().writes.name()), ("mlp.hook_in", "mlp.hook_out"));
}

#[test]
fn folders_too_high_and_too_low_are_told() {
    let outer = tempfile::tempdir().unwrap();
    let set = outer.path().join("sets/first");
    fs::create_dir_all(set.join("features")).unwrap();
    for file in fs::read_dir(fixture(CASE).join("transcoders")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), set.join(file.file_name())).unwrap();
    }
    says(outer.path(), &["there are sets below it: sets/first"]);
    says(&set.join("features"), &["the folder above it is a set", "hint: give"]);
    says(&fixture(CASE).join("model"), &["looks like a model", "-m"]);

    let run = tempfile::tempdir().unwrap();
    let n_layers = model("llama-plt-skip").spec().n_layers();
    crate::sets::sparsify("llama-plt-skip", run.path(), n_layers);
    says(
        &run.path().join("layers.0.mlp"),
        &["one layer, written by sparsify", "the folder above it is a set"],
    );
    // Whole blocks in place of MLPs.
    for layer in 0..n_layers {
        let name = |end: &str| run.path().join(format!("layers.{layer}{end}"));
        fs::rename(name(".mlp"), name("")).unwrap();
    }
    says(
        run.path(),
        &[&format!("{n_layers} folders with cfg.json lie there, of no MLP (`layers.0`)"), "h.0.mlp"],
    );
}

#[test]
fn a_hub_says_the_same() {
    let world = World::new();
    let dir = copy(CASE);
    fs::remove_file(dir.path().join("config.yaml")).unwrap();
    world.hub.folder("acme/set", "", dir.path());
    world.hub.file("acme/set", "wandb-config.yaml", "a: 1");
    world.refused(
        &["attribute", "-t", "acme/set", "-p", "x"],
        3,
        &["no config.yaml", "`wandb-config.yaml` lies there", "model_kind: transcoder_set"],
    );
}

#[test]
fn a_set_with_a_folder_for_each_layer_is_traced_from_a_hub() {
    let case = "llama-plt-skip";
    let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
    let n_layers = model(case).spec().n_layers();
    crate::sets::sparsify(case, dir.path(), n_layers);
    for layer in 0..n_layers {
        let folder = format!("layers.{layer}.mlp");
        world.hub.folder("acme/run", &format!("sub/{folder}/"), &dir.path().join(folder));
    }
    world.hub.file("acme/run", "sub/layers.0.mlp/optimizer.pt", "not needed");
    let (model, ids) = (fixture(case).join("model"), crate::hub::ids(case));
    let traced = |set: &str, more: &[&str]| {
        let args = ["attribute", "-m", model.to_str().unwrap(), "-t", set, "--prompt-ids", &ids, "--json"];
        let mut found: serde_json::Value =
            serde_json::from_str(&world.done(&[&args, more].concat())).unwrap();
        found["targets"].take()
    };
    let here = traced(dir.path().to_str().unwrap(), &[]);
    assert_eq!(traced("acme/run/sub", &[]), here);
    assert!(!world.hub.log().iter().any(|request| request.path.contains("optimizer")));
    assert_eq!(traced("acme/run/sub", &["--offline"]), here);
    // One level too high.
    world.refused(
        &["attribute", "-t", "acme/run", "-p", "x"],
        3,
        &["no config.yaml", "sets below it: acme/run/sub"],
    );
}

#[test]
fn keys_of_a_config_are_named_with_value_and_expectation() {
    let (dir, model) = (copy(CASE), model(CASE));
    let path = dir.path().join("config.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let refused = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        let message = open(dir.path(), &model).map(drop).unwrap_err().to_string();
        assert!(
            message.contains("config.yaml: ") && parts.iter().all(|part| message.contains(part)),
            "{message}"
        );
    };
    refused(&format!("{good}k: many\nactivation: topk\n"), &["`k` is \"many\", expected a whole number"]);
    refused(
        &format!("{good}transcoders: layer_0\n"),
        &["`transcoders` is \"layer_0\", expected a list of texts"],
    );
    refused(&format!("{good}activation: [relu]\n"), &["`activation` is [\"relu\"], expected a text"]);
    refused(&good.replace("transcoder_set", "[1]"), &["`model_kind` is [1], expected"]);
    refused(
        &good.replace("mlp.hook_out", "hook_resid_post"),
        &["`feature_output_hook` is \"hook_resid_post\"", "hook_mlp_out"],
    );
    refused(
        &good.lines().filter(|line| !line.starts_with("feature_input")).collect::<Vec<_>>().join("\n"),
        &["`feature_input_hook` is missing, expected one of the hooks hook_resid_mid"],
    );
    refused("- a\n", &["[\"a\"], expected keys and values"]);
    refused("", &["empty"]);
    refused(&format!("{good}a: [\n"), &["not valid YAML at line"]);
    refused(&format!("{good}scan: again\n"), &["not valid YAML", "scan"]);
    // Keys that nobody knows, and those that other loaders write.
    fs::write(&path, format!("{good}repo_id: a/b\nrevision: null\nspecial_load_fn: gemma-scope\n")).unwrap();
    assert!(open(dir.path(), &model).unwrap().notices().is_empty());
    fs::write(&path, format!("\u{feff}{good}novelty: 1\nother: [2]\n")).unwrap();
    let set = open(dir.path(), &model).unwrap();
    assert_eq!(set.notices().len(), 1);
    assert!(
        set.notices()[0]
            .to_string()
            .ends_with("config.yaml: unknown keys are left aside: `novelty`, `other`")
    );
    let notices = [
        TranscoderSet::describe(dir.path()).unwrap().notices,
        TranscoderSet::sizes(dir.path(), 4, model.spec().d_model).unwrap().notices,
        Conversion::open(dir.path()).unwrap().notices().to_vec(),
    ];
    assert!(notices.iter().all(|notices| notices == set.notices()));
}

#[test]
fn a_set_for_another_model_names_that_model() {
    let set = fixture("qwen3-plt-relu").join("transcoders");
    let made_for = open(&set, &model("qwen3-plt-relu")).unwrap().info().model_name.clone().unwrap();
    says(
        &set,
        &[
            "b_dec",
            "has shape [40], expected a width of 48",
            "width 40",
            &format!("made for {made_for}"),
            "made for this model?",
        ],
    );
    let dir = copy(CASE);
    fs::remove_file(dir.path().join("layer_3.safetensors")).unwrap();
    says(dir.path(), &["made for", "files for 3 layers, expected 4", "layer_3.safetensors is missing"]);
}

#[test]
fn a_layer_stands_once() {
    let dir = copy(CASE);
    let path = dir.path().join("config.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let names =
        |numbers: &[usize]| numbers.iter().map(|n| format!("layer_{n}.safetensors")).collect::<Vec<_>>();
    for (list, parts) in [
        (names(&[0, 1, 2, 2]), ["`layer_2.safetensors` twice", "layers 2 and 3"]),
        (
            names(&[0, 2, 1, 3]),
            ["`transcoders` does not list layers in their order", "`layer_1.safetensors` comes after"],
        ),
    ] {
        fs::write(&path, listing(CASE, &list)).unwrap();
        refused(dir.path(), &parts);
    }
    fs::create_dir(dir.path().join("more")).unwrap();
    fs::copy(dir.path().join("layer_2.safetensors"), dir.path().join("more/layer_2.safetensors")).unwrap();
    let mut list = names(&[0, 1, 2]);
    list.push("more/layer_2.safetensors".into());
    fs::write(&path, listing(CASE, &list)).unwrap();
    refused(dir.path(), &["lists two files of layer 2", "`more/layer_2.safetensors`"]);
    // The same file in another spelling.
    let mut list = names(&[0, 1, 2]);
    list.push("./layer_2.safetensors".into());
    fs::write(&path, listing(CASE, &list)).unwrap();
    refused(dir.path(), &["`./layer_2.safetensors` twice"]);
    fs::write(&path, listing(CASE, &names(&[0, 1, 2, 3]))).unwrap();
    assert!(open(dir.path(), &model(CASE)).is_ok());
    // Two files whose names tell the same layer.
    fs::write(&path, good).unwrap();
    fs::copy(dir.path().join("layer_1.safetensors"), dir.path().join("layer_01.safetensors")).unwrap();
    refused(dir.path(), &["`layer_01.safetensors` is a file of layer 1", "layer_1.safetensors"]);
}

#[test]
fn all_layers_have_a_skip_or_none_and_so_with_thresholds() {
    for (name, of, part) in [
        ("W_skip", ["b_dec", "b_dec"].as_slice(), "a linear skip"),
        ("activation_function.threshold", &["b_enc"], "thresholds"),
    ] {
        let dir = copy(CASE);
        let path = dir.path().join("layer_2.safetensors");
        let mut tensors = read(&path);
        let shape: Vec<_> = of.iter().map(|part| tensors[*part].size()[0]).collect();
        tensors.insert(name.into(), Tensor::zeros(shape, (Kind::Float, Device::Cpu)));
        write(&path, &tensors);
        refused(dir.path(), &[&format!("layer 2 has {part}, and layer 0 has none")]);
    }
}

#[test]
fn a_tensor_that_stands_twice_is_refused_in_a_plan_too() {
    let dir = copy(CASE);
    let path = dir.path().join("layer_1.safetensors");
    let bytes = fs::read(&path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + n].to_vec()).unwrap();
    let entry =
        header.find("\"b_dec\":").map(|at| &header[at..=at + header[at..].find('}').unwrap()]).unwrap();
    let doubled = header.trim_end().replacen(entry, &format!("{entry},{entry}"), 1);
    let all = [&(doubled.len() as u64).to_le_bytes()[..], doubled.as_bytes(), &bytes[8 + n..]].concat();
    fs::write(&path, all).unwrap();
    refused(dir.path(), &["layer_1.safetensors", "`b_dec`", "twice"]);
}
