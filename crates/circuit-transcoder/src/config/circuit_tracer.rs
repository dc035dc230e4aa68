//! `config.yaml`, the config that the Python library reads.

use super::keys::{self, Keys};
use super::{CONFIG, Config, ConfigFamily, Files, READABLE, Selection, SetKind, USUAL_K, WRITABLE};
use crate::{SetFolder, TranscoderError};
use circuit_index::LayerSite;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The keys that are used.
const USED: &[&str] = &[
    "model_name",
    "model_kind",
    "feature_input_hook",
    "feature_output_hook",
    "scan",
    "activation",
    "k",
    "transcoders",
];

/// Keys of other loaders that change nothing: which layout it is, the tensors say themselves, and where the set came from, its folder does.
const WITHOUT_EFFECT: &[&str] =
    &["special_load_fn", "cross_batch_decoder_cache_bytes", "repo_id", "revision", "subfolder"];

/// What a config names before its files have to be there: a model, a scan, and a list of files.
pub(super) fn outline(path: &Path, text: Option<&str>) -> Result<super::Outline, TranscoderError> {
    let keys = match text {
        Some(text) => Keys::parse(path, text)?,
        None => Keys::read(path)?,
    };
    Ok((keys.text("model_name")?, keys.text("scan")?, keys.texts("transcoders")?))
}

/// Whether a file reads like such a config, whatever it is called.
pub(super) fn reads_like_one(path: &Path) -> bool {
    let keys = keys::text_of(path).and_then(|text| Keys::parse(path, &text));
    keys.is_ok_and(|keys| keys.get("model_kind").is_some() && keys.get("feature_input_hook").is_some())
}

pub(super) fn open(set: &SetFolder) -> Result<Config, TranscoderError> {
    let keys = Keys::read(&set.path.join(CONFIG))?;
    let kind = match keys.text("model_kind")?.as_deref() {
        Some("transcoder_set") => SetKind::PerLayer,
        Some("cross_layer_transcoder") => SetKind::CrossLayer,
        _ => return Err(keys.wrong("model_kind", "transcoder_set or cross_layer_transcoder")),
    };
    let files = match keys.texts("transcoders")? {
        None => Files::Named,
        Some(list) => Files::Listed(local(&keys, set, &list)?),
    };
    let unknown = keys.unknown(|key| USED.contains(&key) || WITHOUT_EFFECT.contains(&key)).collect();
    Ok(Config {
        model_name: keys.text("model_name")?,
        scan: keys.text("scan")?,
        reads: site(&keys, "feature_input_hook", READABLE)?,
        writes: site(&keys, "feature_output_hook", WRITABLE)?,
        selection: selection(&keys)?,
        notices: keys::unknown_keys(keys.path(), &unknown).into_iter().collect(),
        ..Config::new(keys.path(), ConfigFamily::CircuitTracer, kind, files)
    })
}

fn site(keys: &Keys, key: &str, allowed: &[LayerSite]) -> Result<LayerSite, TranscoderError> {
    let site = keys.text(key)?.and_then(|name| name.parse().ok()).filter(|site| allowed.contains(site));
    let names = || allowed.iter().map(|site| site.name()).collect::<Vec<_>>().join(", ");
    site.ok_or_else(|| keys.wrong(key, &format!("one of the hooks {}", names())))
}

fn selection(keys: &Keys) -> Result<Selection, TranscoderError> {
    let (activation, k) = (keys.text("activation")?, keys.count("k")?);
    match (activation.as_deref(), k) {
        (Some("topk" | "relu_topk"), Some(0)) => Err(keys.bad("activation topk needs a positive `k`")),
        (Some("topk"), k) => Ok(Selection::TopK(k.unwrap_or(USUAL_K))),
        (Some("relu_topk"), Some(k)) => Ok(Selection::ReluTopK(k)),
        (Some("relu_topk"), None) => Err(keys.bad("activation relu_topk needs `k`")),
        (None | Some("relu"), None) => Ok(Selection::Threshold),
        (Some("jump_relu" | "jumprelu"), None) => Ok(Selection::JumpRelu),
        (None | Some("relu" | "jump_relu" | "jumprelu"), Some(_)) => {
            Err(keys.bad("`k` is given, but activation is not topk"))
        }
        (Some(_), _) => Err(keys.wrong("activation", "relu, jump_relu, topk or relu_topk")),
    }
}

