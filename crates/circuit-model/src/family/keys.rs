//! Keys of `config.json` that change the computation of related families and are not implemented here.
//!
//! Data only. A model that states one of them with an effective value is refused by name, since its numbers would be wrong. The
//! list comes from the configuration and modelling files of transformers 4.57 and 5.24. A key that is neither here nor in
//! `keys_without_effect.rs` is unknown. Not here: keys that a family reads, and keys that only its own class ignores.

use super::keys_without_effect::{MARKS, WITHOUT_EFFECT};
use crate::config::is_idle;
use serde_json::Value;
use std::fmt;

/// Which values of a key leave the computation as it is. Null always does; false, an empty list and an empty object do, except
/// for [`Neutral::True`].
enum Neutral {
    /// No other value.
    Nothing,
    /// This number.
    Number(f64),
    /// True, but not false.
    True,
    /// One of these strings.
    Text(&'static [&'static str]),
    /// A list without zero or false.
    NoZero,
    /// A list of `full_attention`.
    Full,
}

/// What a group of keys changes.
pub(crate) struct Change {
    what: &'static str,
    neutral: Neutral,
    keys: &'static [&'static str],
}

/// Keys that change the computation of related models and are not implemented here.
const CHANGES: &[Change] = &[
    Change {
        what: "a factor on embeddings, residuals, scores or logits",
        neutral: Neutral::Number(1.0),
        keys: &[
            "attention_in_multiplier",
            "attention_out_multiplier",
            "attention_value_scale",
            "embedding_fraction",
            "embedding_multiplier",
            "embedding_scale",
            "full_attn_alpha_factor",
            "full_attn_beta_factor",
            "key_multiplier",
            "linear_attn_alpha_factor",
            "linear_attn_beta_factor",
            "lm_head_multiplier",
            "logit_scale",
            "logits_mup_width_multiplier",
            "logits_scale",
            "logits_scaling",
            "mlp_alpha_factor",
            "mlp_beta_factor",
            "output_multiplier_scale",
            "residual_multiplier",
            "residual_scale",
            "scale_emb",
        ],
    },
    Change {
        what: "a factor on embeddings, residuals, scores or logits",
        neutral: Neutral::Nothing,
        keys: &[
            "attention_multiplier",
            "attn_scale",
            "attn_temperature_tuning",
            "dim_model_base",
            "floor_scale",
            "log_scaling_alpha",
            "mlp_multipliers",
            "mup_enabled",
            "query_pre_attn_scalar",
            "scale_attn_by_inverse_layer_idx",
            "scale_depth",
            "scale_embedding",
            "softmax_scale",
            "use_logn_attn",
            "use_mup",
        ],
    },
    Change {
        what: "a soft cap or a clip",
        neutral: Neutral::Nothing,
        keys: &[
            "attention_logit_cap",
            "attn_logit_softcapping",
            "clip_qkv",
            "final_logit_softcapping",
            "logit_softcapping",
            "logits_soft_cap",
            "mlp_gate_softcap",
            "mlp_up_softcap",
            "moe_router_logit_softcapping",
            "qk_l2_clip_threshold",
            "swiglu_alpha",
            "swiglu_limit",
        ],
    },
    Change {
        what: "a norm over queries and keys",
        neutral: Neutral::Nothing,
        keys: &["qk_layernorm", "qk_ln", "qk_norm", "qkv_norm", "use_qk_norm"],
    },
    Change {
        what: "rotary positions on a part of each head",
        neutral: Neutral::Number(1.0),
        keys: &["partial_rotary_factor", "rope_pct", "rope_percentage", "rotary_pct", "rotary_percent"],
    },
    Change { what: "layers without rotary positions", neutral: Neutral::NoZero, keys: &["no_rope_layers"] },
    Change {
        what: "the kind of position embedding",
        neutral: Neutral::Text(&["rope", "rotary", "absolute"]),
        keys: &["position_embedding_type", "position_encoding_type"],
    },
    Change {
        what: "how positions enter",
        neutral: Neutral::Nothing,
        keys: &[
            "alibi",
            "compress_rope_theta",
            "global_rope_theta",
            "layer_rope_theta",
            "local_rope_theta",
            "no_rope_layer_interval",
            "original_max_position_embeddings",
            "rope_interleave",
            "rope_interleaved",
            "rope_local_base_freq",
            "rope_ratio",
            "rotary_base",
            "rotary_dim",
            "rotary_emb_base",
            "swa_rope_theta",
            "use_alibi",
            "use_dynamic_ntk",
            "use_mem_rope",
            "use_mrope",
        ],
    },
    Change {
        what: "which keys each layer's queries see",
        neutral: Neutral::Nothing,
        keys: &[
            "attention_chunk_size",
            "attention_types",
            "attention_window",
            "cross_attention_layers",
            "full_attention_interval",
            "global_attn_every_n_layers",
            "interleaved_sliding_window",
            "keep_window_size",
            "local_attention",
            "local_layer_ids",
            "sliding_window",
            "sliding_window_pattern",
            "sliding_window_size",
            "swa_head_dim",
            "swa_num_attention_heads",
            "swa_num_key_value_heads",
            "use_bidirectional_attention",
            "use_sliding_window",
            "window_size",
        ],
    },
    Change { what: "the kind of each layer", neutral: Neutral::Full, keys: &["layer_types"] },
    Change {
        what: "attention in one direction only",
        neutral: Neutral::True,
        keys: &["causal", "is_causal"],
    },
    Change {
        what: "an encoder beside the model",
        neutral: Neutral::Nothing,
        keys: &[
            "add_cross_attention",
            "attn_uses_sequence_id",
            "bidirectional",
            "is_encoder_decoder",
            "prefix_lm",
        ],
    },
    Change {
        what: "gates and sinks of attention",
        neutral: Neutral::Nothing,
        keys: &[
            "add_full_attention_sink_bias",
            "add_swa_attention_sink_bias",
            "attention_sink",
            "attention_sinks",
            "attn_output_gate",
            "elementwise_attn_output_gate",
            "gated_attention",
            "headwise_attn_output_gate",
            "output_gate_type",
            "use_attention_gate",
            "use_attention_sink",
        ],
    },
    Change {
        what: "biases that this family does not have",
        neutral: Neutral::Nothing,
        keys: &[
            "add_bias_linear",
            "add_qkv_bias",
            "attention_bias",
            "attention_out_bias",
            "attention_qkv_bias",
            "attn_bias",
            "bias",
            "lm_head_bias",
            "mlp_bias",
            "norm_bias",
            "o_proj_bias",
            "projectors_bias",
            "qkv_bias",
            "use_bias",
            "use_mlp_bias",
            "use_qkv_bias",
        ],
    },
    Change { what: "biases that this family does not have", neutral: Neutral::True, keys: &["no_bias"] },
    Change {
        what: "where norms are, and of which kind they are",
        neutral: Neutral::Nothing,
        keys: &[
            "apply_layernorm_1p",
            "apply_residual_connection_post_layernorm",
            "gated_norm_rank",
            "layernorm_zero_centered_gamma",
            "parallel_attn",
            "parallel_residual",
            "post_norm",
            "rms_norm_add_unit_offset",
            "use_parallel_residual",
            "use_post_norm",
            "use_sandwich_norm",
            "zero_centered_gamma",
        ],
    },
    Change {
        what: "where norms are, and of which kind they are",
        neutral: Neutral::True,
        keys: &["do_layer_norm_before"],
    },
    Change {
        what: "where norms are, and of which kind they are",
        neutral: Neutral::Text(&["rms", "rmsnorm", "rms_norm", "RMSNorm"]),
        keys: &["norm_type", "normalization_type"],
    },
    Change {
        what: "layers that differ in shape, are shared, skipped or repeated",
        neutral: Neutral::Number(0.0),
        keys: &[
            "activation_sparsity_pattern",
            "adapter_rank",
            "altup_num_inputs",
            "attention_k_eq_v",
            "block_configs",
            "hc_count",
            "hc_mult",
            "hidden_size_per_layer_input",
            "hybrid_layer_pattern",
            "laurel_rank",
            "layer_group_size",
            "loop_num_passes",
            "n_recurrent_layers",
            "n_recurrent_loops",
            "num_attention_heads_per_layer",
            "num_kv_shared_layers",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "per_layer_config",
            "ple_embed_dim",
            "pruned_heads",
            "use_double_wide_mlp",
            "vocab_size_per_layer_input",
        ],
    },
    Change {
        what: "a mixture of experts",
        neutral: Neutral::Number(0.0),
        keys: &[
            "decoder_sparse_step",
            "enable_moe_block",
            "expert_layer_period",
            "experts_per_token",
            "first_k_dense_replace",
            "interleave_moe_layer_step",
            "is_moe",
            "mlp_layer_types",
            "mlp_only_layers",
            "moe_intermediate_size",
            "moe_k",
            "moe_latent_size",
            "moe_layer_freq",
            "moe_layer_interval",
            "moe_layers",
            "moe_num_experts",
            "moe_num_shared_experts",
            "moe_shared_expert_intermediate_size",
            "moe_top_k",
            "moe_topk",
            "n_group",
            "n_routed_experts",
            "n_shared_experts",
            "norm_topk_prob",
            "num_dense_layers",
            "num_experts",
            "num_experts_per_tok",
            "num_local_experts",
            "num_shared_experts",
            "scoring_func",
            "shared_expert_intermediate_size",
            "shared_intermediate_size",
            "top_k_experts",
            "topk_group",
            "topk_method",
            "use_expert_bias",
            "zero_expert_num",
        ],
    },
    Change {
        what: "weights of experts",
        neutral: Neutral::Number(1.0),
        keys: &["moe_routed_scaling_factor", "route_scale", "routed_scaling_factor", "router_scaling_factor"],
    },
    Change {
        what: "latent attention",
        neutral: Neutral::Number(0.0),
        keys: &[
            "kv_lora_rank",
            "o_groups",
            "o_lora_rank",
            "q_lora_rank",
            "qk_head_dim",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "v_head_dim",
        ],
    },
    Change {
        what: "attention to a chosen part of the prompt",
        neutral: Neutral::Number(0.0),
        keys: &[
            "index_head_dim",
            "index_n_heads",
            "index_topk",
            "index_topk_blocks",
            "indexer_budget",
            "indexer_types",
        ],
    },
    Change {
        what: "linear attention, convolutions or state-space layers",
        neutral: Neutral::Number(0.0),
        keys: &[
            "attn_layer_indices",
            "attn_layer_offset",
            "attn_layer_period",
            "attn_type_list",
            "block_types",
            "conv_L_cache",
            "conv_kernel",
            "full_attn_idxs",
            "hybrid_override_pattern",
            "layers_block_type",
            "linear_attn_config",
            "linear_conv_kernel_dim",
            "linear_key_head_dim",
            "linear_num_heads",
            "linear_num_key_heads",
            "linear_num_value_heads",
            "linear_value_head_dim",
            "mamba_d_conv",
            "mamba_d_ssm",
            "mamba_d_state",
            "mamba_expand",
            "mamba_n_heads",
            "mamba_num_heads",
            "short_conv_kernel_size",
            "ssm_multipliers",
            "ssm_state_size",
            "state_size",
            "time_step_rank",
        ],
    },
    Change {
        what: "the shape of the MLP",
        neutral: Neutral::Nothing,
        keys: &[
            "block_auto_adjust_ff_dim",
            "expansion_ratio",
            "ffn_config",
            "ffn_dim_multiplier",
            "ffn_hidden_size",
            "intermediate_multiple_size",
            "intermediate_size_mlp",
        ],
    },
    Change { what: "settings of attention in an object", neutral: Neutral::Nothing, keys: &["attn_config"] },
    Change {
        what: "a second embedding",
        neutral: Neutral::Number(0.0),
        keys: &["embedding_size", "ngram_size", "type_vocab_size", "word_embed_proj_dim"],
    },
    Change {
        what: "quantized weights",
        neutral: Neutral::Nothing,
        keys: &["compression_config", "quantization", "quantization_config"],
    },
];

