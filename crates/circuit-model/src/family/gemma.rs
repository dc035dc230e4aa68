//! Gemma, the first: pre-norm RMS with gain 1 + w, embedding times √d_model, gated tanh-GELU, tied unembedding.
//!
//! Data only. The checkpoint names its tensors as Llama does.

use super::{act, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(256);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
        gain: Gain::OnePlus,
    };
    let bias = config.flag("attention_bias", false)?;
    let layer = LayerSpec {
        attn: AttnSpec {
            n_heads,
            n_kv_heads: config.opt_count("num_key_value_heads")?.unwrap_or(n_heads),
            d_head,
            scale: (d_head as f64).powf(-0.5),
            soft_cap: None,
            qk_norm: None,
            qkv_bias: bias,
            out_bias: bias,
            reach: Reach::Global,
            rope: Some(rope(config, "gemma", 10_000.0)?),
            sinks: false,
        },
        mlp: MlpSpec {
            d_mlp: config.count("intermediate_size")?,
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
        d_vocab: config.count("vocab_size")?,
        n_ctx: config.opt_count("max_position_embeddings")?.unwrap_or(8192),
        embed: EmbedSpec { scale: Some((d_model as f64).sqrt()), learned_positions: false },
        layers: vec![layer; config.layers("num_hidden_layers")?],
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", true)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// The first files say `gelu` in `hidden_act` and mean its tanh formula. Transformers reads that key today; some older versions
/// read `hidden_activation` in its stead, so a file in which the two differ means no one thing.
fn activation(config: &HfConfig) -> Result<Act, SpecError> {
    const USUAL: &str = "gelu_pytorch_tanh";
    let found = match act(config, "hidden_act", USUAL)? {
        Act::Gelu => Act::GeluTanh,
        other => other,
    };
    match config.opt_text("hidden_activation")? {
        Some(_) if act(config, "hidden_activation", USUAL)? != found => Err(config
            .refuse("hidden_activation", "the function of hidden_act, where `gelu` is its tanh formula")),
        _ => Ok(found),
    }
}

pub(super) fn weights() -> WeightMap {
    super::llama::weights()
}
