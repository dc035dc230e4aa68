//! Layouts of transcoder sets: however the same weights lie in files, the same is read; what is not understood is refused by
//! name.

use crate::sets::{
    SPARSIFY_CONFIG, copy, listing, model, open, replacement, same, scope_2_layer, scope_2_stack, sparsify,
    weights,
};
use crate::tensors::{read, write};
use circuit_index::Layer;
use circuit_tests::fixture;
use circuit_transcoder::{Activation, TranscoderError, TranscoderSet};
use std::collections::BTreeMap;
use std::fs;
use tch::{Device, Kind, Tensor};

#[track_caller]
fn refused(result: Result<TranscoderSet, TranscoderError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn the_skip_of_a_cross_layer_set_is_x_times_w() {
    let case = "llama-clt-relu";
    let dir = copy(case);
    let model = model(case);
    let d = model.spec().d_model as i64;
    tch::manual_seed(5);
    let skips: Vec<_> =
        (0..model.spec().n_layers()).map(|_| Tensor::randn([d, d], (Kind::Float, Device::Cpu))).collect();
    for (l, skip) in skips.iter().enumerate() {
        let path = dir.path().join(format!("W_enc_{l}.safetensors"));
        let mut tensors = read(&path);
        tensors.insert(format!("W_skip_{l}"), skip.shallow_clone());
        write(&path, &tensors);
    }
    let (without, with) =
        (open(&fixture(case).join("transcoders"), &model).unwrap(), open(dir.path(), &model).unwrap());
    let (without, with) = (replacement(case, &model, &without), replacement(case, &model, &with));
    assert_eq!(with.active(), without.active());
    for (l, skip) in skips.iter().enumerate() {
        let passed = without.errors(Layer::from(l)) - with.errors(Layer::from(l));
        let expected = with.trace().layers[l].feature_input.matmul(skip);
        let difference = (passed - expected).narrow(0, 1, with.n_pos() as i64 - 1).abs().max();
        assert!(difference.double_value(&[]) < 1e-4, "layer {l}: {difference:?}");
    }
}

#[test]
fn damaged_cross_layer_sets_are_refused_by_name() {
    let case = "gemma2-clt-jumprelu";
    let model = model(case);
    let dir = copy(case);
    let at = |file: &str| dir.path().join(file);
    let decoder = read(&at("W_dec_1.safetensors"));
    // One output layer too few.
    let cut = decoder.iter().map(|(name, t)| (name.clone(), t.narrow(1, 0, 2))).collect();
    write(&at("W_dec_1.safetensors"), &cut);
    refused(open(dir.path(), &model), &["W_dec_1.safetensors", "[80, 2, 32]", "[80, 3, 32]"]);
    fs::remove_file(at("W_dec_1.safetensors")).unwrap();
    refused(open(dir.path(), &model), &["W_dec_1.safetensors"]);
    write(&at("W_dec_1.safetensors"), &decoder);
    assert!(open(dir.path(), &model).is_ok());

    fs::rename(at("W_enc_3.safetensors"), at("W_enc_4.safetensors")).unwrap();
    refused(open(dir.path(), &model), &["W_enc_3.safetensors is missing"]);
    fs::rename(at("W_enc_4.safetensors"), at("W_enc_3.safetensors")).unwrap();

    let mut encoder = read(&at("W_enc_2.safetensors"));
    encoder.insert("novelty".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
    write(&at("W_enc_2.safetensors"), &encoder);
    refused(open(dir.path(), &model), &["W_enc_2.safetensors", "novelty", "threshold_2"]);

    let first = read(&at("W_enc_0.safetensors"));
    let renamed = first.into_iter().map(|(name, t)| (name.replace("W_enc", "encoder"), t)).collect();
    write(&at("W_enc_0.safetensors"), &renamed);
    refused(open(dir.path(), &model), &["W_enc_0.safetensors", "encoder_0", "b_enc_0", "known", "W_enc_{}"]);
    let config = fs::read_to_string(at("config.yaml")).unwrap();
    fs::write(at("config.yaml"), config.replace("cross_layer_transcoder", "transcoder_set")).unwrap();
    refused(open(dir.path(), &model), &["W_enc_1.safetensors", "known", "layer_{}.safetensors"]);
    fs::write(at("config.yaml"), config.replace("cross_layer_transcoder", "crosscoder")).unwrap();
    refused(open(dir.path(), &model), &["config.yaml", "crosscoder", "cross_layer_transcoder"]);
}

#[test]
fn npz_files_hold_the_same() {
    let case = "gemma2-plt-jumprelu";
    let model = model(case);
    let plain = open(&fixture(case).join("transcoders"), &model).unwrap();
    same(&open(&fixture(case).join("transcoders_npz"), &model).unwrap(), &plain);
}

#[test]
fn cross_layer_sets_may_list_all_layers_for_each() {
    let case = "gemma2-clt-jumprelu";
    let model = model(case);
    let n_layers = model.spec().n_layers();
    let plain = open(&fixture(case).join("transcoders"), &model).unwrap();
    let config = fs::read_to_string(fixture(case).join("transcoders/config.yaml")).unwrap();

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), &config).unwrap();
    for l in 0..n_layers {
        write(&dir.path().join(format!("params_layer_{l}.safetensors")), &scope_2_layer(case, l));
    }
    same(&open(dir.path(), &model).unwrap(), &plain);

    // The same files, listed and in a sub-folder.
    let folder = dir.path().join("clt");
    fs::create_dir(&folder).unwrap();
    let names: Vec<_> = (0..n_layers).map(|l| format!("clt/layer-{l}.safetensors")).collect();
    for (l, name) in names.iter().enumerate() {
        fs::rename(dir.path().join(format!("params_layer_{l}.safetensors")), dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("config.yaml"), listing(case, &names)).unwrap();
    same(&open(dir.path(), &model).unwrap(), &plain);
    fs::write(dir.path().join("config.yaml"), listing(case, &names[1..])).unwrap();
    refused(open(dir.path(), &model), &["3 layers", "expected 4", "transcoders"]);

    // All layers in one file.
    write(&dir.path().join("all.safetensors"), &scope_2_stack(case, n_layers));
    fs::write(dir.path().join("config.yaml"), listing(case, &["all.safetensors".into()])).unwrap();
    same(&open(dir.path(), &model).unwrap(), &plain);
    assert_eq!(TranscoderSet::describe(dir.path()).unwrap().layers.len(), n_layers);
}

#[test]
fn a_run_of_sparsify_is_read_where_it_lies() {
    let case = "llama-plt-skip";
    let model = model(case);
    let dir = tempfile::tempdir().unwrap();
    let at = |l: usize, file: &str| dir.path().join(format!("layers.{l}.mlp/{file}"));
    let json = SPARSIFY_CONFIG;
    sparsify(case, dir.path(), model.spec().n_layers());
    let (set, plain) =
        (open(dir.path(), &model).unwrap(), open(&fixture(case).join("transcoders"), &model).unwrap());
    assert_eq!((set.info().reads, set.info().writes), (plain.info().reads, plain.info().writes));
    for (a, b) in set.layers().iter().zip(plain.layers()) {
        assert_eq!(weights(a), weights(b));
        assert_eq!((&a.b_enc, &a.W_skip), (&b.b_enc, &b.W_skip));
        assert!(matches!(a.activation, Activation::ReluTopK { k: 5, shift: None }));
        // Of each position the five largest, and of those only what is above 0.
        let pre = Tensor::from_slice(&[3.0_f32, -1.0, 7.0, 0.5, 2.0, -2.0, -0.5, -9.0]).view([1, 8]);
        let kept = Tensor::from_slice(&[3.0_f32, 0.0, 7.0, 0.5, 2.0, 0.0, 0.0, 0.0]).view([1, 8]);
        assert_eq!(a.activate(&pre), kept);
    }
    assert_eq!(TranscoderSet::describe(dir.path()).unwrap().layout, "sparsify");
    for (from, to, parts) in [
        ("\"topk\"", "\"groupmax\"", ["groupmax", "topk"]),
        ("\"transcode\": true", "\"transcode\": false", ["transcode", "autoencoder"]),
        ("\"k\": 5", "\"k\": 0", ["`k`", "positive"]),
        ("\"k\": 5", "\"k\": 500", ["k = 500", "features"]),
    ] {
        fs::write(at(0, "cfg.json"), json.replace(from, to)).unwrap();
        for l in 1..model.spec().n_layers() {
            fs::write(at(l, "cfg.json"), json.replace(from, to)).unwrap();
        }
        refused(open(dir.path(), &model), &parts);
    }
    fs::write(at(0, "cfg.json"), json).unwrap();
    fs::write(at(1, "cfg.json"), json.replace("\"k\": 5", "\"k\": 6")).unwrap();
    refused(open(dir.path(), &model), &["layers.1.mlp/cfg.json", "`k` is 6"]);
}

#[test]
fn what_a_config_leaves_out_or_names_elsewhere() {
    let case = "qwen3-plt-topk";
    let model = model(case);
    let dir = copy(case);
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    // The one published set without k keeps 128, more than this small one has features: so it is refused with that number.
    let without_k = config.lines().filter(|l| !l.starts_with("k:")).collect::<Vec<_>>().join("\n");
    fs::write(&path, &without_k).unwrap();
    refused(open(dir.path(), &model), &["k = 128", "features per layer"]);
    for (file, parts) in [
        ("hf://a/b/c.safetensors", ["hf://a/b/c.safetensors", "hub"]),
        ("../layer_0.safetensors", ["../layer_0.safetensors", "outside"]),
        ("/etc/passwd", ["/etc/passwd", "outside"]),
        ("nowhere.safetensors", ["nowhere.safetensors", "No such file"]),
    ] {
        fs::write(&path, format!("{config}\ntranscoders:\n- {file}\n")).unwrap();
        refused(open(dir.path(), &model), &parts);
    }

    // A folder of several sets names them.
    let outer = tempfile::tempdir().unwrap();
    refused(open(outer.path(), &model), &["neither config.yaml"]);
    let inner = outer.path().join("all/width_1k");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("config.yaml"), &config).unwrap();
    refused(open(outer.path(), &model), &["sets below it", "all/width_1k"]);
}

