//! Gemma-3, the language model: as Gemma-2, with norms over heads of queries and keys instead of soft caps, and five layers with a
//! window (and a rotary base of their own) to each layer without.
//!
//! Data only. Larger checkpoints hold a vision tower beside it; texts alone never reach that. The checkpoint names its
//! tensors as Gemma-2 does. Transformers ignores `attn_logit_softcapping` here, and `final_logit_softcapping` where there is a vision
//! tower.

use super::layers::{self, Kind, hidden_act};
use super::rope::{RopeDefaults, stretched};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use circuit_index::LayerSite;
use std::num::NonZeroUsize;

const FAMILY: &str = "gemma3";

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    let d_model = config.count_or("hidden_size", 2304)?;
    let n_layers = config.layers_or("num_hidden_layers", 26)?;
    let n_ctx = config.count_or("max_position_embeddings", 131_072)?;
    let norm =
        NormSpec { kind: NormKind::Rms, eps: config.positive_or("rms_norm_eps", 1e-6)?, gain: Gain::OnePlus };
    let bias = config.flag("attention_bias", false)?;
    if let Some(cap) = config.opt_positive("attn_logit_softcapping")? {
        config.note(&format!(
            "`attn_logit_softcapping` is {cap}; it is ignored, as transformers does for this family"
        ));
    }
    let (global, local) = ropes(config, n_ctx)?;
    let attn = AttnSpec {
        n_heads: config.count_or("num_attention_heads", 8)?,
        n_kv_heads: config.count_or("num_key_value_heads", 4)?,
        d_head: config.count_or("head_dim", 256)?,
        scale: config.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5),
        soft_cap: None,
        qk_norm: Some(norm),
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(global),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: config.count_or("intermediate_size", 9216)?,
        act: hidden_act(config, "hidden_activation", "gelu_pytorch_tanh")?,
        gate: Gate::Linear,
        bias: false,
        experts: None,
    };
    let layers = reaches(config, n_layers)?.into_iter().map(|reach| {
        let rope = Some(if reach == Reach::Global { global } else { local });
        LayerSpec {
            attn: AttnSpec { reach, rope, ..attn.clone() },
            mlp: mlp.clone(),
            norms: NormPlaces::PrePost { attn: [norm; 2], mlp: [norm; 2] },
        }
    });
    Ok(ModelSpec {
        architecture: config.architecture(TEXT)?,
        d_model,
        d_vocab: config.count_or("vocab_size", 262_208)?,
        n_ctx,
        embed: EmbedSpec { scale: Some((d_model as f64).sqrt()), learned_positions: false },
        layers: layers.collect(),
        final_norm: norm,
        unembed: UnembedSpec {
            tied: config.flag("tie_word_embeddings", true)?,
            soft_cap: config.opt_positive("final_logit_softcapping")?,
        },
        ignored_positions: 1,
        transcoder_hooks: TranscoderHooks { reads: LayerSite::MlpIn, writes: LayerSite::MlpOut },
    })
}

const TEXT: &str = "Gemma3ForCausalLM";
const BESIDE_VISION: &str = "Gemma3ForConditionalGeneration";

/// Whether a model of this architecture is of this family.
pub(super) fn has(architecture: &str) -> bool {
    [TEXT, BESIDE_VISION].contains(&architecture)
}

/// The tokens with which every chat begins: `<bos>`, `<start_of_turn>`, `user` and a line end. Models tuned on chats ignore their
/// positions.
pub(super) const CHAT_PREFIX: [u32; 4] = [2, 105, 2364, 107];

/// Whether a model of this name was tuned on chats, if the name says anything about that.
pub(super) fn tuned_on_chats(name: &str) -> Option<bool> {
    let name = name.to_ascii_lowercase();
    let name = name.split('@').next().unwrap_or_default().trim_end_matches(['/', '\\']);
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let (_, kind) = last.split_once("gemma-3-")?;
    if kind.ends_with("-it") {
        return Some(true);
    }
    // The size alone, perhaps with `pt`, is the name of a model that was not. Other words say nothing.
    let size = kind.strip_suffix("-pt").unwrap_or(kind);
    let digits = size.strip_suffix(['b', 'm']).filter(|digits| !digits.is_empty())?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(false)
}

/// The language model of a checkpoint with a vision tower: its description is the object `text_config`.
pub(super) fn spec_beside_vision(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    config.leave_aside(&[
        "boi_token_id",
        "boi_token_index",
        "eoi_token_id",
        "eoi_token_index",
        "image_token_index",
        "mm_tokens_per_image",
        "vision_config",
    ]);
    let text = config.object("text_config")?;
    text.leave_aside(&["model_type"]);
    let mut spec = spec(&text)?;
    text.finish(FAMILY)?;
    spec.architecture = config.architecture(BESIDE_VISION)?;
    if let Some(cap) = spec.unembed.soft_cap.take() {
        text.note(&format!(
            "`text_config.final_logit_softcapping` is {cap}; it is ignored, as transformers does beside a vision tower"
        ));
    }
    spec.unembed.tied = tied(config, &text, spec.unembed.tied)?;
    Ok(spec)
}

