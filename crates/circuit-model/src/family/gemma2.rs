//! Gemma-2: norms before and after, gain 1 + w, soft caps on scores and logits, every other layer a window, embedding
//! times √d_model, gated tanh-GELU, tied unembedding.
//!
//! Data only.

use super::{act, reaches_of, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::{Qkv, WeightMap};
use crate::spec::*;
use circuit_index::LayerSite;
use std::num::NonZeroUsize;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    let n_layers = config.layers("num_hidden_layers")?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(256);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
        gain: Gain::OnePlus,
    };
    let bias = config.flag("attention_bias", false)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.opt_count("num_key_value_heads")?.unwrap_or(n_heads),
        d_head,
        scale: config.opt_positive("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5),
        soft_cap: config.positive_or_none("attn_logit_softcapping", 50.0)?,
        qk_norm: None,
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(rope(config, "gemma2", 10_000.0)?),
        sinks: false,
    };
    // Transformers reads `hidden_activation`; `hidden_act` is an older name of the same.
    let newer = config.opt_text("hidden_activation")?.is_some();
    let older = act(config, "hidden_act", "gelu_pytorch_tanh")?;
    let mlp = MlpSpec {
        d_mlp: config.count("intermediate_size")?,
        act: if newer { act(config, "hidden_activation", "gelu_pytorch_tanh")? } else { older },
        gate: Gate::Linear,
        bias: false,
        experts: None,
    };
    let window = config.opt_count("sliding_window")?.and_then(NonZeroUsize::new);
    let reaches = match config.opt_texts("layer_types")? {
        Some(types) => reaches_of(config, &types, n_layers, window)?,
        None => {
            let window = window.ok_or_else(|| config.refuse("sliding_window", "the width of the windows"))?;
            (0..n_layers).map(|l| if l % 2 == 0 { Reach::Window(window) } else { Reach::Global }).collect()
        }
    };
    let layers = reaches.into_iter().map(|reach| LayerSpec {
        attn: AttnSpec { reach, ..attn.clone() },
        mlp: mlp.clone(),
        norms: NormPlaces::PrePost { attn: [norm; 2], mlp: [norm; 2] },
    });
    Ok(ModelSpec {
        architecture: config.architecture("Gemma2ForCausalLM")?,
        d_model,
        d_vocab: config.count("vocab_size")?,
        n_ctx: config.opt_count("max_position_embeddings")?.unwrap_or(8192),
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
        unembed: "lm_head.weight",
        transposed: false,
        ignored: &[".rotary_emb.inv_freq"],
        beside: &[],
    }
}
