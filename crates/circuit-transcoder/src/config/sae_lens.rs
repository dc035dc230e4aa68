//! `cfg.json` of SAELens (version 6 and later): one folder for each layer, beside its `sae_weights.safetensors`.
//!
//! What each architecture computes follows the library's `Transcoder` classes: `acts = f(x W_enc + b_enc)` and `acts W_dec + b_dec`, in a
//! skip transcoder `+ x W_skip^T`. With `apply_b_dec_to_input` what is encoded is `x - b_dec`, as in its autoencoders: `layout.rs` folds
//! that into `b_enc`. A layer is that of its hook names, whatever its folder is called.

use super::keys::{Keys, unknown_keys};
use super::layers::{LayerFolder, by_layer};
use super::{Config, ConfigFamily, Files, READABLE, Selection, SetKind, WRITABLE};
use crate::TranscoderError;
use circuit_index::{LayerSite, Notice, Site};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The keys that are used, or refused where they ask for what is not implemented.
const USED: &[&str] =
    &["architecture", "apply_b_dec_to_input", "normalize_activations", "reshape_activations", "metadata"];

/// Keys that do not change what a trained transcoder computes: sizes, which the tensors say, and how it was stored.
const WITHOUT_EFFECT: &[&str] = &["d_in", "d_out", "d_sae", "dtype", "device", "sae_lens_version"];

/// The keys of `metadata` that are used or refused.
const METADATA_USED: &[&str] = &[
    "model_name",
    "hook_name",
    "hook_name_out",
    "hook_head_index",
    "hook_head_index_out",
    "model_from_pretrained_kwargs",
];

/// The keys of `metadata` that tell how it was trained.
const METADATA_WITHOUT_EFFECT: &[&str] = &[
    "sae_lens_version",
    "sae_lens_training_version",
    "model_class_name",
    "prepend_bos",
    "exclude_special_tokens",
    "neuronpedia_id",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "hf_hook_name",
    "hf_hook_name_out",
];

/// Ways of loading a model in TransformerLens that change what a transcoder reads. Models are used as they are stored.
const MODEL_CHANGES: &[&str] = &["fold_ln", "center_writing_weights", "refactor_factored_attn_matrices"];

/// What a layer's config says of it.
#[derive(Clone, PartialEq)]
struct LayerConfig {
    architecture: Architecture,
    reads: LayerSite,
    writes: LayerSite,
    model_name: Option<String>,
}

/// The architectures that are transcoders.
#[derive(Clone, Copy, PartialEq)]
struct Architecture {
    name: &'static str,
    selection: Selection,
    skip: bool,
}

const ARCHITECTURES: [Architecture; 4] = [
    Architecture { name: "transcoder", selection: Selection::Relu, skip: false },
    Architecture { name: "skip_transcoder", selection: Selection::Relu, skip: true },
    Architecture { name: "jumprelu_transcoder", selection: Selection::JumpRelu, skip: false },
    Architecture { name: "jumprelu_skip_transcoder", selection: Selection::JumpRelu, skip: true },
];

pub(super) fn open(folder: &Path, layers: &[LayerFolder]) -> Result<Config, TranscoderError> {
    let mut first: Option<LayerConfig> = None;
    let (mut numbered, mut less_b_dec) = (Vec::new(), BTreeSet::new());
    let (mut unknown, mut silent) = (BTreeSet::new(), None);
    for layer in layers {
        let keys = &layer.keys;
        let metadata = keys.object("metadata")?;
        let (number, here) = read(keys, &metadata)?;
        let before = first.get_or_insert_with(|| here.clone());
        if *before != here {
            return Err(differs(&layer.name, &layers[0].name, folder, before, &here));
        }
        match keys.flag("apply_b_dec_to_input")? {
            Some(true) => drop(less_b_dec.insert(number)),
            Some(false) => {}
            None => silent = silent.or(Some(keys.path())),
        }
        numbered.push((number, layer));
        let of_metadata = |key: &str| METADATA_USED.contains(&key) || METADATA_WITHOUT_EFFECT.contains(&key);
        // What is metadata now stood beside the other keys before version 6.
        let of_layer = |key: &str| USED.contains(&key) || WITHOUT_EFFECT.contains(&key) || of_metadata(key);
        unknown.extend(keys.unknown(of_layer).chain(metadata.unknown(of_metadata)));
    }
    let files = Files::Folders(by_layer(folder, numbered.into_iter())?);
    let nothing = || TranscoderError::Config { path: folder.into(), reason: "no layer of SAELens".into() };
    let LayerConfig { architecture, reads, writes, model_name } = first.ok_or_else(nothing)?;
    let path = layers.first().map_or(folder, |layer| layer.keys.path());
    let silent = silent.map(|path| {
        let taken = "`apply_b_dec_to_input` is missing, false is taken: SAELens's transcoders encode their input as it is";
        Notice::warning(format!("{}: {taken}", path.display()))
    });
    Ok(Config {
        reads,
        writes,
        model_name,
        selection: architecture.selection,
        skip: Some(architecture.skip),
        less_b_dec,
        notices: silent.into_iter().chain(unknown_keys(path, &unknown)).collect(),
        ..Config::new(path, ConfigFamily::SaeLens, SetKind::PerLayer, files)
    })
}

