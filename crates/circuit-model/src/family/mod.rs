//! The families: each file turns a Hugging Face config into a description and names the checkpoint's tensors.
//!
//! Data only: no forward code may appear here, and no family's name may appear elsewhere. To add a family, add a file
//! with `spec` and `weights` and a line in [`FAMILIES`]; if a description cannot say what is new about it, the
//! description grows an enum arm.

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_oss;
mod ignored;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod tokens;

pub(crate) use tokens::{PrefixSpace, TokenizerClass, tokenizer_class};

use crate::config::{HfConfig, SpecError};
use crate::names::WeightMap;
use crate::spec::{Act, ModelSpec, Reach, RopeScaling, RopeSpec};
pub use ignored::{IgnoredPositions, KnownAs, chat_prefix_notice};
use std::num::NonZeroUsize;

/// A family of models.
pub(crate) struct Family {
    /// `model_type` in `config.json`.
    model_type: &'static str,
    spec: fn(&HfConfig) -> Result<ModelSpec, SpecError>,
    weights: fn() -> WeightMap,
}

const FAMILIES: &[Family] = &[
    Family { model_type: "llama", spec: llama::spec, weights: llama::weights },
    Family { model_type: "mistral", spec: mistral::spec, weights: mistral::weights },
    Family { model_type: "qwen2", spec: qwen2::spec, weights: qwen2::weights },
    Family { model_type: "qwen3", spec: qwen3::spec, weights: qwen3::weights },
    Family { model_type: "gemma", spec: gemma::spec, weights: gemma::weights },
    Family { model_type: "gemma2", spec: gemma2::spec, weights: gemma2::weights },
    Family { model_type: "gemma3_text", spec: gemma3::spec, weights: gemma3::weights },
    Family { model_type: "gemma3", spec: gemma3::spec_beside_vision, weights: gemma3::weights },
    Family { model_type: "gpt2", spec: gpt2::spec, weights: gpt2::weights },
    Family { model_type: "gpt_oss", spec: gpt_oss::spec, weights: gpt_oss::weights },
];

/// The description of the model that a config describes, and where its weights stand.
///
/// # Errors
/// If the family is unknown, a key is missing or impossible, or a key with an effect is not understood.
pub(crate) fn describe(config: &HfConfig) -> Result<(ModelSpec, WeightMap), SpecError> {
    let found = config.model_type()?;
    let Some(family) = FAMILIES.iter().find(|f| f.model_type == found) else {
        let known = FAMILIES.iter().map(|f| f.model_type).collect::<Vec<_>>().join(", ");
        return Err(SpecError::UnknownFamily { path: config.path().into(), found, known });
    };
    let mut spec = (family.spec)(config)?;
    let named = config.opt_text("_name_or_path")?;
    if named.is_some_and(|name| gemma3::tuned_on_chats(&name) == Some(true)) {
        spec.ignored_positions = gemma3::CHAT_PREFIX.len();
    }
    config.finish(family.model_type)?;
    if let Some(layer) = spec.layers.iter().find(|l| l.attn.n_heads % l.attn.n_kv_heads != 0) {
        let expected = format!("a divisor of the {} query heads", layer.attn.n_heads);
        return Err(config.refuse("num_key_value_heads", &expected));
    }
    Ok((spec, (family.weights)()))
}

/// The activation function that a config names.
fn act(config: &HfConfig, key: &str, default: &str) -> Result<Act, SpecError> {
    match config.opt_text(key)?.as_deref().unwrap_or(default) {
        "silu" | "swish" => Ok(Act::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Act::GeluTanh),
        "gelu" => Ok(Act::Gelu),
        "relu" => Ok(Act::Relu),
        _ => Err(config.refuse(key, "silu, gelu_pytorch_tanh, gelu_new, gelu or relu")),
    }
}

/// Rotary positions in the two spellings of Hugging Face: `rope_theta` with `rope_scaling`, or `rope_parameters`.
fn rope(config: &HfConfig, family: &str, default_theta: f64) -> Result<RopeSpec, SpecError> {
    let theta = config.opt_positive("rope_theta")?.unwrap_or(default_theta);
    let object = match config.opt_object("rope_parameters")? {
        Some(object) => Some(object),
        None => config.opt_object("rope_scaling")?,
    };
    match object {
        Some(object) => stretched_rope(&object, family, theta),
        None => Ok(RopeSpec { theta, scaling: RopeScaling::None }),
    }
}

/// Rotary positions from an object of their own.
fn stretched_rope(object: &HfConfig, family: &str, theta: f64) -> Result<RopeSpec, SpecError> {
    let theta = object.opt_positive("rope_theta")?.unwrap_or(theta);
    // Two names of one key; newer files hold both.
    let (kind, older) = (object.opt_text("rope_type")?, object.opt_text("type")?);
    if let (Some(kind), Some(older)) = (&kind, &older)
        && kind != older
    {
        return Err(object.refuse("type", "the same as rope_type"));
    }
    let kind = kind.or(older);
    let scaling = match kind.as_deref().unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: object.positive("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: object.positive("factor")?,
            low_freq_factor: object.positive("low_freq_factor")?,
            high_freq_factor: object.positive("high_freq_factor")?,
            original_max_position_embeddings: object.positive("original_max_position_embeddings")?,
        },
        "yarn" => {
            let factor = object.positive("factor")?;
            RopeScaling::Yarn {
                factor,
                beta_fast: object.opt_positive("beta_fast")?.unwrap_or(32.0),
                beta_slow: object.opt_positive("beta_slow")?.unwrap_or(1.0),
                original_max_position_embeddings: object.positive("original_max_position_embeddings")?,
                truncate: object.flag("truncate", true)?,
                attention_factor: match object.opt_positive("attention_factor")? {
                    Some(given) => given,
                    None => 1.0 + 0.1 * factor.max(1.0).ln(),
                },
            }
        }
        _ => return Err(object.refuse("rope_type", "default, linear, llama3 or yarn")),
    };
    object.finish(family)?;
    Ok(RopeSpec { theta, scaling })
}

/// The reach of each layer from Hugging Face's `layer_types`.
fn reaches_of(
    config: &HfConfig,
    types: &[String],
    n_layers: usize,
    window: Option<NonZeroUsize>,
) -> Result<Vec<Reach>, SpecError> {
    if types.len() != n_layers {
        return Err(config.refuse("layer_types", &format!("{n_layers} entries, one per layer")));
    }
    let reach = |kind: &String| match (kind.as_str(), window) {
        ("full_attention", _) => Ok(Reach::Global),
        ("sliding_attention", Some(window)) => Ok(Reach::Window(window)),
        ("sliding_attention", None) => {
            Err(config.refuse("sliding_window", "the width of the windows of layer_types"))
        }
        _ => Err(config.refuse("layer_types", "full_attention or sliding_attention")),
    };
    types.iter().map(reach).collect()
}
