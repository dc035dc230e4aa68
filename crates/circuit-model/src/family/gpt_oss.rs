//! gpt-oss: pre-norm RMS, biases, a sink in each head's softmax, every other layer a window, YaRN, a mixture of experts with a
//! clamped gate.
//!
//! Data only. Published checkpoints hold experts packed (MXFP4), converted ones as they are.

use super::{act, reaches_of, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::{Experts, WeightMap};
use crate::spec::*;
use std::num::NonZeroUsize;

const FAMILY: &str = "gpt_oss";

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let n_heads = config.count("num_attention_heads")?;
    let n_layers = config.layers("num_hidden_layers")?;
    let d_head = config.opt_count("head_dim")?.unwrap_or(64);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-5),
        gain: Gain::Plain,
    };
    let bias = config.flag("attention_bias", true)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.opt_count("num_key_value_heads")?.unwrap_or(n_heads),
        d_head,
        scale: (d_head as f64).powf(-0.5),
        soft_cap: None,
        qk_norm: None,
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(rope(config, FAMILY, 150_000.0)?),
        sinks: true,
    };
    let window = config.opt_count("sliding_window")?.and_then(NonZeroUsize::new);
    let reaches = match config.opt_texts("layer_types")? {
        Some(types) => reaches_of(config, &types, n_layers, window)?,
        None => {
            let window = window.ok_or_else(|| config.refuse("sliding_window", "the width of the windows"))?;
            (0..n_layers).map(|l| if l % 2 == 0 { Reach::Window(window) } else { Reach::Global }).collect()
        }
    };
    let mlp = mlp(config)?;
    let layers = reaches.into_iter().map(|reach| LayerSpec {
        attn: AttnSpec { reach, ..attn.clone() },
        mlp: mlp.clone(),
        norms: NormPlaces::Pre { attn: norm, mlp: norm },
    });
    packing(config)?;
    // What training adds to its loss, and the context before YaRN, which the stretch states itself.
    config.leave_aside(&["router_aux_loss_coef", "output_router_logits", "initial_context_length"]);
    Ok(ModelSpec {
        architecture: config.architecture("GptOssForCausalLM")?,
        d_model: config.count("hidden_size")?,
        d_vocab: config.count("vocab_size")?,
        n_ctx: config.opt_count("max_position_embeddings")?.unwrap_or(131_072),
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

fn mlp(config: &HfConfig) -> Result<MlpSpec, SpecError> {
    // The config says "silu", the model computes x · sigmoid(1.702 x).
    if act(config, "hidden_act", "silu")? != Act::Silu {
        return Err(config.refuse("hidden_act", "silu"));
    }
    let n_experts = config.count("num_local_experts")?;
    let n_chosen = config.count("num_experts_per_tok")?;
    // An older name of the same.
    if config.opt_count("experts_per_token")?.is_some_and(|n| n != n_chosen) {
        return Err(config.refuse("experts_per_token", &format!("num_experts_per_tok = {n_chosen}")));
    }
    if n_chosen > n_experts {
        return Err(config.refuse("num_experts_per_tok", &format!("at most num_local_experts = {n_experts}")));
    }
    Ok(MlpSpec {
        d_mlp: config.count("intermediate_size")?,
        act: Act::QuickGelu,
        gate: Gate::Clamped { limit: config.opt_positive("swiglu_limit")?.unwrap_or(7.0) },
        bias: true,
        experts: Some(ExpertsSpec { n_experts, n_chosen }),
    })
}

/// The one packing there is; which tensors it concerns, their names say.
fn packing(config: &HfConfig) -> Result<(), SpecError> {
    let Some(object) = config.opt_object("quantization_config")? else { return Ok(()) };
    if object.opt_text("quant_method")?.as_deref() != Some("mxfp4") {
        return Err(object.refuse("quant_method", "mxfp4"));
    }
    object.leave_aside(&["modules_to_not_convert"]);
    object.finish(FAMILY)
}

pub(super) fn weights() -> WeightMap {
    WeightMap {
        experts: Some(Experts {
            router: "mlp.router",
            gate_and_in: "mlp.experts.gate_up_proj",
            out: "mlp.experts.down_proj",
        }),
        sinks: Some("self_attn.sinks"),
        ..super::llama::weights()
    }
}
