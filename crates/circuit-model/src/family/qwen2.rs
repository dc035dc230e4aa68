//! Qwen2 and Qwen2.5: as Llama, with biases on queries, keys and values only, and windows in the upper layers of a few models.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::layers::hidden_act;
use super::qwen3;
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 4096)?;
    let n_heads = config.count_or("num_attention_heads", 32)?;
    let n_layers = config.layers_or("num_hidden_layers", 32)?;
    let n_ctx = config.count_or("max_position_embeddings", 32_768)?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(d_model / n_heads);
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::Plain };
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.count_or_none("num_key_value_heads", 32)?.unwrap_or(n_heads),
        d_head,
        scale: (d_head as f64).powf(-0.5),
        soft_cap: None,
        qk_norm: None,
        qkv_bias: true,
        out_bias: false,
        reach: Reach::Global,
        rope: Some(rope(config, &RopeDefaults { family: "qwen2", theta: 10_000.0, n_ctx })?),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: config.count_or("intermediate_size", 22_016)?,
        act: hidden_act(config, "hidden_act", "silu")?,
        gate: Gate::Linear,
        bias: false,
        experts: None,
    };
    let layers = qwen3::reaches(config, n_layers)?.into_iter().map(|reach| LayerSpec {
        attn: AttnSpec { reach, ..attn.clone() },
        mlp: mlp.clone(),
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    });
    Ok(ModelSpec {
        architecture: config.architecture("Qwen2ForCausalLM")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 151_936)?,
        n_ctx,
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
