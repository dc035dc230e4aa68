//! Random small models of every family with random transcoders, in f64: inputs of the properties in `linearity.rs`.
//!
//! A [`Recipe`] is a few small numbers and a seed, so that proptest can shrink it and a failure can be repeated from what is
//! printed. The description of the model comes from a `config.json` through the family's own reading of it; only the weights are
//! made here. No property is checked here.

use circuit_index::{LayerSite, TokenId};
use circuit_model::{BlockPart, Model, ModelError, Part, WeightSource};
use circuit_transcoder::{Activation, SetInfo, Transcoder, TranscoderSet};
use proptest::prelude::*;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// All families that have a description.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Gpt2,
    GptOss,
}

/// How pre-activations become activations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Relu,
    JumpRelu,
    TopK,
    ReluTopK,
}

/// Everything a random model, set and prompt follow from.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) family: Family,
    n_layers: usize,
    n_kv_heads: usize,
    /// Query heads per key-value head.
    group: usize,
    /// Half of the width of a head.
    half_head: usize,
    d_model: usize,
    d_mlp: usize,
    d_vocab: usize,
    window: usize,
    n_pos: usize,
    /// At most this many leading positions are ignored, one position at least being left.
    ignored: usize,
    n_features: usize,
    reads: LayerSite,
    writes: LayerSite,
    act: Act,
    skip: bool,
    /// Whether features write to the layers above their own too.
    cross_layer: bool,
    /// Switches of the family's config, each in turn.
    switches: [bool; 4],
    seed: u64,
}

/// Recipes of all families, sites and kinds.
pub(crate) fn recipes() -> impl Strategy<Value = Recipe> {
    let family = prop::sample::select(vec![
        Family::Llama,
        Family::Mistral,
        Family::Qwen2,
        Family::Qwen3,
        Family::Gemma,
        Family::Gemma2,
        Family::Gemma3,
        Family::Gpt2,
        Family::GptOss,
    ]);
    let reads = vec![LayerSite::ResidMid, LayerSite::MlpNormalized, LayerSite::MlpIn];
    let reads = prop::sample::select(reads);
    let writes = prop::sample::select(vec![LayerSite::MlpRawOut, LayerSite::MlpOut]);
    let act = prop::sample::select(vec![Act::Relu, Act::JumpRelu, Act::TopK, Act::ReluTopK]);
    let heads = (1..=2usize, 1..=3usize, 1..=2usize);
    let widths = (2..=9usize, 1..=7usize, 3..=9usize);
    let prompt = (1..=4usize, 1..=6usize, 0..=2usize);
    let features = (1..=6usize, reads, writes, act, any::<bool>(), any::<bool>());
    let rest = (any::<[bool; 4]>(), any::<u64>());
    (family, 1..=3usize, heads, widths, prompt, features, rest).prop_map(
        |(family, n_layers, heads, widths, prompt, features, rest)| Recipe {
            family,
            n_layers,
            n_kv_heads: heads.0,
            group: heads.1,
            half_head: heads.2,
            d_model: widths.0,
            d_mlp: widths.1,
            d_vocab: widths.2,
            window: prompt.0,
            n_pos: prompt.1,
            ignored: prompt.2.min(prompt.1 - 1),
            n_features: features.0,
            reads: features.1,
            writes: features.2,
            act: features.3,
            skip: features.4,
            cross_layer: features.5,
            switches: rest.0,
            seed: rest.1,
        },
    )
}

/// A random model, its transcoders, a prompt, and how many of its positions are ignored.
pub(crate) struct Made {
    pub(crate) model: Model,
    pub(crate) set: TranscoderSet,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) ignored: usize,
}