/// The layer of a config, and what it says. What is not implemented is refused by name.
fn read(keys: &Keys, metadata: &Keys) -> Result<(usize, LayerConfig), TranscoderError> {
    let architecture = architecture(keys)?;
    neutral(
        keys,
        "normalize_activations",
        &[json!("none"), json!(false)],
        "inputs are not normalised here. SAELens folds a scale into the weights with fold_activation_norm_scaling_factor",
    )?;
    neutral(keys, "reshape_activations", &[json!("none")], "a hook of whole activations")?;
    for key in ["hook_head_index", "hook_head_index_out"] {
        neutral(metadata, key, &[], "no single head")?;
    }
    let loading = metadata.object("model_from_pretrained_kwargs")?;
    for key in MODEL_CHANGES {
        neutral(&loading, key, &[json!(false)], "a model as it is stored")?;
    }
    let either = |key: &str| if metadata.get(key).is_some() { metadata } else { keys };
    let (layer, reads) = hook(either("hook_name"), "hook_name", READABLE)?;
    let (layer_out, writes) = hook(either("hook_name_out"), "hook_name_out", WRITABLE)?;
    if layer != layer_out {
        let expected = format!("a hook of block {layer}, as in `hook_name`");
        return Err(either("hook_name_out").wrong("hook_name_out", &expected));
    }
    let model_name = either("model_name").text("model_name")?;
    Ok((layer, LayerConfig { architecture, reads, writes, model_name }))
}

fn architecture(keys: &Keys) -> Result<Architecture, TranscoderError> {
    let name = keys.text("architecture")?;
    let known = ARCHITECTURES.iter().find(|known| name.as_deref() == Some(known.name));
    let names = || ARCHITECTURES.map(|known| known.name).join(", ");
    known.copied().ok_or_else(|| {
        keys.wrong(
            "architecture",
            &format!("one of SAELens's transcoders, {}; autoencoders cannot stand for MLPs", names()),
        )
    })
}

/// The block and the site of a hook's name.
fn hook(keys: &Keys, key: &str, allowed: &[LayerSite]) -> Result<(usize, LayerSite), TranscoderError> {
    let site = keys.text(key)?.and_then(|name| name.parse().ok());
    match site {
        Some(Site::Block(layer, site)) if allowed.contains(&site) => Ok((layer.get(), site)),
        _ => {
            let names = allowed.iter().map(|site| format!("blocks.N.{site}")).collect::<Vec<_>>().join(", ");
            Err(keys.wrong(key, &format!("one of the hooks {names}")))
        }
    }
}

/// Refuses a value that changes the computation.
fn neutral(keys: &Keys, key: &str, values: &[Value], expected: &str) -> Result<(), TranscoderError> {
    match keys.get(key) {
        Some(value) if !values.contains(value) => {
            let first = values.first().map_or_else(String::new, |value| format!("{value}: "));
            Err(keys.wrong(key, &format!("{first}{expected}")))
        }
        _ => Ok(()),
    }
}

fn differs(
    name: &str,
    first: &str,
    folder: &Path,
    before: &LayerConfig,
    here: &LayerConfig,
) -> TranscoderError {
    let of = |config: &LayerConfig| {
        let model = config.model_name.as_deref().unwrap_or("no model");
        format!("{} from {} to {} of {model}", config.architecture.name, config.reads, config.writes)
    };
    let reason =
        format!("`{name}` is a {} and `{first}` a {}, expected the layers of one set", of(here), of(before));
    TranscoderError::Config { path: folder.into(), reason }
}
