//! Gemma-3, the language model: as Gemma-2 but for norms over heads of queries and keys in place of soft caps, and five
//! layers with a window (and a rotary base of their own) to each without.
//!
//! Data only. Larger checkpoints hold a vision tower beside it; texts alone never reach that. The checkpoint names its
//! tensors as Gemma-2 does.

use super::{act, reaches_of, rope, stretched_rope};
use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::*;
use circuit_index::LayerSite;
use std::num::NonZeroUsize;

const FAMILY: &str = "gemma3";

pub(super) fn spec(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    // Published configs leave out what has its usual value.
    let count = |key, usual| Ok::<_, SpecError>(config.opt_count(key)?.unwrap_or(usual));
    let d_model = count("hidden_size", 2304)?;
    let n_layers = config.opt_layers("num_hidden_layers")?.unwrap_or(26);
    let norm = NormSpec {
        kind: NormKind::Rms,
        eps: config.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
        gain: Gain::OnePlus,
    };
    let bias = config.flag("attention_bias", false)?;
    let (global, local) = ropes(config)?;
    let attn = AttnSpec {
        n_heads: count("num_attention_heads", 8)?,
        n_kv_heads: count("num_key_value_heads", 4)?,
        d_head: count("head_dim", 256)?,
        scale: config.opt_positive("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5),
        soft_cap: config.opt_positive("attn_logit_softcapping")?,
        qk_norm: Some(norm),
        qkv_bias: bias,
        out_bias: bias,
        reach: Reach::Global,
        rope: Some(global),
        sinks: false,
    };
    let mlp = MlpSpec {
        d_mlp: count("intermediate_size", 9216)?,
        act: act(config, "hidden_activation", "gelu_pytorch_tanh")?,
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
        d_vocab: count("vocab_size", 262_208)?,
        n_ctx: count("max_position_embeddings", 131_072)?,
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

/// The language model of a checkpoint that also sees: its description stands under `text_config`.
pub(super) fn spec_beside_vision(config: &HfConfig) -> Result<ModelSpec, SpecError> {
    config.leave_aside(&[
        "boi_token_index",
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
    spec.unembed.tied = config.flag("tie_word_embeddings", spec.unembed.tied)?;
    Ok(spec)
}

/// `layer_types` where it is given; else every n-th layer sees all, n being the pattern's length.
fn reaches(config: &HfConfig, n_layers: usize) -> Result<Vec<Reach>, SpecError> {
    let window = config.opt_count("sliding_window")?.unwrap_or(4096);
    let window = NonZeroUsize::new(window);
    let newer = config.opt_count("_sliding_window_pattern")?;
    let pattern = config.opt_count("sliding_window_pattern")?.or(newer).unwrap_or(6);
    if let Some(types) = config.opt_texts("layer_types")? {
        return reaches_of(config, &types, n_layers, window);
    }
    let reach =
        |l: usize| window.filter(|_| !(l + 1).is_multiple_of(pattern)).map_or(Reach::Global, Reach::Window);
    Ok((0..n_layers).map(reach).collect())
}

/// Rotary positions of layers without and with a window: two bases, or an object for each kind of layer.
fn ropes(config: &HfConfig) -> Result<(RopeSpec, RopeSpec), SpecError> {
    const GLOBAL: f64 = 1_000_000.0;
    let local = config.opt_positive("rope_local_base_freq")?.unwrap_or(10_000.0);
    if let Some(object) = config.opt_object("rope_parameters")? {
        let kinds = (object.opt_object("full_attention")?, object.opt_object("sliding_attention")?);
        if let (Some(full), Some(sliding)) = kinds {
            object.finish(FAMILY)?;
            let global = stretched_rope(&full, FAMILY, GLOBAL)?;
            return Ok((global, stretched_rope(&sliding, FAMILY, local)?));
        }
    }
    let local = RopeSpec { theta: local, scaling: RopeScaling::None };
    Ok((rope(config, FAMILY, GLOBAL)?, local))
}

pub(super) fn weights() -> WeightMap {
    WeightMap {
        prefixes: &["model.", "language_model.model.", "model.language_model.", ""],
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
