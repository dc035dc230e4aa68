//! Rotary positions as Hugging Face spells them: `rope_theta` with `rope_scaling`, or `rope_parameters`.
//!
//! Where both spellings are there, the rules are those of transformers 5.24, and a note says which one is used: a filled
//! `rope_scaling` replaces `rope_parameters` (4.57 does not know the latter at all); a base inside the object wins over the one
//! outside (4.57 reads the outer one only); `rope_type` wins over `type` (so does 4.57, except in a few classes). Not here: the
//! frequencies themselves, which `crate::rope` computes.

use crate::config::{HfConfig, SpecError};
use crate::spec::{RopeScaling, RopeSpec};

/// What counts for a family where a config is silent.
pub(super) struct RopeDefaults {
    pub(super) family: &'static str,
    /// Base of the frequencies.
    pub(super) theta: f64,
    /// The longest prompt: the original context, where a config does not state one.
    pub(super) n_ctx: usize,
}

/// Keys that some kind of stretch reads.
const STRETCH: [&str; 13] = [
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "factor",
    "high_freq_factor",
    "long_factor",
    "low_freq_factor",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "rope_theta",
    "short_factor",
    "truncate",
];

/// Rotary positions of a family in which all layers have the same.
pub(super) fn rope(config: &HfConfig, defaults: &RopeDefaults) -> Result<RopeSpec, SpecError> {
    Ok(match stated(config)? {
        Some(object) => {
            let outer = config.opt_positive("rope_theta")?;
            let rope = stretched(config, &object, outer, defaults)?;
            check_outer_context(config, rope)?;
            rope
        }
        None => {
            RopeSpec { theta: config.positive_or("rope_theta", defaults.theta)?, scaling: RopeScaling::None }
        }
    })
}

/// The object that describes the stretch, in either spelling; none where both are absent, null or empty.
fn stated(config: &HfConfig) -> Result<Option<HfConfig>, SpecError> {
    let older = config.opt_filled_object("rope_scaling")?;
    let newer = config.opt_filled_object("rope_parameters")?;
    if let (Some(older), Some(newer)) = (&older, &newer)
        && !older.says_the_same_as(newer)
    {
        config.note(
            "`rope_scaling` and `rope_parameters` differ; `rope_scaling` is used, as transformers does",
        );
    }
    Ok(older.or(newer))
}

/// Rotary positions from an object of a config, with the base that stands outside of it.
pub(super) fn stretched(
    config: &HfConfig,
    object: &HfConfig,
    outer: Option<f64>,
    defaults: &RopeDefaults,
) -> Result<RopeSpec, SpecError> {
    let inner = object.opt_positive("rope_theta")?;
    if let (Some(inner), Some(outer)) = (inner, outer)
        && inner != outer
    {
        let key = object.full("rope_theta");
        config.note(&format!(
            "the rotary base is {outer} outside and {inner} in `{key}`; `{key}` is used, as transformers 5 does"
        ));
    }
    let theta = inner.or(outer).unwrap_or(defaults.theta);
    let kind = kind(config, object)?;
    let scaling = scaling(object, &kind, defaults)?;
    let unused: Vec<_> =
        object.take_unused(&STRETCH).iter().map(|key| format!("`{}`", object.full(key))).collect();
    if !unused.is_empty() {
        let place = object.full("rope_type");
        config.note(&format!("`{place}` is {kind:?}, which does not read {}", unused.join(", ")));
    }
    object.finish(defaults.family)?;
    Ok(RopeSpec { theta, scaling })
}

/// The kind of stretch: `rope_type`, or its older name `type`.
fn kind(config: &HfConfig, object: &HfConfig) -> Result<String, SpecError> {
    let (newer, older) = (object.opt_text("rope_type")?, object.opt_text("type")?);
    if let (Some(newer), Some(older)) = (&newer, &older)
        && newer != older
    {
        let (newer, older) = (object.quoted("rope_type"), object.quoted("type"));
        config.note(&format!("{newer} and {older}; `rope_type` is used, as transformers 5 does"));
    }
    Ok(newer.or(older).unwrap_or_else(|| "default".into()))
}

fn scaling(object: &HfConfig, kind: &str, defaults: &RopeDefaults) -> Result<RopeScaling, SpecError> {
    let original =
        |object: &HfConfig| object.positive_or("original_max_position_embeddings", defaults.n_ctx as f64);
    Ok(match kind {
        "default" => RopeScaling::None,
        // The stretch grows with the prompt from `max_position_embeddings` tokens on, and no prompt is longer here.
        "dynamic" => {
            object.positive("factor")?;
            RopeScaling::None
        }
        "linear" => RopeScaling::Linear { factor: object.positive("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: object.positive("factor")?,
            low_freq_factor: object.positive("low_freq_factor")?,
            high_freq_factor: object.positive("high_freq_factor")?,
            original_max_position_embeddings: original(object)?,
        },
        "yarn" => {
            let original = original(object)?;
            let factor = match object.is_null("factor") {
                true => defaults.n_ctx as f64 / original,
                false => object.positive("factor")?,
            };
            RopeScaling::Yarn {
                factor,
                beta_fast: object.positive_or("beta_fast", 32.0)?,
                beta_slow: object.positive_or("beta_slow", 1.0)?,
                original_max_position_embeddings: original,
                truncate: object.flag("truncate", true)?,
                attention_factor: attention_factor(object, factor)?,
            }
        }
        _ => {
            let key = if object.states("rope_type") { "rope_type" } else { "type" };
            return Err(object.refuse(key, "default, dynamic, linear, llama3 or yarn"));
        }
    })
}

/// By how much YaRN lengthens queries and keys.
fn attention_factor(object: &HfConfig, factor: f64) -> Result<f64, SpecError> {
    let by = |scale: f64| 1.0 + 0.1 * scale * factor.max(1.0).ln();
    // Zero counts as absent.
    let scale = |key| Ok::<_, SpecError>(object.opt_number(key)?.filter(|scale| *scale != 0.0));
    let scales = (scale("mscale")?, scale("mscale_all_dim")?);
    Ok(match (object.opt_positive("attention_factor")?, scales) {
        (Some(given), _) => given,
        (None, (Some(one), Some(all))) => by(one) / by(all),
        (None, _) => by(1.0),
    })
}

/// An original context outside the object is read by transformers 5 only, so that it must not contradict the one inside.
fn check_outer_context(config: &HfConfig, rope: RopeSpec) -> Result<(), SpecError> {
    const KEY: &str = "original_max_position_embeddings";
    let outer = config.opt_positive(KEY)?;
    match (outer, rope.scaling) {
        (
            Some(outer),
            RopeScaling::Llama3 { original_max_position_embeddings: inner, .. }
            | RopeScaling::Yarn { original_max_position_embeddings: inner, .. },
        ) if outer != inner => {
            Err(config.refuse(KEY, &format!("{inner}, as in the description of the stretch")))
        }
        _ => Ok(()),
    }
}
