//! Gemma, the first generation: RMS norms with gain 1 + w before each part, embedding times √d_model, gated tanh-GELU, tied
//! unembedding.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::layers::{act, note_ignored_act, refuse_windows};
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 3072)?;
    let n_heads = config.count_or("num_attention_heads", 16)?;
    let d_head = config.count_or("head_dim", 256)?;
    let n_ctx = config.count_or("max_position_embeddings", 8192)?;
    refuse_windows(config, n_ctx)?;
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::OnePlus };
    let bias = config.flag("attention_bias", false)?;
    let layer = LayerSpec {
        attn: AttnSpec {
            n_heads,
            n_kv_heads: config.count_or_none("num_key_value_heads", 16)?.unwrap_or(n_heads),
            d_head,
            scale: (d_head as f64).powf(-0.5),
            soft_cap: None,
            qk_norm: None,
            qkv_bias: bias,
            out_bias: bias,
            reach: Reach::Global,
            rope: Some(rope(config, &RopeDefaults { family: "gemma", theta: 10_000.0, n_ctx })?),
            sinks: false,
        },
        mlp: MlpSpec {
            d_mlp: config.count_or("intermediate_size", 24_576)?,
            act: activation(config)?,
            gate: Gate::Linear,
            bias: false,
            experts: None,
        },
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    };
    Ok(ModelSpec {
        architecture: config.architecture("GemmaForCausalLM")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 256_000)?,
        n_ctx,
        embed: EmbedSpec { scale: Some((d_model as f64).sqrt()), learned_positions: false },
        layers: vec![layer; config.layers_or("num_hidden_layers", 28)?],
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", true)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// The published files say `gelu` in `hidden_act` and mean its tanh formula: transformers 5 reads it so, 4.57 does not.
/// Both ignore `hidden_activation`.
fn activation(config: &HfConfig) -> Result<Act, SpecError> {
    let found = match act(config, "hidden_act", "gelu_pytorch_tanh")? {
        Act::Gelu => Act::GeluTanh,
        other => other,
    };
    note_ignored_act(config, "hidden_act", found)?;
    Ok(found)
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
