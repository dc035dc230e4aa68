//! Qwen3: pre-norm RMS, a norm over each head of queries and keys, own head width, gated SiLU.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::{act, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let n_heads = config.count("num_attention_heads")?;
    let n_layers = config.layers("num_hidden_layers")?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(128);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
        gain: Gain::Plain,
    };
    let bias = config.flag("attention_bias", false)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.opt_count("num_key_value_heads")?.unwrap_or(n_heads),
        d_head,
        scale: (d_head as f64).powf(-0.5),
        soft_cap: None,
        qk_norm: Some(norm),
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(rope(config, "qwen3", 10_000.0)?),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: config.count("intermediate_size")?,
        act: act(config, "hidden_act", "silu")?,
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
        d_model: config.count("hidden_size")?,
        d_vocab: config.count("vocab_size")?,
        n_ctx: config.opt_count("max_position_embeddings")?.unwrap_or(32_768),
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// `layer_types` where it is given; else layers from `max_window_layers` on have the window, if it is used at all.
pub(super) fn reaches(config: &HfConfig, n_layers: usize) -> Result<Vec<Reach>, SpecError> {
    let in_use = config.flag("use_sliding_window", false)?;
    // Files state a window also where none is used.
    let window = config.count_or_none("sliding_window", 4096)?.and_then(NonZeroUsize::new).filter(|_| in_use);
    let first_windowed = config.opt_index("max_window_layers")?.unwrap_or(28);
    if let Some(types) = config.opt_texts("layer_types")? {
        return super::reaches_of(config, &types, n_layers, window);
    }
    let reach = |l: usize| window.filter(|_| l >= first_windowed).map_or(Reach::Global, Reach::Window);
    Ok((0..n_layers).map(reach).collect())
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
