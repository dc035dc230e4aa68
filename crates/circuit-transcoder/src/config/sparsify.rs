//! `cfg.json` of EleutherAI's sparsify: transcoders of whole MLPs, from what each reads to what it puts out.
//!
//! The keys and their meaning follow the library's `SparseCoderConfig`, its branch for cross-layer transcoders included.

use super::keys::{Keys, unknown_keys};
use super::layers::{LayerFolder, by_layer};
use super::{Config, ConfigFamily, Files, Selection, SetKind};
use crate::TranscoderError;
use circuit_index::{LayerSite, Notice};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The keys that are used.
const USED: &[&str] = &["k", "activation", "transcode", "skip_connection"];

/// Keys that do not change what a trained transcoder computes.
const WITHOUT_EFFECT: &[&str] = &[
    // The tensors say it themselves.
    "d_in",
    "d_out",
    "num_latents",
    "expansion_factor",
    "dtype",
    // What training was like.
    "normalize_decoder",
    "multi_topk",
    "tp_output",
    "train_post_encoder",
    "lookup_max_order",
    "gram_table_hash",
    // How several targets are decoded or several layers are joined; `n_targets` and `coalesce_topk` say that there are none.
    "divide_cross_layer",
    "per_source_tied",
    "secondary_target_tied",
    "topk_coalesced",
];

/// A key that changes the computation in a way that is not implemented, unless it has one of its neutral values.
struct Refused {
    key: &'static str,
    neutral: fn() -> Vec<Value>,
    /// What it asks for.
    means: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused { key: "n_targets", neutral: || vec![json!(0)], means: "features that write at several layers" },
    Refused {
        key: "n_sources",
        neutral: || vec![json!(0), json!(1)],
        means: "layers at which features of several layers write",
    },
    Refused {
        key: "coalesce_topk",
        neutral: || vec![json!("none")],
        means: "features chosen over several layers",
    },
    Refused { key: "normalize_io", neutral: || vec![json!(false)], means: "normalised inputs and outputs" },
    Refused {
        key: "post_encoder_scale",
        neutral: || vec![json!(false)],
        means: "activations with a scale for each feature",
    },
    Refused { key: "signed", neutral: || vec![json!(false)], means: "activations below 0" },
    Refused { key: "embed_skip", neutral: || vec![json!(false)], means: "a skip from the embedding" },
    Refused { key: "gram_lookup", neutral: || vec![json!(false)], means: "a table of n-grams" },
];

/// A warning and not an error: encoders were rounded in training, not what is stored of them.
const FP8: &str = "use_fp8";

/// The layer of an MLP's hook point: `layers.3.mlp`, `h.3.mlp`, `transformer.h.3.mlp`, `model.layers.3.mlp`. Hook points are called as
/// modules are in Transformers.
pub(super) fn mlp_layer(hook_point: &str) -> Option<usize> {
    let mut parts = hook_point.rsplit('.');
    if parts.next() != Some("mlp") {
        return None;
    }
    let (number, list) = (parts.next()?, parts.next()?);
    let is_list = ["layers", "h", "blocks"].contains(&list);
    let named = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    (is_list && digits && parts.all(named)).then(|| number.parse().ok()).flatten()
}

pub(super) fn open(folder: &Path, layers: &[LayerFolder]) -> Result<Config, TranscoderError> {
    let numbered = layers.iter().filter_map(|layer| Some((mlp_layer(&layer.name)?, layer)));
    let files = Files::Folders(by_layer(folder, numbered)?);
    let mut first: Option<(Selection, Option<bool>)> = None;
    let (mut unknown, mut rounded) = (BTreeSet::new(), false);
    for LayerFolder { keys, .. } in layers {
        check(keys)?;
        let (here, skip) = (selection(keys)?, keys.flag("skip_connection")?);
        let before = *first.get_or_insert((here, skip));
        if before.0 != here {
            return Err(keys.wrong("k", "that of the other layers"));
        }
        if before.1 != skip {
            return Err(keys.wrong("skip_connection", "that of the other layers"));
        }
        rounded |= keys.flag(FP8)? == Some(true);
        unknown.extend(keys.unknown(is_known));
    }
    let (selection, skip) = first.unwrap_or((Selection::Threshold, None));
    let path = layers.first().map_or(folder, |layer| layer.keys.path());
    let rounded = rounded.then(|| {
        let reason = "products were rounded to 8 bits in training, and are not here";
        Notice::warning(format!("{}: `{FP8}` is true: {reason}", path.display()))
    });
    Ok(Config {
        reads: LayerSite::MlpIn,
        writes: LayerSite::MlpRawOut,
        selection,
        skip,
        notices: rounded.into_iter().chain(unknown_keys(path, &unknown)).collect(),
        ..Config::new(path, ConfigFamily::Sparsify, SetKind::PerLayer, files)
    })
}

fn is_known(key: &str) -> bool {
    USED.contains(&key)
        || WITHOUT_EFFECT.contains(&key)
        || key == FP8
        || REFUSED.iter().any(|refused| refused.key == key)
}

/// Refuses what is not implemented, by name.
fn check(keys: &Keys) -> Result<(), TranscoderError> {
    if keys.flag("transcode")? == Some(false) {
        return Err(
            keys.bad("`transcode` is false: it is an autoencoder of one place, expected a transcoder")
        );
    }
    for Refused { key, neutral, means } in REFUSED {
        let values = neutral();
        if keys.get(key).is_some_and(|value| !values.contains(value)) {
            let values = values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
            return Err(keys.wrong(key, &format!("{values}: {means} are not implemented")));
        }
    }
    Ok(())
}

fn selection(keys: &Keys) -> Result<Selection, TranscoderError> {
    match keys.text("activation")?.as_deref() {
        None | Some("topk") => match keys.count("k")? {
            None | Some(0) => Err(keys.wrong("k", "a positive number")),
            Some(k) => Ok(Selection::ReluTopK(k)),
        },
        Some(_) => {
            Err(keys.wrong("activation", "topk: no other activation function is implemented for sparsify"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_points_of_mlps_tell_their_layer() {
        for (name, layer) in [
            ("layers.0.mlp", 0),
            ("h.11.mlp", 11),
            ("transformer.h.3.mlp", 3),
            ("model.layers.25.mlp", 25),
            ("model.language_model.layers.7.mlp", 7),
            ("gpt_neox.layers.2.mlp", 2),
        ] {
            assert_eq!(mlp_layer(name), Some(layer), "{name}");
        }
        // A whole block, attention, a part of an MLP, and names that are no hook points.
        for name in [
            "h.0",
            "layers.3",
            "h.0.attn",
            "layers.1.mlp.act_fn",
            "mlp",
            "0.mlp",
            "h.x.mlp",
            "h..mlp",
            "a b.h.0.mlp",
        ] {
            assert_eq!(mlp_layer(name), None, "{name}");
        }
    }
}
