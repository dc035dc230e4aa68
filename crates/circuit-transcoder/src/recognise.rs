//! What lies in a folder that is no transcoder set, and what to do about it.
//!
//! Judges names of files alone, so that a folder on this machine and one on a hub get the same answer; of a folder on this machine other
//! YAML files are looked into. Not here: folders that are sets (`config.rs`).

use crate::config::{
    CONFIG, Config, JOINT_NORMS, LAYER_CONFIG, SAE_LENS_WEIGHTS, SPARSIFY_WEIGHTS, SetKind,
    reads_like_a_config, sparsify_layer,
};
use crate::folder::layer_in;
use crate::layout::LAYOUTS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// What was recognised in a folder that is no transcoder set. [`fmt::Display`] gives half a sentence for each finding, each with `; ` in
/// front; nothing if nothing was recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    found: Vec<String>,
    below: Vec<String>,
    rename: Option<String>,
    advice: Option<String>,
}

impl fmt::Display for Recognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.iter().try_for_each(|found| write!(f, "; {found}"))
    }
}

/// Names are looked at to this depth of folders, and no more of them than this.
const DEPTH: usize = 4;
const MANY_NAMES: usize = 20_000;
/// Sets below a folder that are named.
const MANY_SETS: usize = 8;

impl Recognised {
    /// What is recognised among the names of a folder's files, relative to it.
    #[must_use]
    pub fn among<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self::among_those(names, |_| false)
    }

    /// What is recognised among names, given which YAML files read like the config of a set.
    fn among_those<'a>(names: impl Iterator<Item = &'a str>, reads_like_one: impl Fn(&str) -> bool) -> Self {
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        let mut this = Self { below: sets_below(&names), ..Self::default() };
        this.other_configs(&names, reads_like_one);
        if !this.layer_alone(&names) && this.below.is_empty() {
            let _ = this.weights(&names)
                || this.scope(&names)
                || this.no_mlp(&names)
                || this.model(&names)
                || this.pickles(&names);
        }
        this.advice = this.advice.or(this.rename.take());
        this
    }

    /// What is recognised in a folder on this machine.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let names = names_below(folder);
        let reads_like_one = |name: &str| reads_like_a_config(&folder.join(name));
        let mut this = Self::among_those(names.iter().map(String::as_str), reads_like_one);
        let whole = folder.canonicalize();
        let above = whole.as_deref().ok().and_then(Path::parent).filter(|above| Config::exists(above));
        if let Some(above) = above {
            this.found.push("the folder above it is a set".into());
            this.advice = Some(format!("give {}", above.display()));
        } else if !this.below.is_empty() {
            this.found.push(format!("there are sets below it: {}", this.below.join(", ")));
        }
        this
    }

    /// What to do, where that can be said; perhaps several lines.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// The folders below it that hold sets, relative to it.
    #[must_use]
    pub fn sets_below(&self) -> &[String] {
        &self.below
    }

    /// YAML files with other names than that of a set's config.
    fn other_configs(&mut self, names: &[&str], reads_like_one: impl Fn(&str) -> bool) {
        for name in top(names).filter(|name| is_other_config(name)) {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let rename = || Some(format!("rename {name} to {CONFIG}"));
            if reads_like_one(name) {
                self.found.push(format!("`{name}` lies there and reads like one"));
                self.rename = rename();
            } else if stem.eq_ignore_ascii_case("config") {
                self.found.push(format!("`{name}` lies there, expected the name {CONFIG}"));
                self.rename = self.rename.take().or_else(rename);
            } else {
                self.found.push(format!("`{name}` lies there, which is no config of a set"));
            }
        }
    }

    /// One layer's folder of a set that has a folder for each layer.
    fn layer_alone(&mut self, names: &[&str]) -> bool {
        let has = |name: &str| names.binary_search(&name).is_ok();
        let tool = match () {
            () if !has(LAYER_CONFIG) => return false,
            () if has(SAE_LENS_WEIGHTS) => "SAELens",
            () if has(SPARSIFY_WEIGHTS) => "sparsify",
            () => return false,
        };
        self.found.push(format!("it is the folder of one layer, written by {tool}"));
        self.advice = Some("give the folder above it, which has one such folder for each layer".into());
        true
    }

    /// The files of a known layout, to which only the config is missing.
    fn weights(&mut self, names: &[&str]) -> bool {
        let has = |pattern: &&str| top(names).any(|name| layer_in(name, pattern).is_some());
        let Some(layout) = LAYOUTS.iter().find(|layout| layout.files.first().is_some_and(&has)) else {
            return false;
        };
        let file = layout.files[0].replace("{}", "N");
        self.found.push(format!("the files {file} of a set lie there without it"));
        let hooks = match layout.for_sets.1 {
            SetKind::PerLayer => ["mlp.hook_in", "mlp.hook_out"],
            SetKind::CrossLayer => ["hook_resid_mid", "hook_mlp_out"],
        };
        self.lines(layout.for_sets.1, hooks, &[]);
        true
    }

    /// GemmaScope's transcoders, of both versions: a folder for each layer and variant.
    fn scope(&mut self, names: &[&str]) -> bool {
        let mut first: BTreeMap<usize, &str> = BTreeMap::new();
        let mut many = false;
        for name in names {
            let old = name.ends_with("/params.npz");
            let new = name.ends_with("/params.safetensors") && name.contains("transcoder");
            if let (true, Some(layer)) = (old || new, layer_of_scope(name)) {
                many |= first.contains_key(&layer);
                first.entry(layer).or_insert(name);
            }
        }
        let Some(one) = first.values().next() else { return false };
        let (which, hooks) = match one.ends_with(".npz") {
            true => ("GemmaScope", ["ln2.hook_normalized", "hook_mlp_out"]),
            false => ("GemmaScope 2", ["mlp.hook_in", "hook_mlp_out"]),
        };
        let variants = if many { ", in several variants" } else { "" };
        self.found.push(format!("transcoders of {which} lie below it{variants}"));
        let list: Vec<_> = first.into_values().collect();
        self.lines(SetKind::PerLayer, hooks, &list);
        true
    }

    /// Layers of sparsify or SAELens, none of which stands for an MLP.
    fn no_mlp(&mut self, names: &[&str]) -> bool {
        let folders = names.iter().filter_map(|name| name.strip_suffix(LAYER_CONFIG)?.strip_suffix('/'));
        let folders: Vec<_> = folders.filter(|folder| !folder.contains('/')).collect();
        let Some(first) = folders.first() else { return false };
        self.found
            .push(format!("{} folders with {LAYER_CONFIG} lie there, of no MLP (`{first}`)", folders.len()));
        self.advice = Some(
            "a run of sparsify has a folder for each MLP, such as layers.0.mlp or h.0.mlp; a set of SAELens has an `architecture` in \
             each cfg.json"
                .into(),
        );
        true
    }

    fn model(&mut self, names: &[&str]) -> bool {
        let has = |name: &str| names.binary_search(&name).is_ok();
        let is = has("config.json")
            && top(names).any(|name| name.starts_with("tokenizer") || name.starts_with("model"));
        if is {
            self.found.push("it looks like a model".into());
            self.advice = Some("a model is named with -m, a transcoder set with -t".into());
        }
        is
    }

    fn pickles(&mut self, names: &[&str]) -> bool {
        let pickle =
            names.iter().find(|name| [".pt", ".pth", ".bin", ".ckpt"].iter().any(|end| name.ends_with(end)));
        let tensors = names.iter().any(|name| name.ends_with(".safetensors") || name.ends_with(".npz"));
        let Some(pickle) = pickle.filter(|_| !tensors) else { return false };
        self.found.push(format!("its weights are pickles (`{pickle}`), which are not read"));
        self.advice = Some("save them as layer_N.safetensors with W_enc, W_dec, b_enc and b_dec".into());
        true
    }

    /// Advises to write a config with these lines.
    fn lines(&mut self, kind: SetKind, [reads, writes]: [&str; 2], list: &[&str]) {
        let rename = self.rename.take().map_or_else(String::new, |rename| format!("{rename}, or "));
        let kind = match kind {
            SetKind::PerLayer => "transcoder_set",
            SetKind::CrossLayer => "cross_layer_transcoder",
        };
        let mut text = format!(
            "{rename}write {CONFIG} with these lines, after the model and the hooks that the set was trained on:\n\
             model_name: OWNER/MODEL\nmodel_kind: {kind}\n\
             feature_input_hook: {reads}  # or hook_resid_mid, ln2.hook_normalized, mlp.hook_in\n\
             feature_output_hook: {writes}  # or mlp.hook_out, hook_mlp_out\nscan: NAME"
        );
        if !list.is_empty() {
            text += "\ntranscoders:";
            for file in list {
                text += &format!("\n- {file}");
            }
        }
        self.advice = Some(text);
    }
}

