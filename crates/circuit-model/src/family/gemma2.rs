//! Gemma-2: norms before and after each part, gain 1 + w, soft caps on scores and logits, a window in every other layer, embedding
//! times √d_model, gated tanh-GELU, tied unembedding.
//!
//! Data only. Transformers reads `hidden_activation` and ignores `hidden_act`.

use super::layers::{Kind, hidden_act, reaches};
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::{Qkv, WeightMap};
use crate::spec::*;
use circuit_index::LayerSite;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 2304)?;
    let n_heads = config.count_or("num_attention_heads", 8)?;
    let n_layers = config.layers_or("num_hidden_layers", 26)?;
    let n_ctx = config.count_or("max_position_embeddings", 8192)?;
    let d_head = config.count_or("head_dim", 256)?;
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::OnePlus };
    let bias = config.flag("attention_bias", false)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.count_or("num_key_value_heads", 4)?,
        d_head,
        scale: config.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5),
        soft_cap: config.positive_or_none("attn_logit_softcapping", 50.0)?,
        qk_norm: None,
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(rope(config, &RopeDefaults { family: "gemma2", theta: 10_000.0, n_ctx })?),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: config.count_or("intermediate_size", 9216)?,
        act: hidden_act(config, "hidden_activation", "gelu_pytorch_tanh")?,
        gate: Gate::Linear,
        bias: false,
        experts: None,
    };
    let window = config.count_or_none("sliding_window", 4096)?.and_then(NonZeroUsize::new);
    let rule = |l: usize| if l.is_multiple_of(2) { Kind::Sliding } else { Kind::Full };
    let layers =
        reaches(config, n_layers, window, "sliding_window_pattern", rule)?.into_iter().map(|reach| {
            LayerSpec {
                attn: AttnSpec { reach, ..attn.clone() },
                mlp: mlp.clone(),
                norms: NormPlaces::PrePost { attn: [norm; 2], mlp: [norm; 2] },
            }
        });
    Ok(ModelSpec {
        architecture: config.architecture("Gemma2ForCausalLM")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 256_000)?,
        n_ctx,
        embed: EmbedSpec { scale: Some((d_model as f64).sqrt()), learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec {
            tied: config.flag("tie_word_embeddings", true)?,
            soft_cap: config.positive_or_none("final_logit_softcapping", 30.0)?,
        },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks { reads: LayerSite::MlpNormalized, writes: LayerSite::MlpOut },
    })
}

pub(super) fn weights() -> WeightMap {
    WeightMap {
        prefixes: &["model.", ""],
        embed: "embed_tokens.weight",
        pos_embed: None,
        block: "layers.{}.",
        attn_norm: "input_layernorm",
        attn_post_norm: Some("post_attention_layernorm"),
        mlp_norm: "pre_feedforward_layernorm",
        mlp_post_norm: Some("post_feedforward_layernorm"),
        qkv: Qkv::Separate { q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj" },
        q_norm: "self_attn.q_norm",
        k_norm: "self_attn.k_norm",
        attn_out: "self_attn.o_proj",
        mlp_gate: "mlp.gate_proj",
        mlp_in: "mlp.up_proj",
        mlp_out: "mlp.down_proj",
        experts: None,
        sinks: None,
        final_norm: "norm",
        unembed: &["lm_head.weight"],
        transposed: false,
        ignored: &[".rotary_emb.inv_freq"],
        beside: &[],
    }
}
