//! Plans for names on the hub: made of headers before any weight is fetched, the same as once all is here.

use crate::cli::text;
use crate::hub::server::Fault;
use crate::hub::{World, ids, path, places};
use crate::judged;
use circuit_tests::sparse::cross_layer_set;
use circuit_tests::{demo, fixture};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const PROMPT: &str = "fact : the capital of the state containing Dallas is";

/// What `attribute --dry-run` plans.
#[track_caller]
fn planned(world: &World, args: &[&str]) -> Value {
    let all = [&["attribute", "--dry-run", "--json", "--device", "cpu", "--memory", "4G"], args].concat();
    serde_json::from_str(&world.done(&all)).unwrap()
}

/// A plan without what depends on the moment and on what is here already.
fn lasting(mut plan: Value) -> Value {
    let object = plan.as_object_mut().unwrap();
    for key in ["download", "download_bytes", "room_bytes", "scratch", "this_program"] {
        object.remove(key).unwrap();
    }
    // This program's own share differs by some pages from one run to the next.
    for key in ["peak_allocated_bytes", "peak_resident_bytes"] {
        object.remove(key).unwrap();
    }
    plan
}

fn size_of(world: &World, repo: &str) -> u64 {
    let files = fs::read_dir(world.home.path().join("hf/hub").join(repo).join("blobs")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_plan_for_names_fetches_no_weights_and_is_that_of_the_files() {
    let world = World::new();
    let set = tempfile::tempdir().unwrap();
    let weights = cross_layer_set(set.path(), 24 << 20, 6);
    world.hub.folder("acme/model", "", &demo().join("model"));
    world.hub.folder("acme/set", "big/", set.path());
    let args = ["-m", "acme/model", "-t", "acme/set/big", "-p", PROMPT];
    let ahead = planned(&world, &args);
    // Of the set the first part of each file, of the model what is needed to read a prompt.
    let sent = world.hub.sent();
    assert!(sent < 2 << 20 && sent < weights / 10, "{sent} bytes of {weights} were sent");
    let log = world.hub.log();
    assert!(log.iter().filter(|r| r.path.starts_with("/cdn/")).all(|r| r.range.is_some()), "{log:?}");
    assert!(size_of(&world, "models--acme--set") < 1000 && size_of(&world, "models--acme--model") < 200_000);
    // What is to come is told.
    let (repos, to_come) = (&ahead["download"]["repositories"], ahead["download_bytes"].as_u64().unwrap());
    assert_eq!((&repos[0]["name"], &repos[1]["name"]), (&json!("acme/model@main"), &json!("acme/set@main")));
    assert!(repos[1]["to_come_bytes"].as_u64().unwrap() > weights && to_come > weights, "{ahead}");
    assert_eq!(
        (&ahead["fits"], &ahead["download"]["fits"], repos[1]["files"].as_u64()),
        (&json!(true), &json!(true), Some(9))
    );
    assert!(ahead["download"]["free_bytes"].as_u64().unwrap() > to_come);
    let told =
        world.done(&["attribute", "--dry-run", "-t", "acme/set/big", "-m", "acme/model", "-p", PROMPT]);
    for part in ["acme/set@main ", "to come, of 9 file(s) of 24.1 MiB", "free in ", "It fits."] {
        assert!(told.contains(part), "`{part}` is not in {told}");
    }
    let would = world.done(&["download", "--dry-run", "-t", "acme/set/big", "-m", "acme/model"]);
    assert!(
        would.contains("24.1 MiB to come, of 9 file(s) of 24.1 MiB") && would.contains("in all"),
        "{would}"
    );
    // `doctor` says the same.
    let doctor = ["doctor", "--json", "--device", "cpu", "--memory", "4G"];
    let doctor: Value = serde_json::from_str(&world.done(&[&doctor[..], &args].concat())).unwrap();
    assert_eq!(lasting(doctor["plan"].clone()), lasting(ahead.clone()));
    let any = world.done(&["doctor", "-m", "acme/model", "-t", "acme/set/big", "--tokens", "60"]);
    assert!(any.contains("60 tokens") && any.contains("to come"), "{any}");
    // Nothing of it is left: offline the weights are missed, by name.
    world.hub.log();
    let offline = [&["attribute", "--dry-run", "--offline"], &args[..]].concat();
    world.refused(
        &offline,
        3,
        &["acme/set/big, but for its config, is not in the cache", "hint: ", "download"],
    );
    let set_here = ["doctor", "--offline", "-m", "acme/model", "-t", path(set.path()), "--tokens", "9"];
    world.refused(&set_here, 3, &["model.safetensors of acme/model@main is not in the cache", "download"]);
    assert!(world.hub.log().is_empty());

    // A plan of the same folders, and one once all has come.
    let local = planned(&world, &["-m", path(&demo().join("model")), "-t", path(set.path()), "-p", PROMPT]);
    assert_eq!(local["download"]["repositories"], json!([]));
    assert_eq!(lasting(local), lasting(ahead.clone()));
    world.done(&["download", "-m", "acme/model", "-t", "acme/set/big"]);
    let sent = world.hub.sent();
    assert!(sent >= weights, "{sent}");
    let here = planned(&world, &[&args[..], &["--offline"]].concat());
    assert_eq!(here["download_bytes"], 0);
    assert_eq!(lasting(here), lasting(ahead));
    assert_eq!(world.hub.sent(), 0);
}

/// Archives are planned from their two ends, and what a set lists by address from where it leads.
#[test]
fn addresses_of_archives_are_planned_from_headers() {
    let world = World::new();
    let (model, _) = places("gemma2-plt-jumprelu");
    let npz = fixture("gemma2-plt-jumprelu").join("transcoders_npz");
    world.hub.folder("google/scope", "average_l0_9/", &npz);
    let config = fs::read_to_string(npz.join("config.yaml")).unwrap();
    world.hub.file(
        "acme/pointers",
        "config.yaml",
        config.replace("- layer_", "- hf://google/scope/average_l0_9/layer_"),
    );
    let ids = ids("gemma2-plt-jumprelu");
    let args = ["-m", path(&model), "-t", "acme/pointers", "--prompt-ids", &ids];
    let ahead = planned(&world, &args);
    assert_eq!(world.blob_count("models--google--scope"), 0);
    // The names of files tell how many features are active, though they are not here.
    assert_eq!(ahead["active_features_are"], "as the names of the set's files say");
    // One that is here already is not asked for.
    world.done(&["download", "-t", "acme/pointers"]);
    let blobs = world.home.path().join("hf/hub/models--google--scope/blobs");
    let one = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(one).unwrap();
    world.hub.log();
    assert_eq!(lasting(planned(&world, &args)), lasting(ahead.clone()));
    let asked = world.hub.log();
    let names: std::collections::BTreeSet<_> =
        asked.iter().filter(|r| r.path.starts_with("/cdn/")).map(|r| &r.path).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    world.done(&["download", "-t", "acme/pointers"]);
    assert_eq!(lasting(planned(&world, &args)), lasting(ahead));
}

#[test]
fn what_cannot_fit_is_refused_before_it_is_fetched() {
    let world = World::new();
    world.hub.folder("acme/model", "", &demo().join("model"));
    world.hub.folder("acme/set", "", &demo().join("transcoders"));
    let args = ["attribute", "-m", "acme/model", "-t", "acme/set", "-p", PROMPT, "--device", "cpu"];
    world.refused(&[&args[..], &["--memory", "10M"]].concat(), 6, &["this does not fit", "hint: "]);
    let log = world.hub.log();
    assert!(log.iter().filter(|r| r.path.starts_with("/cdn/")).all(|r| r.range.is_some()), "{log:?}");
    // More weights than any disk has room for: told by a plan, refused by the work. The file is the model's own with one tensor
    // more, of a kind that old checkpoints have beside their weights.
    let own = fs::read(demo().join("model/model.safetensors")).unwrap();
    let len = u64::from_le_bytes(own[..8].try_into().unwrap());
    let mut header: serde_json::Map<String, Value> =
        serde_json::from_slice(&own[8..8 + usize::try_from(len).unwrap()]).unwrap();
    let (before, more) = (own.len() as u64 - 8 - len, 1u64 << 43);
    let entry = json!({"dtype": "F32", "shape": [more / 4], "data_offsets": [before, before + more]});
    header.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), entry);
    let size = before + more;
    let mut start = Value::Object(header).to_string();
    start += &" ".repeat(start.len().next_multiple_of(64) - start.len() + 56);
    // As much of it as is asked for.
    let mut bytes = [&(start.len() as u64).to_le_bytes(), start.as_bytes()].concat();
    let size = size + bytes.len() as u64;
    bytes.resize(1 << 16, 0);
    world.hub.file("acme/huge", "model.safetensors", bytes);
    let _ = fs::read_dir(demo().join("model"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_file() && name != "model.safetensors" {
                world.hub.file("acme/huge", &name, fs::read(&path).unwrap());
            }
        })
        .count();
    world.hub.list(
        "acme/huge",
        json!({"rfilename": "model.safetensors", "size": size, "blobId": "0".repeat(40),
            "lfs": {"sha256": "a".repeat(64), "size": size, "pointerSize": 130}}),
    );
    world.refused(&["download", "-m", "acme/huge"], 5, &["bytes are free, ", "are needed", "HF_HUB_CACHE"]);
    let told = world.done(&["download", "--dry-run", "-m", "acme/huge"]);
    assert!(told.contains("8.0 TiB to come") && told.contains("are needed"), "{told}");
    let set = demo().join("transcoders");
    let huge = ["-m", "acme/huge", "-t", path(&set), "-p", PROMPT];
    world.hub.log();
    world.refused(&[&["attribute"], &huge[..]].concat(), 5, &["bytes are free, ", "HF_HUB_CACHE"]);
    assert!(!world.hub.log().iter().any(|r| r.path.starts_with("/cdn/")));
    let plan = planned(&world, &huge);
    assert_eq!((&plan["fits"], &plan["download"]["fits"]), (&json!(false), &json!(false)), "{plan}");
    assert!(plan["refusal"]["message"].as_str().unwrap().contains("are needed"), "{plan}");
}

