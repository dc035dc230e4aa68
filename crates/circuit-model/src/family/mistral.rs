//! Mistral: as Llama without any bias, every layer with the same window or none.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::{act, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(d_model / n_heads);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
        gain: Gain::Plain,
    };
    // The first model has a window and need not say so; later ones say null.
    let window = config.count_or_none("sliding_window", 4096)?.and_then(NonZeroUsize::new);
    let layer = LayerSpec {
        attn: AttnSpec {
            n_heads,
            n_kv_heads: config.count_or_none("num_key_value_heads", 8)?.unwrap_or(n_heads),
            d_head,
            scale: (d_head as f64).powf(-0.5),
            soft_cap: None,
            qk_norm: None,
            qkv_bias: false,
            out_bias: false,
            reach: window.map_or(Reach::Global, Reach::Window),
            rope: Some(rope(config, "mistral", 10_000.0)?),
            sinks: false,
        },
        mlp: MlpSpec {
            d_mlp: config.count("intermediate_size")?,
            act: act(config, "hidden_act", "silu")?,
            gate: Gate::Linear,
            bias: false,
            experts: None,
        },
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    };
    Ok(ModelSpec {
        architecture: config.architecture("MistralForCausalLM")?,
        d_model,
        d_vocab: config.count("vocab_size")?,
        n_ctx: config.opt_count("max_position_embeddings")?.unwrap_or(131_072),
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: vec![layer; config.layers("num_hidden_layers")?],
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