#[test]
fn a_cross_layer_set_may_keep_the_k_largest() {
    let case = "llama-clt-relu";
    let (model, dir) = (model(case), copy(case));
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let plain = open(dir.path(), &model).unwrap();
    let plain = replacement(case, &model, &plain);
    let n_kept = |activation: &str| {
        fs::write(&path, format!("{config}\nactivation: {activation}\nk: 3\n")).unwrap();
        let set = open(dir.path(), &model).unwrap();
        let kept = replacement(case, &model, &set);
        // What is kept is kept as it was, and all its writes still add up to what the model computes.
        let values: Vec<f32> = Vec::try_from(kept.activations()).unwrap();
        let before: Vec<f32> = Vec::try_from(plain.activations()).unwrap();
        let before: BTreeMap<_, _> = plain.active().iter().zip(before).collect();
        for (feature, value) in kept.active().iter().zip(values) {
            assert!(value < 0.0 || before[feature] == value, "{activation}: {feature}");
        }
        assert_eq!(set.writers(2), 0..3);
        kept.active().len()
    };
    let (n_layers, n_pos) = (model.spec().n_layers(), plain.n_pos());
    assert_eq!(n_kept("topk"), 3 * n_layers * (n_pos - 1), "of each position but the ignored one");
    let positive = n_kept("relu_topk");
    assert!(positive > 0 && positive < plain.active().len(), "{positive}");
}