/// Damage in a header is told by the name that the file has on the hub; a server without ranges costs `attribute` nothing.
#[test]
fn headers_that_cannot_be_had() {
    let world = World::new();
    world.hub.folder("acme/model", "", &demo().join("model"));
    world.hub.folder("acme/set", "", &demo().join("transcoders"));
    let args = ["attribute", "-m", "acme/model", "-t", "acme/set", "-p", PROMPT, "--max-feature-nodes", "3"];
    let dry = [&args[..], &["--dry-run"]].concat();
    world.hub.fault("/cdn/acme/model/model.safetensors", Fault::NoRange);
    world.refused(&dry, 3, &["acme/model/resolve", "answers no ranges", "hint: "]);
    world.hub.fault("/cdn/acme/model/model.safetensors", Fault::Status(403, Vec::new()));
    world.refused(&dry, 3, &["acme/model: the hub refuses access (403)", "HF_TOKEN"]);
    world.hub.fault("/cdn/acme/model/model.safetensors", Fault::NoRange);
    let output = world.run(&args);
    let stderr = text(&output.stderr);
    assert!(output.status.success() && stderr.contains("sends no parts of files"), "{stderr}");

    world.hub.file("acme/bad", "config.yaml", fs::read(demo().join("transcoders/config.yaml")).unwrap());
    for l in 0..4 {
        world.hub.file("acme/bad", &format!("layer_{l}.safetensors"), vec![b'x'; 4000]);
    }
    let bad = ["attribute", "-m", "acme/model", "-t", "acme/bad", "-p", PROMPT];
    world.refused(&bad, 3, &["acme/bad/layer_", ".safetensors: its header claims"]);
    // A set for another model, named as it is called.
    world.hub.folder("acme/other", "", &fixture("llama-plt-relu").join("transcoders"));
    let output = world.run(&["attribute", "-m", "acme/model", "-t", "acme/other", "-p", PROMPT]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("acme/other/main") && stderr.contains("made for this model"), "{stderr}");
    assert!(!stderr.contains(path(&std::env::temp_dir())), "{stderr}");
}

