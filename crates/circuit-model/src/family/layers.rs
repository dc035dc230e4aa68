//! Which keys the queries of each layer see, as Hugging Face spells it: `layer_types`, or a window with a rule. Activation
//! functions by name.
//!
//! Not here: the rules of single families.

use crate::config::{HfConfig, SpecError};
use crate::spec::{Act, Reach};
use std::num::NonZeroUsize;

/// The activation function that a key names, or the class default without the key.
pub(super) fn act(config: &HfConfig, key: &str, default: &str) -> Result<Act, SpecError> {
    let found = by_name(config.opt_text(key)?.as_deref().unwrap_or(default));
    found.ok_or_else(|| config.refuse(key, "silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu or relu"))
}

/// The activation function of a family that reads one of the keys `hidden_act` and `hidden_activation` and ignores the other.
pub(super) fn hidden_act(config: &HfConfig, read: &str, default: &str) -> Result<Act, SpecError> {
    let found = act(config, read, default)?;
    note_ignored_act(config, read, found)?;
    Ok(found)
}

/// A note where the other name of the activation function's key names another function.
pub(super) fn note_ignored_act(config: &HfConfig, read: &str, found: Act) -> Result<(), SpecError> {
    let other = if read == "hidden_act" { "hidden_activation" } else { "hidden_act" };
    if let Some(ignored) = config.opt_text(other)?
        && by_name(&ignored) != Some(found)
    {
        let read = config.quoted(read);
        config.note(&format!("`{other}` is {ignored:?}, which transformers ignores for this family; {read}"));
    }
    Ok(())
}

fn by_name(name: &str) -> Option<Act> {
    match name {
        "silu" | "swish" => Some(Act::Silu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu_python_tanh" | "gelu_accurate" => {
            Some(Act::GeluTanh)
        }
        "gelu" | "gelu_python" => Some(Act::Gelu),
        "quick_gelu" => Some(Act::QuickGelu),
        "relu" => Some(Act::Relu),
        _ => None,
    }
}

/// The reach of each layer: `layer_types` where it is there, else what the family's rule says, whose older key is `rule_key`.
pub(super) fn reaches(
    config: &HfConfig,
    n_layers: usize,
    window: Option<NonZeroUsize>,
    rule_key: &str,
    rule: impl Fn(usize) -> Kind,
) -> Result<Vec<Reach>, SpecError> {
    let by_rule: Vec<_> = (0..n_layers).map(rule).collect();
    let kinds = match config.opt_texts("layer_types")? {
        Some(types) => kinds_of(config, &types, n_layers)?,
        None => by_rule.clone(),
    };
    if kinds != by_rule && config.states(rule_key) {
        config.note(&format!(
            "`layer_types` and `{rule_key}` differ; `layer_types` is used, as transformers does"
        ));
    }
    let reach = |kind: Kind| match (kind, window) {
        (Kind::Full, _) => Ok(Reach::Global),
        (Kind::Sliding, Some(window)) => Ok(Reach::Window(window)),
        (Kind::Sliding, None) => Err(config.refuse("sliding_window", "the width of the windows")),
    };
    kinds.into_iter().map(reach).collect()
}

/// The two kinds of layers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Queries see everything before them.
    Full,
    /// Queries see a window.
    Sliding,
}

fn kinds_of(config: &HfConfig, types: &[String], n_layers: usize) -> Result<Vec<Kind>, SpecError> {
    if types.len() != n_layers {
        return Err(config.refuse("layer_types", &format!("{n_layers} entries, one per layer")));
    }
    let kind = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(Kind::Full),
        "sliding_attention" => Ok(Kind::Sliding),
        _ => Err(config.refuse("layer_types", "full_attention or sliding_attention")),
    };
    types.iter().map(kind).collect()
}

/// Checks a family whose layers all see everything: a window that is stated must not be in use, or be as wide as any prompt.
pub(super) fn refuse_windows(config: &HfConfig, n_ctx: usize) -> Result<(), SpecError> {
    let window = config.opt_index("sliding_window")?;
    let switch = config.states("use_sliding_window");
    let off = config.is_false("use_sliding_window");
    config.leave_aside(&["max_window_layers"]);
    match window {
        Some(window) if window < n_ctx && !off => Err(config
            .refuse("sliding_window", &format!("null, or at least {n_ctx}: this family has no windows"))),
        None if switch => Ok(()), // Refused by the table of keys.
        _ => {
            config.leave_aside(&["use_sliding_window"]);
            Ok(())
        }
    }
}