/// The names that are of no folder below.
fn top<S: AsRef<str>>(names: &[S]) -> impl Iterator<Item = &str> {
    names.iter().map(AsRef::as_ref).filter(|name| !name.contains('/'))
}

fn is_other_config(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    matches!(ending.as_deref(), Some("yaml" | "yml")) && name != CONFIG
}

/// The folders below with the config of a set.
fn sets_below(names: &[&str]) -> Vec<String> {
    let has = |name: String| names.binary_search(&name.as_str()).is_ok();
    let set = |name: &&str| {
        let (folder, file) = name.rsplit_once('/')?;
        match file {
            CONFIG | JOINT_NORMS => Some(folder.to_owned()),
            LAYER_CONFIG => {
                let (set, layer) = folder.rsplit_once('/')?;
                let is_layer = sparsify_layer(layer).is_some() || has(format!("{folder}/{SAE_LENS_WEIGHTS}"));
                is_layer.then(|| set.to_owned())
            }
            _ => None,
        }
    };
    let sets: BTreeSet<_> = names.iter().filter_map(set).collect();
    sets.into_iter().take(MANY_SETS).collect()
}

/// The layer in the path of a file of GemmaScope: `layer_3/width_16k/…` or `…/layer_3_width_16k_l0_small/…`.
fn layer_of_scope(name: &str) -> Option<usize> {
    name.split('/').find_map(|part| {
        let rest = part.strip_prefix("layer_")?;
        let digits = rest.split('_').next().unwrap_or(rest);
        digits.parse().ok()
    })
}

