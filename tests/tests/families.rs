//! Families without an attribution case: tiny checkpoints against Hugging Face's own models, and configs as they are published.
//!
//! How the checkpoints were made: `fixtures/make_families.py`. That their edges are effects: `linearity.rs`, on random models.

use circuit_index::{Layer, LayerSite, Site};
use circuit_model::spec::{Act, Gain, ModelSpec, Reach, RopeScaling};
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_tests::{Expected, Tolerance, assert_close, fixture};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use tch::{Device, Kind, Tensor};

const CASES: [&str; 5] = ["qwen2-window", "qwen2", "mistral-window", "mistral", "gemma"];

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

#[test]
fn logits_and_sites_are_hugging_face_s() {
    for case in CASES {
        let folder = fixture("families").join(case);
        let expected = Expected::of(&format!("families/{case}"));
        let model = Model::open(&folder, Kind::Float, Device::Cpu).unwrap();
        let n_layers = model.spec().n_layers();
        let tokens: Vec<_> = expected.indices("input_ids").into_iter().map(Into::into).collect();
        let sites = |site| (0..n_layers).map(move |l| Site::Block(Layer::from(l), site)).collect::<Vec<_>>();
        let stream = [sites(LayerSite::ResidPre), vec![Site::UnembedIn]].concat();
        let wanted = [
            ("hidden_states", stream),
            ("attention_patterns", sites(LayerSite::Pattern)),
            ("mlp_in", sites(LayerSite::MlpIn)),
            ("mlp_out", sites(LayerSite::MlpOut)),
        ];
        let mut hooks = Hooks::new().record(wanted.iter().flat_map(|(_, sites)| sites.clone()));
        let logits = model.forward(&TokenBatch::new(&tokens, &model).unwrap(), &mut hooks).unwrap();
        let values = hooks.finish().unwrap();
        let logits = ("logits", numbers(&logits));
        let found = wanted.iter().map(|(name, sites)| {
            (*name, sites.iter().flat_map(|site| numbers(&values[site])).collect::<Vec<_>>())
        });
        for (name, found) in found.chain([logits]) {
            assert_close(&format!("{case} {name}"), &found, &expected.f32(name).1, Tolerance::Tensor);
        }
    }
}

fn described(config: &Value) -> Result<ModelSpec, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    Model::describe(folder.path()).map_err(|e| e.to_string())
}

/// `config`, with some keys changed (or taken out, where they are `"-"`).
fn with(config: &Value, changes: Value) -> Value {
    let mut config = config.clone();
    let keys = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value == "-" {
            true => keys.remove(key),
            false => keys.insert(key.clone(), value.clone()),
        };
    }
    config
}

/// What every one of these files says besides its own.
fn common() -> Value {
    json!({"attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": true, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "bos_token_id": 1, "eos_token_id": 2})
}

fn window(n: usize) -> Reach {
    Reach::Window(NonZeroUsize::new(n).unwrap())
}

