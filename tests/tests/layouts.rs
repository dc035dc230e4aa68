//! Layouts of transcoder sets: however the same weights lie in files, the same is read; what is not understood is refused by
//! name.

use crate::tensors::{read, write};
use circuit_index::{Layer, TokenId};
use circuit_model::Model;
use circuit_replacement::LocalReplacement;
use circuit_tests::{Expected, fixture};
use circuit_transcoder::{TranscoderError, TranscoderSet};
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A copy of a fixture's set, to be changed.
fn copy(case: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(case).join("transcoders")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

fn model(case: &str) -> Model {
    Model::open(&fixture(case).join("model"), Kind::Float, Device::Cpu).unwrap()
}

fn open(folder: &Path, model: &Model) -> Result<TranscoderSet, TranscoderError> {
    TranscoderSet::open(folder, model.spec().n_layers(), model.spec().d_model, Kind::Float, Device::Cpu)
}

fn replacement<'a>(case: &str, model: &'a Model, set: &'a TranscoderSet) -> LocalReplacement<'a> {
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(TokenId::from).collect();
    LocalReplacement::new(model, set, &tokens, 1).unwrap()
}

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