impl Recipe {
    /// Follows the recipe.
    pub(crate) fn make(&self) -> Made {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), self.config().to_string()).unwrap();
        let spec = Model::describe(folder.path()).unwrap();
        let mut random = Random(self.seed);
        let d_model = spec.d_model as i64;
        let model = Model::new(spec, &mut random, Kind::Double, Device::Cpu).unwrap();
        let layers = (0..self.n_layers).map(|l| self.transcoder(l, d_model, &mut random)).collect();
        let info =
            SetInfo { model_name: None, scan: "random".into(), reads: self.reads, writes: self.writes };
        let set = TranscoderSet::from_parts(info, layers);
        let tokens = (0..self.n_pos).map(|_| TokenId((random.next() % self.d_vocab as u64) as u32)).collect();
        Made { model, set, tokens, ignored: self.ignored }
    }

    fn config(&self) -> Value {
        let [a, b, c, d] = self.switches;
        let n_heads = self.n_kv_heads * self.group;
        let rotary = json!({
            "hidden_size": self.d_model, "num_hidden_layers": self.n_layers, "num_attention_heads": n_heads,
            "num_key_value_heads": self.n_kv_heads, "head_dim": 2 * self.half_head,
            "intermediate_size": self.d_mlp, "vocab_size": self.d_vocab, "max_position_embeddings": 16,
            "tie_word_embeddings": a, "attention_bias": b, "rope_theta": 100.0,
        });
        let windows = (0..self.n_layers).map(|l| ["full_attention", "sliding_attention"][(l + 1) % 2]);
        let windows: Vec<_> = windows.collect();
        match self.family {
            Family::Llama => {
                let stretch = json!({
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8,
                });
                let more = json!({
                    "model_type": "llama", "mlp_bias": c, "rope_scaling": if d { stretch } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::Mistral => {
                let more = json!({
                    "model_type": "mistral", "attention_bias": false,
                    "sliding_window": if c { json!(self.window) } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::Gemma => {
                merged(rotary, json!({"model_type": "gemma", "hidden_act": if c { "gelu" } else { "relu" }}))
            }
            Family::Qwen2 => {
                let more = json!({
                    "model_type": "qwen2", "use_sliding_window": c, "sliding_window": self.window,
                    "max_window_layers": usize::from(d), "attention_bias": false,
                });
                merged(rotary, more)
            }
            Family::Qwen3 => {
                let more = json!({
                    "model_type": "qwen3", "use_sliding_window": c, "sliding_window": self.window,
                    "layer_types": if c { json!(windows) } else { Value::Null },
                    "rope_scaling": if d { json!({"type": "linear", "factor": 2.0}) } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::Gemma2 => {
                let more = json!({
                    "model_type": "gemma2", "sliding_window": self.window, "query_pre_attn_scalar": 3.0,
                    "attn_logit_softcapping": if c { json!(2.0) } else { Value::Null },
                    "final_logit_softcapping": if d { json!(3.0) } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::Gemma3 => {
                let more = json!({
                    "model_type": "gemma3_text", "sliding_window": self.window, "query_pre_attn_scalar": 3.0,
                    "layer_types": windows, "rope_local_base_freq": 10.0,
                    "rope_scaling": if c { json!({"rope_type": "linear", "factor": 2.0}) } else { Value::Null },
                    "final_logit_softcapping": if d { json!(3.0) } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::GptOss => {
                let yarn = json!({
                    "rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 1.0, "truncate": false,
                    "original_max_position_embeddings": 8,
                });
                let more = json!({
                    "model_type": "gpt_oss", "sliding_window": self.window, "num_local_experts": 3,
                    "num_experts_per_tok": 1 + usize::from(c), "swiglu_limit": 1.5,
                    "rope_scaling": if d { yarn } else { Value::Null },
                });
                merged(rotary, more)
            }
            Family::Gpt2 => json!({
                "model_type": "gpt2", "n_embd": n_heads * 2 * self.half_head, "n_head": n_heads,
                "n_layer": self.n_layers, "n_inner": self.d_mlp, "vocab_size": self.d_vocab, "n_positions": 16,
                "tie_word_embeddings": a, "scale_attn_by_inverse_layer_idx": b, "scale_attn_weights": c,
            }),
        }
    }

    fn transcoder(&self, layer: usize, d_model: i64, random: &mut Random) -> Transcoder {
        let n_features = self.n_features as i64;
        let n_outputs = if self.cross_layer { (self.n_layers - layer) as i64 } else { 1 };
        let scale = (d_model as f64).powf(-0.5);
        Transcoder {
            W_enc: (random.normal(&[n_features, d_model]) * scale).into(),
            W_dec: (random.normal(&[n_features, n_outputs, d_model]) * scale).into(),
            b_enc: random.normal(&[n_features]) * 0.3,
            b_dec: random.normal(&[d_model]) * 0.3,
            W_skip: self.skip.then(|| random.normal(&[d_model, d_model]) * scale),
            activation: match self.act {
                Act::Relu => Activation::Relu,
                Act::JumpRelu => Activation::JumpRelu { threshold: random.normal(&[n_features]).abs() * 0.2 },
                Act::TopK => Activation::TopK { k: self.n_features.div_ceil(2) },
                Act::ReluTopK => Activation::ReluTopK { k: self.n_features.div_ceil(2), shift: None },
            },
        }
    }
}

fn merged(mut object: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(more);
    object
}

/// Numbers that follow from a seed alone, whatever other tests run beside (SplitMix64; Steele et al., 2014).
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, neither included.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal numbers (Box-Muller), f64.
    fn normal(&mut self, shape: &[i64]) -> Tensor {
        let mut one = || (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
        let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|_| one()).collect();
        Tensor::from_slice(&values).view(shape)
    }
}

impl WeightSource for Random {
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError> {
        let normal = self.normal(shape);
        let fan_in = *shape.last().unwrap() as f64;
        Ok(match part {
            // About 1, also where the gain is one plus the weight: any value is a good one.
            Part::FinalNormGain | Part::Block(_, BlockPart::Norm(_, false)) => normal * 0.2 + 1.0,
            Part::Block(_, BlockPart::Linear(_, false) | BlockPart::Expert(_, _, false)) => {
                normal * fan_in.powf(-0.5)
            }
            Part::Embed | Part::PosEmbed | Part::Unembed => normal,
            Part::FinalNormBias | Part::Block(_, BlockPart::Norm(_, true)) => normal * 0.3,
            Part::Block(_, BlockPart::Linear(_, true) | BlockPart::Expert(_, _, true)) => normal * 0.3,
            Part::Block(_, BlockPart::Sinks) => normal,
        })
    }
}
