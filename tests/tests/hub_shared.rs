//! The cache shared: with another process of this program, and with Python.
//!
//! The second needs a Python with `huggingface_hub`: `python3`, or the one that CIRCUIT_TRACER_HUB_PYTHON names; without it that test
//! says that it was skipped.

use crate::cli::text;
use crate::hub::World;
use crate::hub::server::{COMMIT, Fault};
use crate::judged;
use circuit_tests::demo;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn two_processes_fetch_into_one_cache() {
    let world = World::new();
    // The demo's weights, and beside them four megabytes of a kind that old checkpoints have and nobody reads.
    let file = world.home.path().join("model.safetensors");
    let mut tensors = judged::tensors(&demo().join("model/model.safetensors"));
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), "F32".into(), vec![1_000_000]));
    judged::write(&file, &tensors);
    let mut weights = fs::read(&file).unwrap();
    let end = weights.len() - 4_000_000;
    weights[end..].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7 % 251) as u8);
    world.hub.folder("acme/model", "", &demo().join("model"));
    world.hub.file("acme/model", "model.safetensors", weights.clone());
    // Both read the header first. Long enough for the other to find the file under way.
    for _ in 0..3 {
        world.hub.fault("/cdn/acme/model", Fault::Late(Duration::from_secs(2)));
    }
    let start = || {
        let mut command = world.command(&["download", "-m", "acme/model"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let outputs = [start(), start()].map(|child| child.wait_with_output().unwrap());
    for output in &outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    let folder = text(&outputs[0].stdout);
    for entry in fs::read_dir(demo().join("model")).unwrap() {
        let name = entry.unwrap().file_name();
        let Ok(found) = fs::read(std::path::Path::new(folder.trim()).join(&name)) else { continue };
        let expected = match name.to_str() {
            Some("model.safetensors") => weights.clone(),
            _ => fs::read(demo().join("model").join(&name)).unwrap(),
        };
        assert!(found == expected, "{name:?}");
    }
    assert_eq!(fs::read(std::path::Path::new(folder.trim()).join("model.safetensors")).unwrap(), weights);
    // One of them brought it, the other waited; nothing unfinished is left.
    let log = world.hub.log();
    let whole = log.iter().filter(|request| request.path.starts_with("/cdn/") && request.range.is_none());
    assert_eq!(whole.count(), 1, "{log:?}");
    let blobs = fs::read_dir(world.home.path().join("hf/hub/models--acme--model/blobs")).unwrap();
    assert!(blobs.flatten().all(|file| !file.file_name().to_str().unwrap().ends_with(".incomplete")));
}

/// Looks for what was downloaded as Python programs do.
const FIND: &str = r#"
import os, sys
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache
weights = try_to_load_from_cache("acme/model", "model.safetensors")
assert isinstance(weights, str) and os.path.isfile(weights), weights
folder = snapshot_download("acme/model", local_files_only=True)
assert os.path.dirname(weights) == folder and sys.argv[1] in folder, folder
assert snapshot_download("acme/set", revision="v1", local_files_only=True).endswith(sys.argv[1])
assert try_to_load_from_cache("acme/set", "sub/config.yaml", revision="v1") is not None
assert try_to_load_from_cache("acme/set", "sub/config.yaml") is None
repos = {repo.repo_id: repo for repo in scan_cache_dir().repos}
assert sorted(repos) == ["acme/model", "acme/set"], repos
print(os.path.getsize(weights), repos["acme/set"].nb_files)
"#;

#[test]
fn python_finds_what_was_downloaded() {
    let python = std::env::var("CIRCUIT_TRACER_HUB_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import huggingface_hub"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        let why = format!("{python} has no huggingface_hub; CIRCUIT_TRACER_HUB_PYTHON names another Python");
        circuit_tests::skipped("python_finds_what_was_downloaded", &why);
        return;
    }
    let world = World::new();
    world.hub.folder("acme/model", "", &demo().join("model"));
    world.hub.folder("acme/set", "sub/", &demo().join("transcoders"));
    world.done(&["download", "-m", "acme/model", "-t", "acme/set/sub@v1"]);
    let mut find = Command::new(&python);
    find.args(["-c", FIND, COMMIT]).env("HF_HOME", world.home.path().join("hf")).env_remove("HF_HUB_CACHE");
    let output = find.env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let size = fs::metadata(demo().join("model/model.safetensors")).unwrap().len();
    let files = fs::read_dir(world.home.path().join("hf/hub/models--acme--set/blobs")).unwrap().count();
    assert_eq!(text(&output.stdout).trim(), format!("{size} {files}"));
}
