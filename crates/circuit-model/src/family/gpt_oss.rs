//! gpt-oss: RMS norms before each part, biases, a sink in each head's softmax, a window in every other layer, YaRN, a mixture of
//! experts with a clamped gate.
//!
//! Data only. Published checkpoints hold experts packed (MXFP4), converted ones plain. Two values differ between versions:
//! transformers 4.57 clamps at 7 whatever `swiglu_limit` says, and `num_experts` is an alias of `num_local_experts` in 5.24 only;
//! here both are as in 5.24.

use super::layers::{Kind, reaches};
use super::rope::{RopeDefaults, rope};
use crate::config::{HfConfig, SpecError};
use crate::names::{Experts, WeightMap};
use crate::spec::*;
use std::num::NonZeroUsize;

const FAMILY: &str = "gpt_oss";

/// What the gate's sigmoid is multiplied by.
const ALPHA: f64 = 1.702;

/// The stretch of the class's default `rope_scaling`; the attention factor is 1 + 0.1 ln 32.
const CLASS_DEFAULT: RopeScaling = RopeScaling::Yarn {
    factor: 32.0,
    beta_fast: 32.0,
    beta_slow: 1.0,
    original_max_position_embeddings: 4096.0,
    truncate: false,
    attention_factor: 1.0 + 0.1 * 5.0 * std::f64::consts::LN_2,
};

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 2880)?;
    let n_heads = config.count_or("num_attention_heads", 64)?;
    let n_layers = config.layers_or("num_hidden_layers", 36)?;
    let n_ctx = config.count_or("max_position_embeddings", 131_072)?;
    let d_head = config.count_or_none("head_dim", 64)?.unwrap_or(d_model / n_heads);
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-5)?, gain: Gain::Plain };
    let bias = config.flag("attention_bias", true)?;
    let attn = AttnSpec {
        n_heads,
        n_kv_heads: config.count_or_none("num_key_value_heads", 8)?.unwrap_or(n_heads),
        d_head,
        scale: (d_head as f64).powf(-0.5),
        soft_cap: None,
        qk_norm: None,
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(positions(config, n_ctx)?),
        sinks: true,
    };
    let window = config.count_or_none("sliding_window", 128)?.and_then(NonZeroUsize::new);
    let rule = |l: usize| if l.is_multiple_of(2) { Kind::Sliding } else { Kind::Full };
    let mlp = mlp(config)?;
    let layers =
        reaches(config, n_layers, window, "sliding_window_pattern", rule)?.into_iter().map(|reach| {
            LayerSpec {
                attn: AttnSpec { reach, ..attn.clone() },
                mlp: mlp.clone(),
                norms: NormPlaces::Pre { attn: norm, mlp: norm },
            }
        });
    packing(config)?;
    // The context before YaRN: transformers reads it from the description of the stretch. The function of `hidden_act` is not
    // read at all.
    config.leave_aside(&["initial_context_length", "hidden_act"]);
    Ok(ModelSpec {
        architecture: config.architecture("GptOssForCausalLM")?,
        d_model,
        d_vocab: config.count_or("vocab_size", 201_088)?,
        n_ctx,
        embed: EmbedSpec { scale: None, learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec { tied: config.flag("tie_word_embeddings", false)?, soft_cap: None },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks::default(),
    })
}

/// Without any description of a stretch the class has YaRN. A null in `rope_scaling` means none: only transformers 4 writes it,
/// and reads it so (transformers 5 takes YaRN there, too).
fn positions(config: &HfConfig, n_ctx: usize) -> Result<RopeSpec, SpecError> {
    let plain = rope(config, &RopeDefaults { family: FAMILY, theta: 150_000.0, n_ctx })?;
    let null = config.is_null("rope_scaling") && !config.has("rope_parameters");
    if null {
        config.note("`rope_scaling` is null: rotary positions are not stretched, as in transformers 4");
    }
    let stated = config.states("rope_scaling") || config.states("rope_parameters");
    Ok(if null || stated { plain } else { RopeSpec { scaling: CLASS_DEFAULT, ..plain } })
}

fn mlp(config: &HfConfig) -> Result<MlpSpec, SpecError> {
    // The config says "silu", but the model computes x · sigmoid(1.702 x).
    if config.positive_or("swiglu_alpha", ALPHA)? != ALPHA {
        return Err(config.refuse("swiglu_alpha", "1.702, the only value that is implemented"));
    }
    let n_experts = config.count_of("num_local_experts", "num_experts", 128)?;
    let n_chosen = config.count_or("num_experts_per_tok", 4)?;
    // Published files hold this name too, which transformers does not read.
    if config.opt_count("experts_per_token")?.is_some_and(|n| n != n_chosen) {
        let ignored = config.quoted("experts_per_token");
        config.note(&format!(
            "{ignored}, which transformers ignores; `num_experts_per_tok` counts, {n_chosen}"
        ));
    }
    if n_chosen > n_experts {
        return Err(config.refuse("num_experts_per_tok", &format!("at most num_local_experts = {n_experts}")));
    }
    Ok(MlpSpec {
        d_mlp: config.count_or("intermediate_size", 2880)?,
        act: Act::QuickGelu,
        gate: Gate::Clamped { limit: config.positive_or("swiglu_limit", 7.0)? },
        bias: true,
        experts: Some(ExpertsSpec { n_experts, n_chosen }),
    })
}

/// The one packing that is implemented; the names of the tensors say which of them are packed.
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