/// Puts the files of a folder on the hub, but for those of these names.
fn folder_but(world: &World, repo: &str, folder: &Path, without: &[&str]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && !without.contains(&name) {
            world.hub.file(repo, name, fs::read(&path).unwrap());
        }
    }
}

/// A refusal during which no file of weights was fetched as a whole, nor is one in the cache.
#[track_caller]
fn refused_ahead(world: &World, args: &[&str], says: &[&str]) {
    world.hub.log();
    world.refused(args, 3, says);
    let log = world.hub.log();
    let whole: Vec<_> = log.iter().filter(|r| r.path.starts_with("/cdn/") && r.range.is_none()).collect();
    assert!(whole.is_empty(), "{args:?}: {whole:?}");
}

/// What headers rule out costs no transfer of weights, whichever command asks for them.
#[test]
fn what_headers_rule_out_is_refused_before_a_weight_is_fetched() {
    let world = World::new();
    let (model, set) = places("qwen3-plt-relu");
    world.hub.folder("acme/set", "", &set);
    world.hub.folder("acme/model", "", &model);
    const WEIGHTS: &str = "model.safetensors";
    let with_weights = |repo: &str, change: &dyn Fn(&mut judged::Tensors)| {
        folder_but(&world, repo, &model, &[WEIGHTS]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(WEIGHTS);
        let mut tensors = judged::tensors(&model.join(WEIGHTS));
        change(&mut tensors);
        judged::write(&file, &tensors);
        world.hub.file(repo, WEIGHTS, fs::read(&file).unwrap());
    };
    folder_but(&world, "acme/untied", &model, &["config.json"]);
    let mut config: Value = serde_json::from_slice(&fs::read(model.join("config.json")).unwrap()).unwrap();
    config["tie_word_embeddings"] = false.into();
    world.hub.file("acme/untied", "config.json", config.to_string());
    with_weights("acme/packed", &|all| all[3].1 = "F8_E4M3".into());
    with_weights("acme/integers", &|all| all[3].1 = "I32".into());
    with_weights("acme/headless", &|all| all.retain(|(name, ..)| !name.contains("embed_tokens")));
    with_weights("acme/more", &|all| all.push(("model.extra".into(), "F32".into(), vec![1])));
    for (repo, part) in [
        ("acme/untied", "lm_head.weight"),
        ("acme/packed", "FP8 (F8_E4M3)"),
        ("acme/integers", "has type I32"),
        ("acme/headless", "model.embed_tokens.weight"),
        ("acme/more", "`model.extra` is not part"),
    ] {
        let both = ["-m", repo, "-t", "acme/set", "-p", "x"];
        let says = ["/main/model.safetensors", part];
        refused_ahead(&world, &[&["attribute", "--dry-run"], &both[..]].concat(), &says);
        if repo == "acme/untied" {
            for command in ["attribute", "doctor", "generate"] {
                refused_ahead(&world, &[&[command], &both[..]].concat(), &says);
            }
            refused_ahead(&world, &["download", "-m", repo, "-t", "acme/set"], &says);
        }
        refused_ahead(&world, &["download", "-m", repo], &says);
        let blobs =
            world.home.path().join("hf/hub").join(format!("models--{}/blobs", repo.replace('/', "--")));
        let largest = fs::read_dir(blobs).unwrap().map(|blob| blob.unwrap().metadata().unwrap().len()).max();
        assert!(largest.unwrap() < 100_000, "{repo}");
    }
    // Sets alike: a tensor missing, a tensor of another type, another width.
    for (repo, change, part) in [
        (
            "acme/no-encoder",
            (|all| all.retain(|(name, ..)| name != "W_enc")) as fn(&mut judged::Tensors),
            "no tensor `W_enc`",
        ),
        (
            "acme/wrong-type",
            |all| all.iter_mut().for_each(|(_, dtype, _)| *dtype = "I32".into()),
            "has type I32",
        ),
        (
            "acme/wrong-width",
            |all| all.iter_mut().for_each(|(.., shape)| *shape.last_mut().unwrap() += 8),
            "expected",
        ),
    ] {
        folder_but(&world, repo, &set, &["layer_2.safetensors"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("layer_2.safetensors");
        let mut tensors = judged::tensors(&set.join("layer_2.safetensors"));
        change(&mut tensors);
        judged::write(&file, &tensors);
        world.hub.file(repo, "layer_2.safetensors", fs::read(&file).unwrap());
        let both = ["-m", "acme/model", "-t", repo, "-p", "x"];
        let says = [part, "layer_2.safetensors"];
        refused_ahead(&world, &[&["attribute", "--dry-run"], &both[..]].concat(), &says);
        refused_ahead(&world, &["download", "-m", "acme/model", "-t", repo], &says);
        refused_ahead(&world, &["download", "-t", repo], &says);
    }
}

/// The files of weights are chosen from a repository's list as from a folder.
#[test]
fn what_lies_on_the_hub_is_said() {
    let world = World::new();
    let (model, set) = places("qwen3-plt-relu");
    world.hub.folder("acme/set", "", &set);
    let args = |repo: &'static str| {
        ["attribute", "-t", "acme/set", "-p", "The ship", "--max-feature-nodes", "0", "-m", repo]
    };
    let index = json!({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}});
    world.hub.folder("acme/stale", "", &model);
    world.hub.file("acme/stale", "model.safetensors.index.json", index.to_string());
    let output = world.run(&args("acme/stale"));
    let stderr = text(&output.stderr);
    assert!(
        output.status.success() && stderr.contains("note: acme/stale/model.safetensors.index.json"),
        "{stderr}"
    );
    folder_but(&world, "acme/part", &model, &["model.safetensors"]);
    world.hub.file("acme/part", "model.safetensors.index.json", index.to_string());
    world.hub.file("acme/part", "model-00002-of-00002.safetensors", vec![0; 100]);
    let missing =
        ["acme/part/model.safetensors.index.json", "model-00001-of-00002.safetensors, but that is not there"];
    refused_ahead(&world, &args("acme/part"), &missing);
    refused_ahead(&world, &["download", "-m", "acme/part"], &missing);
    folder_but(&world, "acme/pickles", &model, &["model.safetensors"]);
    world.hub.file("acme/pickles", "pytorch_model.bin", vec![0; 100]);
    refused_ahead(
        &world,
        &args("acme/pickles"),
        &["acme/pickles: no model.safetensors", "pickles", "hint: convert it"],
    );
    world.hub.file("acme/adapter", "adapter_config.json", r#"{"base_model_name_or_path": "acme/base"}"#);
    world.hub.file("acme/adapter", "adapter_model.safetensors", vec![0; 100]);
    refused_ahead(
        &world,
        &args("acme/adapter"),
        &["acme/adapter: no config.json", "changes to acme/base", "hint: merge"],
    );
    refused_ahead(
        &world,
        &args("acme/set"),
        &["acme/set: a transcoder set, expected a model", "hint: give the set with -t"],
    );
    world.hub.folder("acme/deep", "inner/", &model);
    refused_ahead(&world, &args("acme/deep"), &["models: inner", "such as `inner`"]);
}