#[test]
fn where_the_vectors_of_a_cross_layer_set_stand_does_not_count() {
    let case = "gemma2-clt-jumprelu";
    let (model, dir) = (model(case), copy(case));
    for l in 0..model.spec().n_layers() {
        let at = |file: &str| dir.path().join(format!("{file}_{l}.safetensors"));
        let (mut encoder, mut decoder) = (read(&at("W_enc")), read(&at("W_dec")));
        let name = format!("b_dec_{l}");
        decoder.insert(name.clone(), encoder.remove(&name).unwrap());
        write(&at("W_enc"), &encoder);
        write(&at("W_dec"), &decoder);
    }
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    for more in ["", "activation: jump_relu\n", "activation: jumprelu\n"] {
        fs::write(&path, format!("{config}\n{more}")).unwrap();
        same(&open(dir.path(), &model).unwrap(), &open(&fixture(case).join("transcoders"), &model).unwrap());
    }
    fs::write(&path, format!("{config}\nactivation: jump_relu\nk: 2\n")).unwrap();
    refused(open(dir.path(), &model), &["`k` is given"]);
    fs::write(&path, format!("{config}\nactivation: relu_topk\n")).unwrap();
    refused(open(dir.path(), &model), &["relu_topk needs `k`"]);
    // Thresholds that the config names and the files do not hold.
    let dir = copy("llama-clt-relu");
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}\nactivation: jump_relu\n")).unwrap();
    refused(open(dir.path(), &crate::sets::model("llama-clt-relu")), &["config.yaml", "no thresholds"]);
}
