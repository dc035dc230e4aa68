//! `convert`: sets of every layout, rewritten, give the same graph bit by bit; and what the command does to folders.

use crate::cli::{binary, run, text};
use crate::sets::{copy, listing, model, open, same, scope_2_layer, scope_2_stack, sparsify, weights};
use crate::tensors::{read, write};
use circuit_attribution::{AttributeConfig, TargetChoice, attribute};
use circuit_index::FeatureId;
use circuit_model::Model;
use circuit_replacement::LocalReplacement;
use circuit_tests::{CASES, Expected, demo, fixture};
use circuit_transcoder::{Activation, Conversion, TranscoderSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tch::{Kind, Tensor};

/// Rewrites a set as the command does, but for the care about files.
fn convert(from: &Path, kind: Option<Kind>) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let set = Conversion::open(from).unwrap();
    for file in (0..set.n_layers()).flat_map(|layer| set.layer(layer).unwrap()) {
        file.write(kind, &mut fs::File::create(to.path().join(file.name())).unwrap()).unwrap();
    }
    let (name, config) = set.config();
    fs::write(to.path().join(name), config).unwrap();
    to
}

/// All numbers of a case's graph with a set, as bits.
pub(crate) type Bits = (Vec<FeatureId>, Vec<u32>, Vec<u32>);

pub(crate) fn graph(case: &str, model: &Model, set: &TranscoderSet) -> Bits {
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(Into::into).collect();
    let replacement = LocalReplacement::new(model, set, &tokens, 1).unwrap();
    let choice = TargetChoice::Automatic { max_n_logits: 3, desired_logit_prob: 0.9 };
    let targets = choice.resolve(&replacement).unwrap();
    let config = AttributeConfig { max_feature_nodes: Some(60), batch_size: 16, update_interval: 2 };
    let found = attribute(&replacement, &targets, config, |_| {}).unwrap();
    let activations: Vec<f32> = Vec::try_from(replacement.activations()).unwrap();
    let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect();
    (replacement.active().to_vec(), bits(&activations), bits(found.rows.as_slice()))
}

/// Converts a set for a case's model, and again, and compares weights and graphs.
#[track_caller]
pub(crate) fn round_trip(case: &str, folder: &Path) -> tempfile::TempDir {
    let model = model(case);
    let (to, before) = (convert(folder, None), open(folder, &model).unwrap());
    let after = open(to.path(), &model).unwrap();
    same(&before, &after);
    assert_eq!(before.info().model_name, after.info().model_name);
    assert!(graph(case, &model, &before) == graph(case, &model, &after), "{case}: another graph");
    // What is mapped already stays as it is, byte by byte.
    let again = convert(to.path(), None);
    for file in fs::read_dir(to.path()).unwrap() {
        let file = file.unwrap();
        assert!(fs::read(file.path()).unwrap() == fs::read(again.path().join(file.file_name())).unwrap());
    }
    to
}

#[test]
fn every_golden_set_gives_the_same_graph() {
    for case in CASES {
        let to = round_trip(case, &fixture(case).join("transcoders"));
        let set = open(to.path(), &model(case)).unwrap();
        if case == "qwen3-plt-topk" {
            assert!(matches!(set.layers()[0].activation, Activation::TopK { k: 8 }));
        }
        assert_eq!(set.layers()[0].W_skip.is_some(), case.ends_with("skip") || case == "gemma3-plt-jumprelu");
    }
    round_trip("gemma2-plt-jumprelu", &fixture("gemma2-plt-jumprelu").join("transcoders_npz"));
}

