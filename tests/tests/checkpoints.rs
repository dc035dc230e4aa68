//! Checkpoints: the same model in another published form computes the same; what is not understood is refused by name.

use crate::tensors::{read, write};
use circuit_index::TokenId;
use circuit_model::{Model, ModelError, Mxfp4, TokenBatch};
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

/// A tied model whose checkpoint stores an unembedding all the same: other values are not used, and a warning says so.
#[test]
fn a_stored_unembedding_of_a_tied_model_is_compared_with_the_embedding() {
    let plain = fixture("qwen3-plt-relu").join("model");
    let mut tensors = read(&plain.join("model.safetensors"));
    let embed = tensors["model.embed_tokens.weight"].copy();
    let expected = logits("qwen3-plt-relu", &open(&plain).unwrap());
    for (head, warns) in [(embed.copy(), false), (&embed * 2.0, true)] {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(plain.join("config.json"), dir.path().join("config.json")).unwrap();
        tensors.insert("lm_head.weight".into(), head);
        write(&dir.path().join("model.safetensors"), &tensors);
        let model = open(dir.path()).unwrap();
        let said: Vec<_> = model.notices().iter().map(ToString::to_string).collect();
        assert_eq!(
            said.iter().any(|line| line.contains("`lm_head.weight` differs from the embedding")),
            warns
        );
        assert_eq!(difference(&logits("qwen3-plt-relu", &model), &expected), 0.0);
    }
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
    let notices: String = open(folder).unwrap().notices().iter().map(ToString::to_string).collect();
    assert!(
        notices.contains("config.json: unknown key") && notices.contains("`text_config.novelty`"),
        "{notices}"
    );
    let mut strange = outer.clone();
    strange["text_config"]["use_bidirectional_attention"] = true.into();
    write_config(folder, &strange);
    refused(folder, &["`text_config.use_bidirectional_attention`"]);
    let mut strange = outer;
    strange.as_object_mut().unwrap().remove("text_config");
    write_config(folder, &strange);
    refused(folder, &["config.json", "`text_config` is missing"]);
}

/// What a byte pair of MXFP4 means, straight from the standard's words: sign, two bits of exponent (bias 1), one of mantissa,
/// no exponent being no leading one; the scale is a power of two.
fn e2m1(bits: u8, scale: u8) -> f32 {
    let (sign, exponent, mantissa) = (bits >> 3, (bits >> 1) & 3, f32::from(bits & 1));
    let magnitude = match exponent {
        0 => mantissa / 2.0,
        _ => (1.0 + mantissa / 2.0) * 2f32.powi(i32::from(exponent) - 1),
    };
    magnitude * if sign == 1 { -1.0 } else { 1.0 } * 2f32.powi(i32::from(scale) - 127)
}

/// Random packed matrices `[expert, out, in]`: blocks and scales, and the numbers they stand for.
fn random_packed(n_experts: i64, out: i64, input: i64) -> (Tensor, Tensor, Tensor) {
    let bytes = |shape: &[i64], low, high| Tensor::randint_low(low, high, shape, (Kind::Uint8, Device::Cpu));
    let blocks = bytes(&[n_experts, out, input / 32, 16], 0, 256);
    let scales = bytes(&[n_experts, out, input / 32], 122, 127);
    let flat = |t: &Tensor| Vec::<u8>::try_from(t.flatten(0, -1)).unwrap();
    let (packed, powers) = (flat(&blocks), flat(&scales));
    let numbers: Vec<f32> = (0..(n_experts * out * input) as usize)
        .map(|i| {
            let byte = packed[i / 2];
            e2m1(if i % 2 == 0 { byte & 15 } else { byte >> 4 }, powers[i / 32])
        })
        .collect();
    (blocks, scales, Tensor::from_slice(&numbers).view([n_experts, out, input]))
}

#[test]
fn unpacked_numbers_are_exact() {
    tch::manual_seed(3);
    let (blocks, scales, numbers) = random_packed(1, 48, 96);
    let packed = Mxfp4 { blocks: blocks.get(0), scales: scales.get(0) };
    assert_eq!(packed.unpack(Kind::Float), numbers.get(0));
    assert_eq!(packed.unpack(Kind::BFloat16).to_kind(Kind::Float), numbers.get(0), "bf16 holds them all");
    // Every second row, as gate and linear half are stored.
    let half = |t: &Tensor| t.slice(0, 1, None::<i64>, 2);
    let packed = Mxfp4 { blocks: half(&packed.blocks), scales: half(&packed.scales) };
    assert_eq!(packed.unpack(Kind::Float), half(&numbers.get(0)));
}

#[test]
fn packed_experts_are_what_they_stand_for() {
    let case = "gpt_oss-clt-jumprelu";
    let plain = fixture(case).join("model");
    let (dir, packed_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut settings = config(&plain);
    let (n_experts, d, d_mlp) = (settings["num_local_experts"].as_i64().unwrap(), 32, 64);
    settings["intermediate_size"] = d_mlp.into();
    write_config(dir.path(), &settings);
    settings["experts_per_token"] = settings["num_experts_per_tok"].clone();
    settings["initial_context_length"] = 32.into();
    settings["quantization_config"] =
        json!({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head", "model.layers.*.self_attn"]});
    write_config(packed_dir.path(), &settings);

    tch::manual_seed(7);
    let mut tensors = read(&plain.join("model.safetensors"));
    let mut packed = tensors
        .iter()
        .map(|(name, t)| (name.clone(), t.shallow_clone()))
        .collect::<std::collections::BTreeMap<_, _>>();
    for layer in 0..4 {
        let at = |name: &str| format!("model.layers.{layer}.mlp.experts.{name}");
        for (name, out, input) in [("gate_up_proj", 2 * d_mlp, d), ("down_proj", d, d_mlp)] {
            let (blocks, scales, numbers) = random_packed(n_experts, out, input);
            packed.remove(&at(name));
            packed.insert(at(&format!("{name}_blocks")), blocks);
            packed.insert(at(&format!("{name}_scales")), scales);
            tensors.insert(at(name), numbers.transpose(1, 2));
        }
        let bias = Tensor::randn([n_experts, 2 * d_mlp], (Kind::Float, Device::Cpu));
        packed.insert(at("gate_up_proj_bias"), bias.shallow_clone());
        tensors.insert(at("gate_up_proj_bias"), bias);
    }
    write(&dir.path().join("model.safetensors"), &tensors);
    write(&packed_dir.path().join("model.safetensors"), &packed);
    let expected = logits(case, &open(dir.path()).unwrap());
    assert!(difference(&expected, &logits(case, &open(&plain).unwrap())) > 0.1, "experts matter");
    // Products of differently laid out matrices are rounded differently.
    assert!(difference(&logits(case, &open(packed_dir.path()).unwrap()), &expected) < 1e-4);

    settings["quantization_config"]["quant_method"] = "gptq".into();
    write_config(packed_dir.path(), &settings);
    refused(packed_dir.path(), &["`quantization_config.quant_method`", "gptq", "mxfp4"]);
    settings["quantization_config"]["quant_method"] = "mxfp4".into();
    settings["num_experts_per_tok"] = 6.into();
    write_config(packed_dir.path(), &settings);
    refused(packed_dir.path(), &["`num_experts_per_tok`", "6", "num_local_experts = 5"]);
}