/// The local files of a list, one for each layer and in their order.
fn local(keys: &Keys, set: &SetFolder, list: &[String]) -> Result<Vec<PathBuf>, TranscoderError> {
    let file = |file: &String| match set.elsewhere.get(file) {
        Some(local) => Ok(local.clone()),
        None => beside(file).map_err(|reason| keys.bad(reason)),
    };
    let files: Vec<PathBuf> = list.iter().map(file).collect::<Result<_, _>>()?;
    let mut seen = BTreeMap::new();
    for (nth, (path, name)) in files.iter().zip(list).enumerate() {
        if let Some(first) = seen.insert(path, nth) {
            return Err(keys.bad(format!(
                "`transcoders` lists `{name}` twice, for layers {first} and {nth}; expected one file for each layer"
            )));
        }
    }
    in_order(list).map_err(|reason| keys.bad(reason))?;
    Ok(files)
}

/// Whether the layers that the names of files tell come once and in their order. A list says nothing else about which file is which
/// layer's, so that one in another order, as by alphabet, would give wrong numbers.
fn in_order(list: &[String]) -> Result<(), String> {
    let Some(layers) = list.iter().map(|name| layer_in_name(name)).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    for (pair, names) in layers.windows(2).zip(list.windows(2)) {
        if pair[0] >= pair[1] {
            let [first, second] = [&names[0], &names[1]];
            let reason = if layers.iter().filter(|&&layer| layer == pair[1]).count() > 1 {
                format!("lists two files of layer {}", pair[1])
            } else {
                "does not list layers in their order".into()
            };
            return Err(format!("`transcoders` {reason}: `{second}` comes after `{first}`"));
        }
    }
    Ok(())
}

/// The layer that the name of a file tells: the number behind the last `layer`.
fn layer_in_name(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    let found = name.match_indices("layer").filter_map(|(at, word)| {
        let rest = &name[at + word.len()..];
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let rest = rest.strip_prefix(['_', '-', '.', '/']).unwrap_or(rest);
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        digits.parse().ok()
    });
    found.last()
}

/// A file that a config names, which must lie in the same folder or below.
fn beside(file: &str) -> Result<PathBuf, String> {
    if super::is_address(file) {
        return Err(format!("transcoders: `{file}` is an address on the hub and was not brought here"));
    }
    let parts = || Path::new(file).components().filter(|part| *part != Component::CurDir);
    match parts().all(|part| matches!(part, Component::Normal(_))) && parts().next().is_some() {
        true => Ok(parts().collect()),
        false => Err(format!("transcoders: `{file}` lies outside this folder")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(list: &[&str]) -> Option<String> {
        in_order(&list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).err()
    }

    #[test]
    fn a_list_has_each_layer_once_and_in_order() {
        for list in [
            &["layer_0.safetensors", "layer_1.safetensors"][..],
            &["layer_1.npz", "layer_2.npz"],
            &["clt/layer-0.safetensors", "clt/layer-10.safetensors"],
            &["layer_0/width_16k/average_l0_76/params.npz", "layer_1/width_16k/average_l0_5/params.npz"],
            &["a.safetensors", "b.safetensors"],
            &["layer_1.safetensors", "first.safetensors"],
            &["all_layers.safetensors"],
        ] {
            assert_eq!(refused(list), None, "{list:?}");
        }
        let by_alphabet = refused(&["layer_1.npz", "layer_10.npz", "layer_2.npz"]).unwrap();
        assert!(by_alphabet.contains("order: `layer_2.npz` comes after `layer_10.npz`"), "{by_alphabet}");
        let twice =
            refused(&["layer_0/l0_76/params.npz", "layer_0/l0_5/params.npz", "layer_1/p.npz"]).unwrap();
        assert!(twice.contains("two files of layer 0"), "{twice}");
    }

    #[test]
    fn files_lie_in_the_folder() {
        assert_eq!(beside("./a/b.npz"), Ok("a/b.npz".into()));
        for outside in ["", ".", "../a", "/a", "a/../b"] {
            assert!(beside(outside).unwrap_err().contains("outside"), "{outside}");
        }
        assert!(beside("hf://a/b/c").unwrap_err().contains("hub"));
    }
}
