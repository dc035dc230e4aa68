//! Sets with a folder for each layer, as sparsify and SAELens write them: they load with the conventions of these tools, and what is not
//! implemented is refused by name.

use crate::convert::{graph, round_trip};
use crate::sets::{model, open, replacement, same};
use crate::tensors::{Tensors, read, write};
use circuit_index::LayerSite;
use circuit_tests::fixture;
use circuit_transcoder::{Activation, Conversion, TranscoderError, TranscoderSet};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const GPT2: &str = "gpt2-plt-relu";

/// The `cfg.json` of a published sparsify set for GPT-2, with the sizes of the fixture.
fn published() -> Value {
    json!({
        "dtype": "none", "activation": "topk", "expansion_factor": 32, "normalize_decoder": true, "num_latents": 96, "k": 8,
        "multi_topk": false, "skip_connection": true, "transcode": true, "tp_output": true, "n_targets": 0, "n_sources": 1,
        "normalize_io": false, "divide_cross_layer": false, "train_post_encoder": true, "post_encoder_scale": false,
        "per_source_tied": false, "secondary_target_tied": false, "coalesce_topk": "none", "topk_coalesced": false,
        "use_fp8": false, "d_in": 48,
    })
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

/// The tensors of a layer of the GPT-2 fixture, with a skip.
fn gpt2_layer(layer: usize) -> Tensors {
    let mut tensors = read(&fixture(GPT2).join(format!("transcoders/layer_{layer}.safetensors")));
    tch::manual_seed(layer as i64);
    tensors.insert("W_skip".into(), Tensor::randn([48, 48], (Kind::Float, Device::Cpu)) * 0.05);
    tensors
}

/// A run of sparsify, with these names of folders.
fn sparsify(folder: &Path, names: &str, config: &Value, change: impl Fn(Tensors) -> Tensors) {
    for layer in 0..4 {
        let folder = folder.join(names.replace("{}", &layer.to_string()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
        let mut tensors = change(gpt2_layer(layer));
        for (from, to) in [("W_enc", "encoder.weight"), ("b_enc", "encoder.bias")] {
            let tensor = tensors.remove(from).unwrap();
            tensors.insert(to.into(), tensor);
        }
        write(&folder.join("sae.safetensors"), &tensors);
    }
}

/// A set of SAELens, with these names of folders.
fn sae_lens(folder: &Path, names: &str, config: impl Fn(usize) -> Value, layer: impl Fn(usize) -> Tensors) {
    for l in 0..4 {
        let folder = folder.join(names.replace("{}", &l.to_string()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cfg.json"), config(l).to_string()).unwrap();
        let mut tensors = layer(l);
        let encoder = tensors.remove("W_enc").unwrap();
        tensors.insert("W_enc".into(), encoder.tr());
        write(&folder.join("sae_weights.safetensors"), &tensors);
    }
}

fn sae_lens_config(layer: usize, architecture: &str) -> Value {
    json!({
        "d_in": 48, "d_out": 48, "d_sae": 96, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": false,
        "normalize_activations": "none", "reshape_activations": "none", "architecture": architecture,
        "metadata": {
            "sae_lens_version": "6.54.12", "model_name": "gpt2-small", "hook_name": format!("blocks.{layer}.mlp.hook_in"),
            "hook_name_out": format!("blocks.{layer}.mlp.hook_out"), "prepend_bos": true, "hook_head_index": null,
            "model_from_pretrained_kwargs": {"fold_ln": false},
        },
    })
}

#[track_caller]
fn refused(result: Result<TranscoderSet, TranscoderError>, parts: &[&str]) {
    let message = result.map(drop).unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

/// The same weights in the layout of the Python library, whose config calls the activation function by name.
fn plain(folder: &Path, activation: &str, layer: impl Fn(usize) -> Tensors) {
    let config = fs::read_to_string(fixture(GPT2).join("transcoders/config.yaml")).unwrap();
    fs::write(folder.join("config.yaml"), format!("{config}{activation}")).unwrap();
    for l in 0..4 {
        write(&folder.join(format!("layer_{l}.safetensors")), &layer(l));
    }
}

#[test]
fn a_published_sparsify_set_gives_the_graph_of_the_same_weights() {
    let (model, expected) = (model(GPT2), tempfile::tempdir().unwrap());
    plain(expected.path(), "activation: relu_topk\nk: 8\n", gpt2_layer);
    let expected = open(expected.path(), &model).unwrap();
    let rows = graph(GPT2, &model, &expected);
    for names in ["h.{}.mlp", "layers.{}.mlp", "transformer.h.{}.mlp", "model.layers.{}.mlp"] {
        let dir = tempfile::tempdir().unwrap();
        // Files of training, and another hook point of the same run.
        sparsify(dir.path(), names, &published(), |tensors| tensors);
        fs::create_dir(dir.path().join("h.0.attn")).unwrap();
        fs::write(dir.path().join("h.0.attn/cfg.json"), with(published(), "k", json!(3)).to_string())
            .unwrap();
        fs::write(dir.path().join("config.json"), r#"{"model": "openai-community/gpt2", "lr": null}"#)
            .unwrap();
        let set = open(dir.path(), &model).unwrap();
        same(&set, &expected);
        assert!(matches!(set.layers()[0].activation, Activation::ReluTopK { k: 8, shift: None }));
        assert!(set.layers().iter().all(|layer| layer.W_skip.is_some()) && set.notices().is_empty());
        assert!(graph(GPT2, &model, &set) == rows, "{names}: another graph");
        round_trip(GPT2, dir.path());
    }
}

#[test]
fn every_key_of_sparsify_is_used_neutral_or_refused_by_name() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    let opened = |config: Value| {
        sparsify(dir.path(), "h.{}.mlp", &config, |tensors| tensors);
        open(dir.path(), &model)
    };
    for (key, value, says) in [
        ("n_targets", json!(12), "12, expected 0"),
        ("n_sources", json!(12), "12, expected 0 or 1"),
        ("activation", json!("groupmax"), "\"groupmax\", expected topk"),
        ("activation", json!("batchtopk"), "\"batchtopk\", expected topk"),
        ("normalize_io", json!(true), "true, expected false"),
        ("post_encoder_scale", json!(true), "true, expected false"),
        ("coalesce_topk", json!("concat"), "\"concat\", expected \"none\""),
        ("signed", json!(true), "true, expected false"),
        ("transcode", json!(false), "is false: it is an autoencoder"),
        ("skip_connection", json!(false), "W_skip"),
        ("k", json!("many"), "\"many\", expected a whole number"),
        ("k", json!(0), "0, expected a positive number"),
        ("k", Value::Null, "missing, expected a positive number"),
    ] {
        let result = opened(with(published(), key, value));
        let name = if key == "skip_connection" { "skip" } else { key };
        refused(result, &[name, says]);
    }
    for (key, value) in [
        ("dtype", json!("bfloat16")),
        ("expansion_factor", json!(4)),
        ("normalize_decoder", json!(false)),
        ("multi_topk", json!(true)),
        ("tp_output", json!(false)),
        ("n_sources", json!(0)),
        ("divide_cross_layer", json!(true)),
        ("train_post_encoder", json!(false)),
        ("per_source_tied", json!(true)),
        ("topk_coalesced", json!(true)),
        ("num_latents", json!(0)),
        ("d_out", json!(48)),
        ("signed", json!(false)),
    ] {
        let set = opened(with(published(), key, value)).unwrap();
        assert!(set.notices().is_empty(), "{key}: {:?}", set.notices());
    }
    let set = opened(with(with(published(), "novelty", json!(1)), "other", json!({}))).unwrap();
    let notices: Vec<_> = set.notices().iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(
        notices[0].starts_with("warning: ") && notices[0].contains("cfg.json: unknown keys"),
        "{notices:?}"
    );
    assert!(notices[0].contains("`novelty`, `other`"), "{notices:?}");
    let set = opened(with(published(), "use_fp8", json!(true))).unwrap();
    assert!(set.notices()[0].to_string().contains("`use_fp8` is true"));
}

#[test]
fn what_sparsify_adds_after_the_encoder_is_part_of_activations() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    let shift = |by: f64| {
        move |mut tensors: Tensors| {
            tensors.insert("post_enc".into(), Tensor::arange(96, (Kind::Float, Device::Cpu)) * by);
            tensors
        }
    };
    sparsify(dir.path(), "h.{}.mlp", &published(), shift(0.0));
    let without = open(dir.path(), &model).unwrap();
    assert!(matches!(without.layers()[0].activation, Activation::ReluTopK { shift: None, .. }));
    round_trip(GPT2, dir.path());

    sparsify(dir.path(), "h.{}.mlp", &published(), shift(0.5));
    let set = open(dir.path(), &model).unwrap();
    tch::manual_seed(3);
    let pre = Tensor::randn([5, 96], (Kind::Float, Device::Cpu));
    let before = without.layers()[0].activate(&pre);
    let after = set.layers()[0].activate(&pre);
    for (position, feature) in (0..5).flat_map(|p| (0..96).map(move |f| (p, f))) {
        let [before, after] = [&before, &after].map(|acts| acts.double_value(&[position, feature]));
        let expected = if before > 0.0 { before + 0.5 * feature as f64 } else { 0.0 };
        assert!((after - expected).abs() < 1e-5, "{position} {feature}: {after}, expected {expected}");
    }
    // What the features write and what is left add up to what the MLP puts out, as for every set.
    let found = replacement(GPT2, &model, &set);
    assert!(found.active().len() > 10);
    let refusal = Conversion::open(dir.path()).unwrap().layer(0).map(drop).unwrap_err().to_string();
    assert!(refusal.contains("post_enc"), "{refusal}");
}

#[test]
fn folders_of_layers_are_told_apart_and_counted() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    sparsify(dir.path(), "h.{}.mlp", &published(), |tensors| tensors);
    // The same layer under another name.
    fs::create_dir(dir.path().join("transformer.h.1.mlp")).unwrap();
    let config = dir.path().join("transformer.h.1.mlp/cfg.json");
    fs::write(&config, published().to_string()).unwrap();
    refused(open(dir.path(), &model), &["`h.1.mlp` and `transformer.h.1.mlp` both hold layer 1"]);
    fs::remove_file(&config).unwrap();
    assert!(open(dir.path(), &model).is_ok());
    // One layer of another tool.
    fs::write(&config, sae_lens_config(1, "transcoder").to_string()).unwrap();
    refused(
        open(dir.path(), &model),
        &["`h.0.mlp` is a layer of sparsify", "`transformer.h.1.mlp` one of SAELens"],
    );
    fs::remove_file(&config).unwrap();
    // A layer too few, and one whose weights are missing.
    fs::rename(dir.path().join("h.3.mlp"), dir.path().join("h.4.mlp")).unwrap();
    refused(open(dir.path(), &model), &["4 layers", "the folder of layer 3 is missing"]);
    fs::rename(dir.path().join("h.4.mlp"), dir.path().join("h.3.mlp")).unwrap();
    fs::remove_file(dir.path().join("h.2.mlp/sae.safetensors")).unwrap();
    refused(open(dir.path(), &model), &["h.2.mlp/sae.safetensors"]);
    // JSON that is none.
    fs::write(dir.path().join("h.2.mlp/cfg.json"), "{\"k\": ").unwrap();
    refused(open(dir.path(), &model), &["h.2.mlp/cfg.json", "not valid JSON"]);
}

#[test]
fn sae_lens_transcoders_load_whatever_their_folders_are_called() {
    let model = model(GPT2);
    for (architecture, skip) in [("transcoder", false), ("skip_transcoder", true)] {
        let layer = |l: usize| {
            let mut tensors = gpt2_layer(l);
            if !skip {
                tensors.remove("W_skip");
            }
            tensors
        };
        let (dir, expected) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // The layer is that of the hook, not that of the folder's name or place.
        sae_lens(dir.path(), "z{}", |l| sae_lens_config(3 - l, architecture), |l| layer(3 - l));
        plain(expected.path(), "", layer);
        let (set, expected) = (open(dir.path(), &model).unwrap(), open(expected.path(), &model).unwrap());
        same(&set, &expected);
        assert!(set.notices().is_empty(), "{:?}", set.notices());
        assert_eq!(set.info().model_name.as_deref(), Some("gpt2-small"));
        assert!(graph(GPT2, &model, &set) == graph(GPT2, &model, &expected), "{architecture}: another graph");
        assert_eq!(TranscoderSet::describe(dir.path()).unwrap().layout, "SAELens");
        round_trip(GPT2, dir.path());
    }
}

#[test]
fn thresholds_of_sae_lens_let_nothing_below_zero_pass() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    let thresholds = || Tensor::linspace(-1.0, 1.0, 96, (Kind::Float, Device::Cpu));
    let layer = |l: usize| {
        let mut tensors = gpt2_layer(l);
        tensors.insert("threshold".into(), thresholds());
        tensors
    };
    sae_lens(dir.path(), "layer_{}", |l| sae_lens_config(l, "jumprelu_skip_transcoder"), layer);
    let set = open(dir.path(), &model).unwrap();
    tch::manual_seed(4);
    let pre = Tensor::randn([50, 96], (Kind::Float, Device::Cpu));
    let expected = pre.relu() * pre.gt_tensor(&thresholds()).to_kind(Kind::Float);
    assert_eq!(set.layers()[1].activate(&pre), expected);
    round_trip(GPT2, dir.path());
}

#[test]
fn an_input_less_b_dec_is_encoded_exactly() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    let config = |l: usize| with(sae_lens_config(l, "transcoder"), "apply_b_dec_to_input", json!(l != 2));
    let layer = |l: usize| {
        let mut tensors = gpt2_layer(l);
        tensors.remove("W_skip");
        // As large as in real sets.
        tensors.insert("b_dec".into(), Tensor::linspace(-2.0, 3.0, 48, (Kind::Float, Device::Cpu)));
        tensors
    };
    sae_lens(dir.path(), "layer_{}", config, layer);
    let set = open(dir.path(), &model).unwrap();
    tch::manual_seed(9);
    let x = Tensor::randn([7, 48], (Kind::Double, Device::Cpu));
    for (l, transcoder) in set.layers().iter().enumerate() {
        let wide = layer(l).into_iter().map(|(name, t)| (name, t.to_kind(Kind::Double))).collect::<Tensors>();
        let input = if l == 2 { x.shallow_clone() } else { &x - &wide["b_dec"] };
        let expected = input.matmul(&wide["W_enc"].tr()) + &wide["b_enc"];
        let found = x.matmul(&wide["W_enc"].tr()) + transcoder.b_enc.to_kind(Kind::Double);
        let wrong = ((&found - &expected).abs() / expected.abs().clamp_min(1.0)).max().double_value(&[]);
        assert!(wrong < 1e-6, "layer {l}: {wrong}");
        // What is written stays as it was.
        assert_eq!(transcoder.b_dec.to_kind(Kind::Double), wide["b_dec"]);
        let pre = transcoder.pre_activations(&x.to_kind(Kind::Float)).to_kind(Kind::Double);
        assert!((pre - expected).abs().max().double_value(&[]) < 1e-4);
    }
    round_trip(GPT2, dir.path());

    // A config that does not say is taken as SAELens's transcoders compute, with a warning.
    let mut silent = sae_lens_config(1, "transcoder");
    silent.as_object_mut().unwrap().remove("apply_b_dec_to_input");
    fs::write(dir.path().join("layer_1/cfg.json"), silent.to_string()).unwrap();
    let set = open(dir.path(), &model).unwrap();
    assert!(set.notices()[0].to_string().contains("layer_1/cfg.json: `apply_b_dec_to_input` is missing"));
    assert_eq!(set.layers()[1].b_enc, layer(1)["b_enc"]);
}

#[test]
fn what_sae_lens_can_do_and_this_program_cannot_is_refused_by_name() {
    let (model, dir) = (model(GPT2), tempfile::tempdir().unwrap());
    let layer = |l: usize| {
        let mut tensors = gpt2_layer(l);
        tensors.remove("W_skip");
        tensors
    };
    let opened = |change: &dyn Fn(&mut Value, usize)| {
        let config = |l: usize| {
            let mut config = sae_lens_config(l, "transcoder");
            change(&mut config, l);
            config
        };
        sae_lens(dir.path(), "layer_{}", config, layer);
        open(dir.path(), &model)
    };
    for (path, value, says) in [
        ("/architecture", json!("standard"), "\"standard\", expected one of SAELens's transcoders"),
        ("/architecture", json!("topk"), "skip_transcoder"),
        ("/architecture", json!("skip_transcoder"), "W_skip"),
        ("/architecture", json!("jumprelu_transcoder"), "no thresholds"),
        ("/normalize_activations", json!("layer_norm"), "\"layer_norm\", expected \"none\""),
        ("/normalize_activations", json!("expected_average_only_in"), "fold_activation_norm_scaling_factor"),
        ("/reshape_activations", json!("hook_z"), "\"hook_z\", expected \"none\""),
        ("/apply_b_dec_to_input", json!("yes"), "\"yes\", expected true or false"),
        (
            "/metadata/hook_name",
            json!("blocks.0.hook_resid_post"),
            "`metadata.hook_name` is \"blocks.0.hook_resid_post\"",
        ),
        ("/metadata/hook_name_out", json!("blocks.9.hook_mlp_out"), "a hook of block"),
        ("/metadata/hook_name_out", Value::Null, "hook_name_out` is missing"),
        ("/metadata/hook_head_index", json!(3), "hook_head_index` is 3"),
        ("/metadata/model_from_pretrained_kwargs/fold_ln", json!(true), "fold_ln` is true, expected false"),
    ] {
        refused(
            opened(&|config, _| *config.pointer_mut(path).unwrap_or(&mut Value::Null) = value.clone()),
            &["layer_0", says],
        );
    }
    // Hooks of one set differ.
    let other = |config: &mut Value, l: usize| {
        if l == 2 {
            config["metadata"]["hook_name"] = json!("blocks.2.hook_resid_mid");
        }
    };
    refused(opened(&other), &["layer_2", "layer_0", "hook_resid_mid", "expected the layers of one set"]);
    // A layer twice.
    let twice = |config: &mut Value, l: usize| {
        if l == 3 {
            *config = sae_lens_config(1, "transcoder");
        }
    };
    refused(opened(&twice), &["`layer_1` and `layer_3` both hold layer 1"]);
    // Unknown keys are a warning.
    let unknown = |config: &mut Value, _: usize| {
        config["novelty"] = json!(1);
        config["metadata"]["more"] = json!(1);
    };
    let set = opened(&unknown).unwrap();
    assert!(set.notices()[0].to_string().contains("`metadata.more`, `novelty`"), "{:?}", set.notices());
}

#[test]
fn a_layer_norm_has_its_gain_and_bias_before_the_normalized_site() {
    // As in TransformerLens, whose names these are: a set for GPT-2 that reads `ln2.hook_normalized` reads what the MLP does.
    let (model, dir) = (model(GPT2), crate::sets::copy(GPT2));
    let path = dir.path().join("config.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let expected = open(dir.path(), &model).unwrap();
    fs::write(&path, config.replace("mlp.hook_in", "ln2.hook_normalized")).unwrap();
    let set = open(dir.path(), &model).unwrap();
    assert_eq!(set.info().reads, LayerSite::MlpNormalized);
    assert!(graph(GPT2, &model, &set) == graph(GPT2, &model, &expected));
}