#[test]
fn every_other_layout_gives_the_same_graph() {
    // GemmaScope 2, cross-layer: a file per layer, listed in a sub-folder, and all layers in one.
    let case = "gemma2-clt-jumprelu";
    let n_layers = model(case).spec().n_layers();
    let config = fs::read_to_string(fixture(case).join("transcoders/config.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), &config).unwrap();
    fs::create_dir(dir.path().join("clt")).unwrap();
    let names: Vec<_> = (0..n_layers).map(|l| format!("clt/layer-{l}.safetensors")).collect();
    for (l, name) in names.iter().enumerate() {
        write(&dir.path().join(format!("params_layer_{l}.safetensors")), &scope_2_layer(case, l));
        write(&dir.path().join(name), &scope_2_layer(case, l));
    }
    round_trip(case, dir.path());
    fs::write(dir.path().join("config.yaml"), listing(case, &names)).unwrap();
    round_trip(case, dir.path());
    write(&dir.path().join("all.safetensors"), &scope_2_stack(case, n_layers));
    fs::write(dir.path().join("config.yaml"), listing(case, &["all.safetensors".into()])).unwrap();
    let to = round_trip(case, dir.path());
    // What is there is what the reference has in these files.
    let tensors = read(&to.path().join("W_dec_1.safetensors"));
    assert_eq!(tensors["W_dec_1"], read(&fixture(case).join("transcoders/W_dec_1.safetensors"))["W_dec_1"]);

    // The skip of a cross-layer set is stored the other way round.
    let case = "llama-clt-relu";
    let dir = copy(case);
    tch::manual_seed(11);
    let mut skips = Vec::new();
    for l in 0..model(case).spec().n_layers() {
        let path = dir.path().join(format!("W_enc_{l}.safetensors"));
        let mut tensors = read(&path);
        let d = tensors[&format!("b_dec_{l}")].size()[0];
        skips.push(Tensor::randn([d, d], (Kind::Float, tch::Device::Cpu)));
        tensors.insert(format!("W_skip_{l}"), skips[l].shallow_clone());
        write(&path, &tensors);
    }
    let to = round_trip(case, dir.path());
    assert_eq!(read(&to.path().join("W_enc_1.safetensors"))["W_skip_1"], skips[1]);

    let case = "llama-plt-skip";
    let dir = tempfile::tempdir().unwrap();
    sparsify(case, dir.path(), model(case).spec().n_layers());
    let to = round_trip(case, dir.path());
    let config = fs::read_to_string(to.path().join("config.yaml")).unwrap();
    assert!(config.contains("activation: relu_topk\nk: 5\n"), "{config}");
}

#[test]
fn a_k_that_a_set_leaves_out_is_written_down() {
    // The one published set without `k` keeps 128: a small one, with its features repeated until there are enough.
    let case = "qwen3-plt-topk";
    let dir = copy(case);
    for l in 0..model(case).spec().n_layers() {
        let path = dir.path().join(format!("layer_{l}.safetensors"));
        let repeat = |(name, t): (String, Tensor)| match name.as_str() {
            "b_dec" => (name, t),
            _ => (name, Tensor::cat(&[&t, &t, &t, &t], 0)),
        };
        write(&path, &read(&path).into_iter().map(repeat).collect());
    }
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.lines().filter(|l| !l.starts_with("k:")).collect::<Vec<_>>().join("\n")).unwrap();
    let to = round_trip(case, dir.path());
    let config = fs::read_to_string(to.path().join("config.yaml")).unwrap();
    assert!(config.contains("activation: topk\nk: 128\n"), "{config}");
}

#[test]
fn matrices_take_another_type_and_vectors_stay() {
    let case = "gemma3-plt-jumprelu";
    let model = model(case);
    let from = fixture(case).join("transcoders");
    let to = convert(&from, Some(Kind::BFloat16));
    let (before, after) = (open(&from, &model).unwrap(), open(to.path(), &model).unwrap());
    for (a, b) in before.layers().iter().zip(after.layers()) {
        assert_eq!((b.W_enc.kind(), b.W_dec.kind()), (Kind::BFloat16, Kind::BFloat16));
        assert_eq!(weights(a).map(|t| t.to_kind(Kind::BFloat16)), weights(b));
        assert_eq!((&a.b_enc, &a.b_dec), (&b.b_enc, &b.b_dec));
        let (Activation::JumpRelu { threshold: a }, Activation::JumpRelu { threshold: b }) =
            (&a.activation, &b.activation)
        else {
            panic!("thresholds are there before and after")
        };
        assert_eq!(a, b);
    }
}

fn command(from: &Path, to: &Path, more: &[&str]) -> Output {
    run(&[&["convert", from.to_str().unwrap(), "-o", to.to_str().unwrap()], more].concat())
}

#[track_caller]
fn refused(output: &Output, code: i32, says: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(says.iter().all(|part| stderr.contains(part)), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_filled_whole_or_is_no_set() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (demo().join("transcoders"), dir.path().join("a/mapped"));
    let output = command(&from, &to, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("one file per layer -> one file per layer"));
    let layers: Vec<_> = (0..4).map(|l| format!("layer_{l}.safetensors")).collect();
    assert_eq!(names(&to), [&["config.yaml".to_owned()], &layers[..]].concat());

    // It is not written over unless that is said; then nothing of an older set stays, and all else does.
    refused(&command(&from, &to, &[]), 5, &["mapped: the folder is not empty", "--overwrite"]);
    for file in ["layer_7.safetensors", "W_dec_0.safetensors", "layer_x.safetensors", "notes.txt"] {
        fs::write(to.join(file), "old").unwrap();
    }
    let output = command(&from, &to, &["--overwrite", "--dtype", "bf16"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let kept = ["layer_x.safetensors", "notes.txt"].map(str::to_owned);
    assert_eq!(names(&to), [&["config.yaml".to_owned()], &layers[..], &kept].concat());

    // A set cannot be rewritten over itself.
    refused(&command(&to, &to, &["--overwrite"]), 5, &["the set's own files lie there"]);
    assert_eq!(names(&to).len(), 7);

    // What ends on the way leaves no config, and so no set.
    let script = format!(
        "ulimit -f 100; exec {} convert {} -o {} --overwrite",
        binary().display(),
        from.display(),
        to.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    refused(&output, 5, &["layer_0.safetensors", "write"]);
    assert_eq!(names(&to), kept);
    refused(&run(&["describe", to.to_str().unwrap()]), 3, &["no transcoder set"]);
    refused(&command(&from, &dir.path().join("a/mapped/notes.txt"), &[]), 5, &["notes.txt"]);
}

#[test]
fn numbers_that_are_none_are_not_passed_on() {
    let dir = copy("llama-plt-relu");
    let to = tempfile::tempdir().unwrap();
    let path = dir.path().join("layer_2.safetensors");
    let good = read(&path);
    let with = |value: f64| {
        let mut tensors: crate::tensors::Tensors =
            good.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        let mut bad = tensors["W_dec"].copy();
        let _ = bad.get(3).fill_(value);
        bad = bad.contiguous();
        tensors.insert("W_dec".into(), bad);
        write(&path, &tensors);
    };
    with(f64::NAN);
    refused(&command(dir.path(), to.path(), &[]), 3, &["layer_2.safetensors", "`W_dec`", "NaN"]);
    assert_eq!(names(to.path()), ["layer_0.safetensors", "layer_1.safetensors"]);
    // More than fp16 holds.
    with(1e5);
    refused(
        &command(dir.path(), to.path(), &["--overwrite", "--dtype", "fp16"]),
        3,
        &["`W_dec`", "infinity"],
    );
    fs::create_dir(dir.path().join("features")).unwrap();
    let output = command(dir.path(), to.path(), &["--overwrite", "--dtype", "bf16"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pages = format!("--features-dir parity/llama-plt-relu={}", dir.path().display());
    assert!(text(&output.stderr).contains(&pages), "{}", text(&output.stderr));
    // A set that could not be opened is not rewritten either.
    fs::remove_file(&path).unwrap();
    let refusal = command(dir.path(), to.path(), &["--overwrite"]);
    refused(&refusal, 3, &["layer_2.safetensors is missing"]);
}