/// The names of the files in a folder and below, relative to it, hidden ones left out.
fn names_below(folder: &Path) -> Vec<String> {
    let (mut names, mut level) = (Vec::new(), vec![String::new()]);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for prefix in &level {
            let entries = std::fs::read_dir(folder.join(prefix)).into_iter().flatten().flatten();
            for entry in entries {
                let file = entry.file_name();
                let Some(file) = file.to_str().filter(|file| !file.starts_with('.')) else { continue };
                // A link to a folder may lead back here; a link to a file is how the cache keeps files.
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => next.push(format!("{prefix}{file}/")),
                    false => names.push(format!("{prefix}{file}")),
                }
            }
            if names.len() + next.len() > MANY_NAMES {
                return names;
            }
        }
        level = next;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(names: &[&str], parts: &[&str]) {
        let found = Recognised::among(names.iter().copied());
        let all =
            format!("{found}\n{}\n{}", found.advice().unwrap_or_default(), found.sets_below().join(","));
        assert!(parts.iter().all(|part| all.contains(part)), "{all}");
    }

    #[test]
    fn what_lies_there_is_said_with_what_to_do() {
        let lines = [
            "model_name:",
            "model_kind: transcoder_set",
            "feature_input_hook:",
            "feature_output_hook:",
            "scan:",
        ];
        says(&["layer_0.safetensors", "layer_1.safetensors"], &lines);
        says(
            &["wanb-config.yaml", "layer_0.safetensors"],
            &["`wanb-config.yaml` lies there", "write config.yaml", "model_kind: transcoder_set"],
        );
        says(
            &["config.yml", "layer_0.safetensors"],
            &[
                "`config.yml` lies there",
                "rename config.yml to config.yaml, or write config.yaml",
                "scan: NAME",
            ],
        );
        says(
            &["W_enc_0.safetensors", "W_dec_0.safetensors"],
            &["W_enc_N.safetensors", "model_kind: cross_layer_transcoder", "hook_resid_mid"],
        );
        says(
            &[
                "layer_0/width_16k/average_l0_5/params.npz",
                "layer_0/width_16k/average_l0_76/params.npz",
                "layer_10/width_16k/average_l0_5/params.npz",
                "layer_2/width_16k/average_l0_5/params.npz",
            ],
            &[
                "GemmaScope",
                "several variants",
                "feature_input_hook: ln2.hook_normalized",
                "- layer_0/width_16k/average_l0_5/params.npz\n- layer_2/width_16k/average_l0_5/params.npz\n- layer_10/",
            ],
        );
        says(
            &["transcoder_all/layer_0_width_16k_l0_small/params.safetensors"],
            &[
                "GemmaScope 2",
                "feature_input_hook: mlp.hook_in",
                "- transcoder_all/layer_0_width_16k_l0_small/params",
            ],
        );
        says(&["cfg.json", "sae.safetensors"], &["one layer", "sparsify", "give the folder above"]);
        says(&["cfg.json", "sae_weights.safetensors"], &["one layer", "SAELens"]);
        says(
            &["h.0/cfg.json", "h.0/sae.safetensors", "h.1/cfg.json"],
            &["2 folders", "of no MLP (`h.0`)", "h.0.mlp"],
        );
        says(&["run/h.0.mlp/cfg.json", "run/h.0.mlp/sae.safetensors"], &["run"]);
        says(&["a/l0/cfg.json", "a/l0/sae_weights.safetensors", "b/config.yaml"], &["a,b"]);
        says(&["config.json", "model.safetensors", "tokenizer.json"], &["looks like a model", "-m"]);
        says(&["trainer_0/ae.pt", "config.json"], &["pickles (`trainer_0/ae.pt`)", "layer_N.safetensors"]);
        assert_eq!(Recognised::among(["README.md"].into_iter()), Recognised::default());
    }
}
