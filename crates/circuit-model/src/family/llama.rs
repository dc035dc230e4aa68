//! Llama 3.x and models of the same shape: RMS norms before each part, rotary positions with the "llama3" stretch, gated SiLU.
//!
//! Data only. Without `num_key_value_heads` there are as many as query heads; `pretraining_tp` has no effect in current versions.

use super::layers::{hidden_act, refuse_windows};
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::{Qkv, WeightMap};
use crate::spec::*;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 4096)?;
    let n_heads = config.count_or("num_attention_heads", 32)?;
    let n_ctx = config.count_or("max_position_embeddings", 2048)?;
    refuse_windows(config, n_ctx)?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(d_model / n_heads);
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::Plain };
    let bias = config.flag("attention_bias", false)?;
    let layer = LayerSpec {
        attn: AttnSpec {
            n_heads,
            n_kv_heads: config.count_or("num_key_value_heads", n_heads)?,
            d_head,
            scale: (d_head as f64).powf(-0.5),
            soft_cap: None,
            qk_norm: None,
            qkv_bias: bias,
            out_bias: bias,
            reach: Reach::Global,
            rope: Some(rope(config, &RopeDefaults { family: "llama", theta: 10_000.0, n_ctx })?),
            sinks: false,
        },
        mlp: MlpSpec {
            d_mlp: config.count_or("intermediate_size", 11_008)?,
            act: hidden_act(config, "hidden_act", "silu")?,
            gate: Gate::Linear,
            bias: config.flag("mlp_bias", false)?,
            experts: None,
        },
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    };
    Ok(ModelSpec {
        architecture: config.architecture("LlamaForCausalLM")?,
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

pub(super) fn weights() -> WeightMap {
    WeightMap {
        prefixes: &["model.", ""],
        embed: "embed_tokens.weight",
        pos_embed: None,
        block: "layers.{}.",
        attn_norm: "input_layernorm",
        attn_post_norm: None,
        mlp_norm: "post_attention_layernorm",
        mlp_post_norm: None,
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