/// Whether a key is known to have no effect.
pub(crate) fn without_effect(key: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|(_, keys)| keys.contains(&key))
        || MARKS.iter().any(|mark| key.starts_with(mark))
}

/// What a key changes, if it is known to change the computation.
pub(crate) fn change(key: &str) -> Option<&'static Change> {
    CHANGES.iter().find(|change| change.keys.contains(&key))
}

impl Change {
    /// Whether a value leaves the computation as it is.
    pub(crate) fn is_neutral(&self, value: &Value) -> bool {
        let is_full = |kind: &Value| kind == "full_attention";
        let is_zero = |entry: &Value| entry == &Value::Bool(false) || entry.as_f64() == Some(0.0);
        match &self.neutral {
            Neutral::True => value.is_null() || value == &Value::Bool(true),
            _ if is_idle(value) => true,
            Neutral::Nothing => false,
            Neutral::Number(number) => value.as_f64() == Some(*number),
            Neutral::Text(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Neutral::NoZero => value.as_array().is_some_and(|list| !list.iter().any(is_zero)),
            Neutral::Full => value.as_array().is_some_and(|list| list.iter().all(is_full)),
        }
    }
}

impl fmt::Display for Change {
    /// What the key changes, and the value that would not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match &self.neutral {
            Neutral::Nothing => Ok(()),
            Neutral::Number(number) => write!(f, " ({number} would change nothing)"),
            Neutral::True => f.write_str(" (true would change nothing)"),
            Neutral::Text(texts) => write!(f, " (`{}` would change nothing)", texts[0]),
            Neutral::NoZero => f.write_str(" (a list without 0 would change nothing)"),
            Neutral::Full => f.write_str(" (only `full_attention` would change nothing)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_in_one_place_only() {
        let mut seen = BTreeSet::new();
        let without = WITHOUT_EFFECT.iter().flat_map(|(_, keys)| keys.iter());
        for key in without.chain(CHANGES.iter().flat_map(|change| change.keys)) {
            assert!(seen.insert(*key), "{key} stands twice");
        }
    }

    #[test]
    fn neutral_values_are_those_that_change_nothing() {
        for (key, neutral, effective) in [
            ("embedding_multiplier", json!(1.0), json!(12.0)),
            ("embedding_multiplier", json!(1), json!(0)),
            ("attention_multiplier", json!(null), json!(1.0)),
            ("clip_qkv", json!(null), json!(8.0)),
            ("no_rope_layers", json!([1, 1, 1]), json!([1, 1, 0])),
            ("layer_types", json!(["full_attention"]), json!(["full_attention", "linear_attention"])),
            ("num_experts", json!(0), json!(8)),
            ("is_causal", json!(true), json!(false)),
            ("position_embedding_type", json!("rope"), json!("nope")),
            ("use_qk_norm", json!(false), json!(true)),
        ] {
            let change = change(key).unwrap();
            assert!(change.is_neutral(&neutral), "{key} = {neutral}");
            assert!(!change.is_neutral(&effective), "{key} = {effective}");
        }
    }

    #[test]
    fn marks_of_other_tools_have_no_effect() {
        for key in ["unsloth_fixed", "unsloth_training", "transformers.js_config", "temperature", "auto_map"]
        {
            assert!(without_effect(key), "{key}");
        }
        assert!(!without_effect("novelty"));
    }
}
