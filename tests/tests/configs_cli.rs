//! Configs as a user meets them: messages, warnings and exit codes of the binary, and what is asked of a hub before a model is
//! refused.

use crate::cli::{run, text};
use crate::hub::{World, ids, path};
use circuit_tests::fixture;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A copy of a fixture's model with another config.
fn model(case: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let (folder, from) = (tempfile::tempdir().unwrap(), fixture(case).join("model"));
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let config = folder.path().join("config.json");
    let mut value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    change(&mut value);
    fs::write(config, value.to_string()).unwrap();
    folder
}

/// `attribute` with a fixture's set and prompt.
fn attribute(case: &str, model: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let set = fixture(case).join("transcoders");
    let ids = ids(case);
    let args = ["attribute", "--json", "--max-feature-nodes", "0", "-m", path(model), "-t", path(&set)];
    let output = run(&[&args[..], &["--prompt-ids", &ids], more].concat());
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        object.retain(|key, _| key == "targets" || key == "active_features" || key == "tokens");
    }
    (output.status.code(), json, text(&output.stderr))
}

/// Rewrites a model's tensors under other names; those of the unembedding's own are added.
fn rename(folder: &Path, name: impl Fn(&str) -> String, head: Option<&str>) {
    let file = folder.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut views: Vec<(String, TensorView<'_>)> =
        tensors.tensors().into_iter().map(|(old, view)| (name(&old), view)).collect();
    if let Some(head) = head {
        views.push((head.to_owned(), tensors.tensor("model.embed_tokens.weight").unwrap()));
    }
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(file, written).unwrap();
}

#[test]
fn an_untied_model_without_a_head_is_refused_by_both_names() {
    const CASE: &str = "qwen3-plt-relu";
    for (value, said) in [
        (json!(false), "`tie_word_embeddings` is false"),
        (Value::Null, "`tie_word_embeddings` is absent, which means false"),
    ] {
        let folder = model(CASE, |config| match value.is_null() {
            true => drop(config.as_object_mut().unwrap().remove("tie_word_embeddings")),
            false => config["tie_word_embeddings"] = value.clone(),
        });
        let (code, _, stderr) = attribute(CASE, folder.path(), &[]);
        assert_eq!(code, Some(3), "{stderr}");
        for part in ["lm_head.weight", said, "hint: ", "\"tie_word_embeddings\": true"] {
            assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    }
}

/// A model with a vision tower whose head has the name of an older layout, and whose two keys of the tie disagree.
#[test]
fn an_untied_head_in_an_older_place_loads_and_a_note_says_which_key_of_the_tie_is_used() {
    const CASE: &str = "gemma3-plt-jumprelu";
    let wrapped = |outer: Option<bool>, inner: bool, head: Option<&str>| {
        let folder = model(CASE, |config| {
            config["tie_word_embeddings"] = inner.into();
            let text = config.take();
            *config =
                json!({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}});
            if let Some(outer) = outer {
                config["tie_word_embeddings"] = outer.into();
            }
        });
        rename(folder.path(), |name| format!("language_model.{name}"), head);
        folder
    };
    let plain = attribute(CASE, &fixture(CASE).join("model"), &[]);
    assert_eq!(plain.0, Some(0), "{}", plain.2);
    for head in ["language_model.lm_head.weight", "lm_head.weight"] {
        let found = attribute(CASE, wrapped(None, false, Some(head)).path(), &[]);
        assert_eq!((found.0, &found.1), (Some(0), &plain.1), "{}", found.2);
    }
    let both = "note: ";
    let found =
        attribute(CASE, wrapped(Some(false), true, Some("language_model.lm_head.weight")).path(), &[]);
    assert_eq!((found.0, &found.1), (Some(0), &plain.1), "{}", found.2);
    assert!(found.2.contains(both) && found.2.contains("the outer one is used"), "{}", found.2);
    let found = attribute(CASE, wrapped(Some(false), true, None).path(), &[]);
    assert_eq!(found.0, Some(3), "{}", found.2);
    for part in ["the outer one is used", "language_model.lm_head.weight", "`tie_word_embeddings` is false"] {
        assert!(found.2.contains(part), "`{part}` is not in: {}", found.2);
    }
}

/// Without any rotary keys the class default counts, which stretches.
#[test]
fn a_class_default_gives_the_numbers_of_the_same_values_written_out() {
    const CASE: &str = "gpt_oss-clt-jumprelu";
    let bare = model(CASE, |config| {
        config.as_object_mut().unwrap().retain(|key, _| key != "rope_scaling" && key != "rope_theta");
    });
    let written = model(CASE, |config| {
        config["rope_theta"] = 150_000.0.into();
        config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "truncate": false, "original_max_position_embeddings": 4096});
    });
    let plain = model(CASE, |config| {
        config["rope_scaling"] = Value::Null;
    });
    let [bare, written, plain] = [bare, written, plain].map(|folder| attribute(CASE, folder.path(), &[]));
    assert_eq!((bare.0, &bare.1), (Some(0), &written.1), "{}", bare.2);
    assert_ne!(bare.1, plain.1);
    assert!(plain.2.contains("`rope_scaling` is null") && !bare.2.contains("note: "), "{}", plain.2);
}

