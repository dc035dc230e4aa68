//! Qwen3: RMS norms before each part, a norm over each head of queries and keys, a head width of its own, gated SiLU.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::layers::{self, Kind, hidden_act};
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let n_heads = config.count_or("num_attention_heads", 32)?;
    let n_layers = config.layers_or("num_hidden_layers", 32)?;
    let n_ctx = config.count_or("max_position_embeddings", 32_768)?;
    let d_head = config.count_or("head_dim", 128)?;
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::Plain };
    let bias = config.flag("attention_bias", false)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.count_or_none("num_key_value_heads", 32)?.unwrap_or(n_heads),
        d_head,
        scale: (d_head as f64).powf(-0.5),
        soft_cap: None,
        qk_norm: Some(norm),
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(rope(config, &RopeDefaults { family: "qwen3", theta: 10_000.0, n_ctx })?),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: config.count_or("intermediate_size", 22_016)?,
        act: hidden_act(config, "hidden_act", "silu")?,
        gate: Gate::Linear,
        bias: false,
        experts: None,
    };
    let layers = reaches(config, n_layers)?.into_iter().map(|reach| LayerSpec {
        attn: AttnSpec { reach, ..attn.clone() },
        mlp: mlp.clone(),
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    });
    Ok(ModelSpec {
        architecture: config.architecture("Qwen3ForCausalLM")?,
        d_model: config.count_or("hidden_size", 4096)?,
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

/// `layer_types` where it is given; else layers from `max_window_layers` on have the window, if it is in use.
pub(super) fn reaches(config: &HfConfig, n_layers: usize) -> Result<Vec<Reach>, SpecError> {
    let in_use = config.flag("use_sliding_window", false)?;
    // Files state a window also where it is not in use.
    let window = config.count_or_none("sliding_window", 4096)?.and_then(NonZeroUsize::new).filter(|_| in_use);
    let first_windowed = config.opt_index("max_window_layers")?.unwrap_or(28);
    let rule = |l| if window.is_some() && l >= first_windowed { Kind::Sliding } else { Kind::Full };
    layers::reaches(config, n_layers, window, "max_window_layers", rule)
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