#[test]
fn qwen_2_5_as_published() {
    let small = json!({"architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 896,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "use_mrope": false,
        "use_sliding_window": false, "vocab_size": 151936});
    let small = with(&common(), small);
    let spec = described(&small).unwrap();
    let attn = &spec.layers[23].attn;
    assert_eq!((spec.n_layers(), attn.d_head, attn.n_kv_heads, spec.n_ctx), (24, 64, 2, 32_768));
    assert!(attn.qkv_bias && !attn.out_bias && spec.unembed.tied && attn.reach == Reach::Global);

    // The 7B, instruction-tuned and distilled ones: not tied, sometimes YaRN, sometimes no window at all.
    let large = json!({"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "max_window_layers": 28, "sliding_window": 131072,
        "tie_word_embeddings": false, "vocab_size": 152064, "use_mrope": "-",
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}});
    let spec = described(&with(&small, large)).unwrap();
    assert!(!spec.unembed.tied);
    assert!(matches!(spec.layers[0].attn.rope.unwrap().scaling, RopeScaling::Yarn { factor: 4.0, .. }));
    // As newer versions write it.
    let newer = json!({"sliding_window": null, "layer_types": vec!["full_attention"; 24], "dtype": "bfloat16",
        "rope_theta": "-", "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}});
    let spec = described(&with(&small, newer)).unwrap();
    assert_eq!(spec.layers[0].attn.rope.unwrap().theta, 1e6);

    // Windows where they are used: from `max_window_layers` on.
    let used = json!({"use_sliding_window": true, "max_window_layers": 20});
    let spec = described(&with(&small, used.clone())).unwrap();
    let reaches: Vec<_> = spec.layers.iter().map(|l| l.attn.reach).collect();
    assert_eq!((reaches[19], reaches[20]), (Reach::Global, window(32_768)));
    let spec = described(&with(&with(&small, used), json!({"max_window_layers": 0, "sliding_window": "-"})));
    assert!(spec.unwrap().layers.iter().all(|l| l.attn.reach == window(4096)));
    let message = described(&with(&small, json!({"use_mrope": true}))).unwrap_err();
    assert!(message.contains("`use_mrope`") && message.contains("qwen2"), "{message}");
}

#[test]
fn mistral_as_published() {
    let third = json!({"architectures": ["MistralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0, "sliding_window": null, "tie_word_embeddings": false, "vocab_size": 32768});
    let third = with(&common(), third);
    let spec = described(&third).unwrap();
    let attn = &spec.layers[0].attn;
    assert_eq!(
        (attn.reach, attn.d_head, attn.qkv_bias, spec.unembed.tied),
        (Reach::Global, 128, false, false)
    );
    // The first version has a window, which is also what a file without the key means.
    let first = json!({"sliding_window": 4096, "rope_theta": 10000.0, "vocab_size": 32000});
    for changes in [first, json!({"sliding_window": "-"})] {
        let spec = described(&with(&third, changes)).unwrap();
        assert!(spec.layers.iter().all(|l| l.attn.reach == window(4096)));
    }
    // Nemo: heads of a width of their own.
    let nemo = json!({"hidden_size": 5120, "head_dim": 128, "num_hidden_layers": 40, "vocab_size": 131072,
        "max_position_embeddings": 1024000});
    assert_eq!(described(&with(&third, nemo)).unwrap().layers[0].attn.d_head, 128);
    let message = described(&with(&third, json!({"sliding_window": 0}))).unwrap_err();
    assert!(message.contains("`sliding_window` is 0"), "{message}");
}

#[test]
fn the_first_gemma_as_published() {
    let small = json!({"architectures": ["GemmaForCausalLM"], "attention_bias": false, "head_dim": 256,
        "hidden_act": "gelu", "hidden_size": 2048, "intermediate_size": 16384, "max_position_embeddings": 8192,
        "model_type": "gemma", "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1,
        "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 10000.0, "vocab_size": 256000});
    let small = with(&common(), small);
    let spec = described(&small).unwrap();
    let layer = &spec.layers[17];
    assert_eq!(
        (layer.mlp.act, layer.norms.attn().gain, spec.unembed.tied),
        (Act::GeluTanh, Gain::OnePlus, true)
    );
    assert_eq!((layer.attn.scale, spec.embed.scale), (1.0 / 16.0, Some(2048_f64.sqrt())));
    // The 7B and later revisions.
    for changes in [
        json!({"hidden_activation": null}),
        json!({"hidden_activation": "gelu_pytorch_tanh"}),
        json!({"hidden_act": "gelu_pytorch_tanh"}),
        json!({"hidden_act": "-"}),
    ] {
        assert_eq!(described(&with(&small, changes)).unwrap().layers[0].mlp.act, Act::GeluTanh);
    }
    // Transformers reads `hidden_act` alone for this family.
    let both = with(&small, json!({"hidden_activation": "relu"}));
    assert_eq!(described(&both).unwrap().layers[0].mlp.act, Act::GeluTanh);
}
