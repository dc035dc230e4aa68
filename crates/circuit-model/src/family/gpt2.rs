//! GPT-2: LayerNorm, biases everywhere, learned positions, queries, keys and values in one matrix stored `[in, out]`.
//!
//! Data only. The class has aliases (`hidden_size` for `n_embd`, …), which rule where both are there.

use super::layers::{act, refuse_windows};
use crate::config::{HfConfig, SpecError};
use crate::names::{Qkv, WeightMap};
use crate::spec::*;

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_of("n_embd", "hidden_size", 768)?;
    let n_heads = config.count_of("n_head", "num_attention_heads", 12)?;
    let n_layers = config.check_layers("n_layer", config.count_of("n_layer", "num_hidden_layers", 12)?)?;
    let n_ctx = positions(config)?;
    refuse_windows(config, n_ctx)?;
    if d_model % n_heads != 0 {
        return Err(config.refuse("n_head", &format!("a divisor of n_embd = {d_model}")));
    }
    let d_head = d_model / n_heads;
    let norm = NormSpec {
        kind: NormKind::Layer,
        eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        gain: Gain::Plain,
    };
    let scale = if config.flag("scale_attn_weights", true)? { (d_head as f64).powf(-0.5) } else { 1.0 };
    let by_layer = config.flag("scale_attn_by_inverse_layer_idx", false)?;
    let mlp = MlpSpec {
        d_mlp: config.count_or("n_inner", 4 * d_model)?,
        act: act(config, "activation_function", "gelu_new")?,
        gate: Gate::None,
        bias: true,
        experts: None,
    };
    let layer = |l: usize| LayerSpec {
        attn: AttnSpec {
            n_heads,
            n_kv_heads: n_heads,
            d_head,
            scale: if by_layer { scale / (l + 1) as f64 } else { scale },
            soft_cap: None,
            qk_norm: None,
            qkv_bias: true,
            out_bias: true,
            reach: Reach::Global,
            rope: None,
            sinks: false,
        },
        mlp: mlp.clone(),
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    };
    Ok(ModelSpec {
        architecture: config.architecture("GPT2LMHeadModel")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 50_257)?,
        n_ctx,
        embed: EmbedSpec { scale: None, learned_positions: true },
        layers: (0..n_layers).map(layer).collect(),
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", true)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// The number of learned positions. `n_ctx` is an old second name, which counts where the others are absent only.
fn positions(config: &HfConfig) -> Result<usize, SpecError> {
    let old = config.opt_count("n_ctx")?;
    let n_ctx = config.count_of("n_positions", "max_position_embeddings", old.unwrap_or(1024))?;
    if old.is_some_and(|old| old != n_ctx) {
        let ignored = config.quoted("n_ctx");
        config.note(&format!("{ignored}, which transformers ignores; `n_positions` counts, {n_ctx}"));
    }
    Ok(n_ctx)
}

pub(super) fn weights() -> WeightMap {
    WeightMap {
        prefixes: &["transformer.", ""],
        embed: "wte.weight",
        pos_embed: Some("wpe.weight"),
        block: "h.{}.",
        attn_norm: "ln_1",
        attn_post_norm: None,
        mlp_norm: "ln_2",
        mlp_post_norm: None,
        qkv: Qkv::Fused("attn.c_attn"),
        q_norm: "attn.q_norm",
        k_norm: "attn.k_norm",
        attn_out: "attn.c_proj",
        mlp_gate: "mlp.c_gate",
        mlp_in: "mlp.c_fc",
        mlp_out: "mlp.c_proj",
        experts: None,
        sinks: None,
        final_norm: "ln_f",
        unembed: &["lm_head.weight"],
        transposed: true,
        // The causal mask, which old checkpoints hold as if it were a weight.
        ignored: &[".attn.bias", ".attn.masked_bias"],
        beside: &[],
    }
}