/// The outer key rules where it is there, as in transformers 5; transformers 4 reads the inner one only. A file that states the
/// inner one only is read by both as it says, since transformers 5 never ties a head that differs from the embedding.
fn tied(config: &HfConfig, text: &HfConfig, inner: bool) -> Result<bool, SpecError> {
    const KEY: &str = "tie_word_embeddings";
    let tied = config.flag(KEY, inner)?;
    if tied != inner {
        let (outer, inner) = (config.quoted(KEY), text.quoted(KEY));
        config.note(&format!("{outer} and {inner}; the outer one is used, as transformers 5 does"));
    }
    Ok(tied)
}

/// `layer_types` where it is given; else every n-th layer sees everything, n being `sliding_window_pattern`.
fn reaches(config: &HfConfig, n_layers: usize) -> Result<Vec<Reach>, SpecError> {
    const PATTERN: &str = "sliding_window_pattern";
    let window = NonZeroUsize::new(config.count_or("sliding_window", 4096)?);
    let pattern = config.count_or(PATTERN, 6)?;
    // Files repeat the pattern under this name, which transformers does not read.
    let repeated = config.opt_count("_sliding_window_pattern")?;
    let stated = config.states(PATTERN) || config.states("layer_types");
    if repeated.is_some_and(|repeated| repeated != pattern) && !stated {
        let ignored = config.quoted("_sliding_window_pattern");
        config.note(&format!("{ignored}, which transformers ignores; the pattern is {pattern}"));
    }
    let rule = |l: usize| if (l + 1).is_multiple_of(pattern) { Kind::Full } else { Kind::Sliding };
    layers::reaches(config, n_layers, window, PATTERN, rule)
}

/// Rotary positions of layers without and with a window: two bases and a stretch of the first (transformers 4), or an object for
/// each kind of layer (transformers 5). Where both are there, the stretch of the first spelling wins, as in transformers 5.
fn ropes(config: &HfConfig, n_ctx: usize) -> Result<(RopeSpec, RopeSpec), SpecError> {
    const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
    let global = RopeDefaults { family: FAMILY, theta: 1_000_000.0, n_ctx };
    let local = RopeDefaults { theta: 10_000.0, ..global };
    let older = config.opt_filled_object("rope_scaling")?;
    let newer = config.object_or_empty("rope_parameters")?;
    let [full, sliding] = KINDS.map(|kind| newer.opt_filled_object(kind));
    let (full, sliding) = (full?, sliding?);
    if KINDS.iter().all(|kind| !newer.has(kind)) && config.states("rope_parameters") {
        config.warn("`rope_parameters` has neither `full_attention` nor `sliding_attention`; it is ignored, as transformers does for this family");
    } else {
        newer.finish(FAMILY)?;
    }
    if let (Some(older), Some(full)) = (&older, &full)
        && !older.says_the_same_as(full)
    {
        config.note("`rope_scaling` and `rope_parameters.full_attention` differ; keys of `rope_scaling` are used, as transformers 5 does");
    }
    let full = match (full, older) {
        (Some(full), Some(older)) => Some(full.overlaid_by(&older)),
        (full, older) => full.or(older),
    };
    let of = |object: Option<HfConfig>, outer: Option<f64>, defaults: &RopeDefaults| match object {
        Some(object) => stretched(config, &object, outer, defaults),
        None => Ok(RopeSpec { theta: outer.unwrap_or(defaults.theta), scaling: RopeScaling::None }),
    };
    let full = of(full, config.opt_positive("rope_theta")?, &global)?;
    Ok((full, of(sliding, config.opt_positive("rope_local_base_freq")?, &local)?))
}

pub(super) fn weights() -> WeightMap {
    WeightMap {
        prefixes: &["model.", "language_model.model.", "model.language_model.", "language_model.", ""],
        unembed: &["lm_head.weight", "language_model.lm_head.weight"],
        beside: &[
            "vision_tower.",
            "multi_modal_projector.",
            "model.vision_tower.",
            "model.multi_modal_projector.",
        ],
        ..super::gemma2::weights()
    }
}

#[cfg(test)]
mod tests {
    use super::tuned_on_chats;

    #[test]
    fn names_say_whether_a_model_was_tuned_on_chats() {
        for (name, wanted) in [
            ("google/gemma-3-270m-it", Some(true)),
            ("unsloth/Gemma-3-4b-it", Some(true)),
            ("/models/gemma-3-1b-it/", Some(true)),
            ("google/gemma-3-1b-it@v1", Some(true)),
            ("models--google--gemma-3-1b-it", Some(true)),
            (r"C:\models\gemma-3-1b-it", Some(true)),
            ("google/gemma-3-270m", Some(false)),
            ("google/gemma-3-1b-pt", Some(false)),
            ("google/gemma-2-2b-it", None),
            ("x/gemma-3-it-merged", None),
            ("/gemma-3-runs/other-it", None),
        ] {
            assert_eq!(tuned_on_chats(name), wanted, "{name}");
        }
    }
}
