//! Mistral: as Llama without any bias; every layer has the same window, or none has one.
//!
//! Data only. The checkpoint names its tensors as Llama does. Transformers ignores `layer_types` here, so it must agree with
//! `sliding_window`. `use_sliding_window` and `max_window_layers` are ignored too.

use super::layers::hidden_act;
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 4096)?;
    let n_heads = config.count_or("num_attention_heads", 32)?;
    let n_ctx = config.count_or("max_position_embeddings", 131_072)?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(d_model / n_heads);
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::Plain };
    // Without the key there is a window, as in the first model; later ones say null.
    let window = config.count_or_none("sliding_window", 4096)?.and_then(NonZeroUsize::new);
    check_layer_types(config, window.is_some())?;
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
            rope: Some(rope(config, &RopeDefaults { family: "mistral", theta: 10_000.0, n_ctx })?),
            sinks: false,
        },
        mlp: MlpSpec {
            d_mlp: config.count_or("intermediate_size", 14_336)?,
            act: hidden_act(config, "hidden_act", "silu")?,
            gate: Gate::Linear,
            bias: false,
            experts: None,
        },
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    };
    Ok(ModelSpec {
        architecture: config.architecture("MistralForCausalLM")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 32_000)?,
        n_ctx,
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: vec![layer; config.layers_or("num_hidden_layers", 32)?],
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// Refuses layers of two kinds: models that have them belong to another class.
fn check_layer_types(config: &HfConfig, has_window: bool) -> Result<(), SpecError> {
    config.leave_aside(&["max_window_layers", "use_sliding_window"]);
    let usual = if has_window { "sliding_attention" } else { "full_attention" };
    match config.opt_texts("layer_types")? {
        Some(types) if types.iter().any(|kind| kind != usual) => {
            let window = config.quoted("sliding_window");
            Err(config.refuse("layer_types", &format!("{usual} in every layer, since {window}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