#[test]
fn unknown_keys_are_one_warning_and_strict_config_refuses_them() {
    const CASE: &str = "llama-plt-relu";
    let plain = attribute(CASE, &fixture(CASE).join("model"), &[]);
    let folder = model(CASE, |config| {
        config["novelty"] = 3.into();
        config["another"] = "x".into();
        config["unsloth_fixed"] = true.into();
    });
    let found = attribute(CASE, folder.path(), &[]);
    assert_eq!((found.0, &found.1), (Some(0), &plain.1), "{}", found.2);
    assert_eq!(found.2.matches("unknown keys for llama").count(), 1, "{}", found.2);
    assert!(found.2.contains("warning: ") && found.2.contains("`another`, `novelty`"), "{}", found.2);
    let here = path(folder.path());
    let set = fixture(CASE).join("transcoders");
    let strict: [&[&str]; 3] = [
        &["describe", here, "--strict-config"],
        &["doctor", "-m", here, "-t", path(&set), "--tokens", "5", "--strict-config"],
        &["download", "-m", here, "--strict-config"],
    ];
    for args in strict {
        let output = run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {stderr}");
        for part in [
            "config.json: unknown for llama: `another` = \"x\", `novelty` = 3",
            "hint: without --strict-config",
        ] {
            assert!(stderr.contains(part), "{args:?}: `{part}` is not in: {stderr}");
        }
    }
    let (code, _, stderr) = attribute(CASE, folder.path(), &["--strict-config"]);
    assert_eq!(code, Some(3), "{stderr}");
    let known = model(CASE, |config| config["unsloth_fixed"] = true.into());
    let found = attribute(CASE, known.path(), &["--strict-config"]);
    assert_eq!(
        (found.0, found.2.contains("warning: ")),
        (Some(0), plain.2.contains("warning: ")),
        "{}",
        found.2
    );
}

/// Of a model that is not supported nothing but its config is fetched, and nothing of the set is asked for.
#[test]
fn a_model_that_is_not_supported_is_refused_by_its_config_alone() {
    let world = World::new();
    let unsupported = model("llama-plt-relu", |config| config["model_type"] = "smollm3".into());
    let scaled = model("llama-plt-relu", |config| config["embedding_multiplier"] = 12.0.into());
    world.hub.folder("acme/other", "", unsupported.path());
    world.hub.folder("acme/scaled", "", scaled.path());
    world.hub.folder("acme/set", "", &fixture("llama-plt-relu").join("transcoders"));
    for (name, says) in [
        ("acme/other", "model_type `smollm3` is not supported"),
        ("acme/scaled", "`embedding_multiplier` = 12.0 is not implemented"),
    ] {
        let commands: [&[&str]; 6] = [
            &["download", "-m", name],
            &["download", "-m", name, "-t", "acme/set"],
            &["download", "-m", name, "-t", "acme/set", "--dry-run"],
            &["attribute", "-m", name, "-t", "acme/set", "-p", "x"],
            &["doctor", "-m", name, "-t", "acme/set", "--tokens", "5"],
            &["describe", name],
        ];
        for args in commands {
            fs::remove_dir_all(world.home.path().join("hf")).ok();
            world.hub.log();
            world.refused(args, 3, &["config.json", says]);
            let log = world.hub.log();
            let fetched: Vec<_> = log.iter().map(|request| request.path.as_str()).collect();
            let foreign =
                fetched.iter().filter(|path| path.contains("acme/set") && args[0] != "describe").count();
            let files = fetched
                .iter()
                .filter(|path| path.contains("/resolve/") && !path.ends_with("config.json"))
                .count();
            assert_eq!((foreign, files), (0, 0), "{args:?}: {fetched:?}");
        }
    }
    // A folder on this machine is refused before a server is asked.
    world.hub.log();
    world.refused(
        &["attribute", "-m", path(unsupported.path()), "-t", "acme/set", "-p", "x"],
        3,
        &["smollm3"],
    );
    assert!(world.hub.log().is_empty());
}
