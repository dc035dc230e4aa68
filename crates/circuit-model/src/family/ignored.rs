//! How many leading positions of a prompt are ignored, where a model's names tell what no weight does: that it was tuned on
//! chats, all of which begin alike.
//!
//! Not here: the first position alone, which every model ignores (`ModelSpec::ignored_positions`).

use super::gemma3;
use crate::spec::ModelSpec;
use circuit_index::{Notice, TokenId};
use std::fs;
use std::path::Path;

/// The number of leading positions that are ignored, and the source of that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredPositions {
    /// How many.
    pub count: usize,
    /// What says so, such as "the name google/…".
    pub because: String,
}

/// The names that a model is known by.
#[derive(Clone, Copy, Debug)]
pub struct KnownAs<'a> {
    /// Its name on the hub, if it comes from there.
    pub hub: Option<&'a str>,
    /// Its folder, with a config.json that may name it.
    pub folder: &'a Path,
    /// The name of the model that its transcoder set was made for.
    pub set: Option<&'a str>,
}

impl KnownAs<'_> {
    /// How many leading positions are ignored, if a name tells. What the transcoder set says counts only if the model's own
    /// names say nothing: a set that was made for a tuned model may be used on the one that it was tuned from.
    #[must_use]
    pub fn ignored_positions(&self) -> Option<IgnoredPositions> {
        let hub = self.hub.map(|name| (format!("the name {name}"), name.to_owned()));
        let config = name_in_config(&self.folder.join("config.json"));
        let config = config.map(|name| (format!("`_name_or_path` {name} in config.json"), name));
        // In the cache the folder's name is a commit, and that of the repository stands above.
        let folder = if self.hub.is_some() { None } else { folder_name(self.folder) };
        let folder = folder.map(|name| (format!("the folder's name {name}"), name));
        let own: Vec<_> = [hub, config, folder].into_iter().flatten().collect();
        let tuned = |name: &str| gemma3::tuned_on_chats(name);
        let found = own.iter().find(|(_, name)| tuned(name) == Some(true)).cloned().or_else(|| {
            let silent = own.iter().all(|(_, name)| tuned(name).is_none());
            let set = self.set.filter(|name| silent && tuned(name) == Some(true))?;
            Some((format!("`model_name` {set} of the transcoder set"), set.to_owned()))
        });
        found.map(|(because, _)| IgnoredPositions { count: gemma3::CHAT_PREFIX.len(), because })
    }
}

/// A note for a text that begins like every chat of its model's family, if not all of these positions are ignored.
#[must_use]
pub fn chat_prefix_notice(spec: &ModelSpec, ignored: usize, tokens: &[TokenId]) -> Option<Notice> {
    let prefix = gemma3::CHAT_PREFIX;
    let begins = tokens.len() >= prefix.len() && tokens.iter().zip(prefix).all(|(token, id)| token.0 == id);
    (gemma3::has(&spec.architecture) && begins && ignored < prefix.len()).then(|| {
        let count = prefix.len();
        Notice::note(format!(
            "the text begins with the {count} tokens of every chat, of which {ignored} {} ignored, since no name says that \
             the model was tuned on chats; if it was, give --ignored-positions {count}",
            if ignored == 1 { "is" } else { "are" }
        ))
    })
}

/// What a config calls its model. A config that cannot be read says nothing here; whoever opens the model says why.
fn name_in_config(path: &Path) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    config.get("_name_or_path")?.as_str().map(str::to_owned)
}

/// The name of a folder, or that of the repository if it is a snapshot in the cache of the hub.
fn folder_name(folder: &Path) -> Option<String> {
    let whole = folder.canonicalize().ok()?;
    let parent = whole.parent()?;
    let named = if parent.ends_with("snapshots") { parent.parent()? } else { &whole };
    named.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn found(hub: Option<&str>, folder: &str, config: Option<&str>, set: Option<&str>) -> Option<String> {
        // Each call has a folder of its own: tests run at the same time.
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let (process, nth) = (std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(format!("circuit-model-ignored-{process}-{nth}"));
        let folder = root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        if let Some(name) = config {
            fs::write(folder.join("config.json"), format!("{{\"_name_or_path\": \"{name}\"}}")).unwrap();
        }
        let found = KnownAs { hub, folder: &folder, set }.ignored_positions();
        fs::remove_dir_all(&root).unwrap();
        assert!(found.as_ref().is_none_or(|found| found.count == 4));
        found.map(|found| found.because)
    }

    #[test]
    fn each_name_of_a_model_can_tell() {
        let it = "google/gemma-3-1b-it";
        let says = |found: Option<String>, part: &str| {
            assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?}");
        };
        says(found(Some(it), "0123abc", None, None), "the name google/gemma-3-1b-it");
        says(found(None, "model", Some(it), None), "`_name_or_path`");
        says(found(None, "gemma-3-1b-it", None, None), "the folder's name gemma-3-1b-it");
        says(found(None, "models--google--gemma-3-1b-it/snapshots/0123abc", None, None), "the folder's name");
        says(found(None, "model", None, Some(it)), "`model_name` google/gemma-3-1b-it of the transcoder set");
        assert_eq!(found(None, "model", None, None), None);
        assert_eq!(found(None, "model", None, Some("google/gemma-3-1b-pt")), None);
    }

    #[test]
    fn a_set_does_not_overrule_the_model_s_own_name() {
        let it = Some("google/gemma-3-1b-it");
        assert_eq!(found(Some("google/gemma-3-1b-pt"), "0123abc", None, it), None);
        assert_eq!(found(None, "gemma-3-1b-pt", None, it), None);
        assert_eq!(found(None, "model", Some("google/gemma-3-1b"), it), None);
    }
}
