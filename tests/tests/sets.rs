//! Transcoder sets for tests: fixtures, and the same weights in other published layouts.

use crate::tensors::{Tensors, read, write};
use circuit_index::TokenId;
use circuit_model::Model;
use circuit_replacement::LocalReplacement;
use circuit_tests::{Expected, fixture};
use circuit_transcoder::{Activation, Transcoder, TranscoderError, TranscoderSet};
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A copy of a fixture's set, to be changed.
pub(crate) fn copy(case: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(case).join("transcoders")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

pub(crate) fn model(case: &str) -> Model {
    Model::open(&fixture(case).join("model"), Kind::Float, Device::Cpu).unwrap()
}

pub(crate) fn open(folder: &Path, model: &Model) -> Result<TranscoderSet, TranscoderError> {
    TranscoderSet::open(folder, model.spec().n_layers(), model.spec().d_model, Kind::Float, Device::Cpu)
}

pub(crate) fn replacement<'a>(case: &str, model: &'a Model, set: &'a TranscoderSet) -> LocalReplacement<'a> {
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(TokenId::from).collect();
    LocalReplacement::new(model, set, &tokens, 1).unwrap()
}

/// Encoder and decoder of a layer.
pub(crate) fn weights(t: &Transcoder) -> [Tensor; 2] {
    [&t.W_enc, &t.W_dec].map(|weights| weights.to_tensor().unwrap())
}

/// Everything that is read of two sets is equal.
#[track_caller]
pub(crate) fn same(a: &TranscoderSet, b: &TranscoderSet) {
    for (a, b) in a.layers().iter().zip(b.layers()) {
        assert_eq!(weights(a), weights(b));
        assert_eq!((&a.b_enc, &a.b_dec), (&b.b_enc, &b.b_dec));
        assert_eq!(a.W_skip, b.W_skip);
        match (&a.activation, &b.activation) {
            (Activation::JumpRelu { threshold: a }, Activation::JumpRelu { threshold: b }) => {
                assert_eq!(a, b)
            }
            (a, b) => assert_eq!(format!("{a:?}"), format!("{b:?}")),
        }
    }
    assert_eq!(a.layers().len(), b.layers().len());
    assert_eq!((a.info().reads, a.info().writes), (b.info().reads, b.info().writes));
}

/// The `config.yaml` of a fixture, with the files of layers listed.
pub(crate) fn listing(case: &str, files: &[String]) -> String {
    let config = fs::read_to_string(fixture(case).join("transcoders/config.yaml")).unwrap();
    let lines = config.lines().filter(|line| !line.starts_with("- ") && !line.starts_with("transcoders"));
    let list = files.iter().map(|file| format!("- {file}"));
    let list = std::iter::once("transcoders:".to_owned()).chain(list);
    lines.map(str::to_owned).chain(list).collect::<Vec<_>>().join("\n")
}

/// A layer of a fixture's cross-layer set with thresholds as GemmaScope 2 has it: encoders turned, decoders to all layers, of which
/// those below their own are not used.
pub(crate) fn scope_2_layer(case: &str, layer: usize) -> Tensors {
    let of = |part: &str, file: &str| {
        let path = fixture(case).join(format!("transcoders/{file}_{layer}.safetensors"));
        read(&path).remove(&format!("{part}_{layer}")).unwrap()
    };
    let decoder = of("W_dec", "W_dec");
    let unused = [decoder.size()[0], layer as i64, decoder.size()[2]];
    let unused = Tensor::ones(unused, (Kind::Float, Device::Cpu)) * 9.0;
    [
        ("w_enc", of("W_enc", "W_enc").tr()),
        ("w_dec", Tensor::cat(&[unused, decoder], 1)),
        ("b_enc", of("b_enc", "W_enc")),
        ("b_dec", of("b_dec", "W_enc")),
        ("threshold", of("threshold", "W_enc")),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into()
}

/// All layers of the same, one upon the other.
pub(crate) fn scope_2_stack(case: &str, n_layers: usize) -> Tensors {
    let layers: Vec<_> = (0..n_layers).map(|layer| scope_2_layer(case, layer)).collect();
    let stacked = |name: &String| {
        let tensors: Vec<_> = layers.iter().map(|layer| &layer[name]).collect();
        (name.clone(), Tensor::stack(&tensors, 0))
    };
    layers[0].keys().map(stacked).collect()
}

/// `cfg.json` of a layer that sparsify trained.
pub(crate) const SPARSIFY_CONFIG: &str = r#"{"expansion_factor": 4, "normalize_decoder": true, "num_latents": 0, "k": 5,
    "multi_topk": false, "skip_connection": true, "d_in": 40, "activation": "topk", "transcode": true}"#;

/// A fixture's per-layer set as a run of sparsify lies in a folder.
pub(crate) fn sparsify(case: &str, folder: &Path, n_layers: usize) {
    for layer in 0..n_layers {
        let folder = folder.join(format!("layers.{layer}.mlp"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cfg.json"), SPARSIFY_CONFIG).unwrap();
        let renamed = |name: String| match name.as_str() {
            "W_enc" => "encoder.weight".to_owned(),
            "b_enc" => "encoder.bias".to_owned(),
            _ => name,
        };
        let tensors = read(&fixture(case).join(format!("transcoders/layer_{layer}.safetensors")));
        write(&folder.join("sae.safetensors"), &tensors.into_iter().map(|(n, t)| (renamed(n), t)).collect());
    }
}
