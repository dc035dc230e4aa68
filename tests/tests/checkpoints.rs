//! Checkpoints: the same model in another published form computes the same; what is not understood is refused by name.

use crate::tensors::{read, write};
use circuit_index::TokenId;
use circuit_model::{Model, ModelError, TokenBatch};
use circuit_tests::{Expected, fixture};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn open(folder: &Path) -> Result<Model, ModelError> {
    Model::open(folder, Kind::Float, Device::Cpu)
}

fn logits(case: &str, model: &Model) -> Tensor {
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(TokenId::from).collect();
    model.forward(&TokenBatch::new(&tokens, model).unwrap(), &mut ()).unwrap()
}

/// How far two tensors are apart, at most.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn write_config(folder: &Path, config: &Value) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let message = open(folder).unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

/// A checkpoint that also sees holds the language model below a prefix and its config below `text_config`.
#[test]
fn a_language_model_beside_a_vision_tower() {
    let case = "gemma3-plt-jumprelu";
    let plain = fixture(case).join("model");
    let expected = logits(case, &open(&plain).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();

    let mut text = config(&plain);
    text.as_object_mut().unwrap().remove("architectures");
    let outer = json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text,
        "vision_config": {"hidden_size": 8}, "mm_tokens_per_image": 4, "image_token_index": 7,
        "boi_token_index": 5, "eoi_token_index": 6, "eos_token_id": [1, 106],
    });
    write_config(folder, &outer);
    for (model, vision) in
        [("language_model.model.", "vision_tower."), ("model.language_model.", "model.vision_tower.")]
    {
        let tensors = read(&plain.join("model.safetensors"));
        let mut tensors: std::collections::BTreeMap<_, _> =
            tensors.into_iter().map(|(name, t)| (name.replacen("model.", model, 1), t)).collect();
        tensors.insert(format!("{vision}patch.weight"), Tensor::zeros([2], (Kind::Float, Device::Cpu)));
        write(&folder.join("model.safetensors"), &tensors);
        let model = open(folder).unwrap();
        assert_eq!(model.spec().architecture, "Gemma3ForConditionalGeneration");
        assert_eq!(difference(&logits(case, &model), &expected), 0.0);
    }

    // The spelling of newer configs: an object for each kind of layer.
    let mut newer = outer.clone();
    let text = newer["text_config"].as_object_mut().unwrap();
    for key in ["rope_theta", "rope_local_base_freq", "rope_scaling"] {
        text.remove(key);
    }
    let kinds = json!({"full_attention": {"rope_type": "default", "rope_theta": 100000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}});
    text.insert("rope_parameters".into(), kinds);
    write_config(folder, &newer);
    assert_eq!(difference(&logits(case, &open(folder).unwrap()), &expected), 0.0);
    // Without `layer_types` the pattern says the same.
    newer["text_config"].as_object_mut().unwrap().remove("layer_types");
    write_config(folder, &newer);
    assert_eq!(difference(&logits(case, &open(folder).unwrap()), &expected), 0.0);

    let mut strange = outer.clone();
    strange["text_config"]["novelty"] = 3.into();
    write_config(folder, &strange);
    refused(folder, &["config.json", "`text_config.novelty`"]);
    let mut strange = outer.clone();
    strange["text_config"]["use_bidirectional_attention"] = true.into();
    write_config(folder, &strange);
    refused(folder, &["`text_config.use_bidirectional_attention`"]);
    let mut strange = outer;
    strange.as_object_mut().unwrap().remove("text_config");
    write_config(folder, &strange);
    refused(folder, &["config.json", "`text_config` is missing"]);
}
