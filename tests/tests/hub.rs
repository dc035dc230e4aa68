//! Names on the hub as a user meets them: the binary against a server that speaks the hub's protocol.

#[path = "../../crates/circuit-hub/tests/it/server.rs"]
#[allow(dead_code, reason = "the other half of it is used by the hub's own tests")]
pub(crate) mod server;

use crate::cli::{binary, text};
use circuit_tests::fixture;
use serde_json::Value;
use server::{Fault, TestHub, get};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A hub, and a home for the cache.
pub(crate) struct World {
    pub(crate) hub: TestHub,
    pub(crate) home: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { hub: TestHub::start(), home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for key in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "HF_HUB_CACHE",
            "http_proxy",
        ] {
            command.env_remove(key);
        }
        command
            .args(args)
            .env("HF_HOME", self.home.path().join("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint());
        command.env("XDG_CACHE_HOME", self.home.path().join("cache")).current_dir(self.home.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], code: i32, says: &[&str]) {
        let output = self.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for part in says {
            assert!(stderr.contains(part), "{args:?}: `{part}` is not in: {stderr}");
        }
    }

    pub(crate) fn blob_count(&self, repo: &str) -> usize {
        fs::read_dir(self.home.path().join("hf/hub").join(repo).join("blobs")).map_or(0, Iterator::count)
    }
}

/// A trace with few features, as JSON without what differs from one run to the next.
#[track_caller]
fn traced(world: &World, args: &[&str]) -> Value {
    let mut all = vec!["attribute", "--json", "--max-feature-nodes", "40"];
    all.extend(args);
    let mut value: Value = serde_json::from_str(&world.done(&all)).unwrap();
    for passing in ["memory", "seconds"] {
        value.as_object_mut().unwrap().remove(passing).unwrap();
    }
    value
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn places(case: &str) -> (PathBuf, PathBuf) {
    (fixture(case).join("model"), fixture(case).join("transcoders"))
}

pub(crate) fn ids(case: &str) -> String {
    let expected = circuit_tests::Expected::of(case);
    let ids = expected.json.pointer("/input_ids").and_then(Value::as_array).expect("the tokens of a case");
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn a_model_and_a_set_by_name_trace_as_their_folders_do() {
    let world = World::new();
    let (model, set) = places("llama-plt-relu");
    let ids = ids("llama-plt-relu");
    world.hub.folder("meta-llama/Llama-3.2-1B", "", &model);
    world.hub.folder("acme/sets", "first/", &set);
    world.hub.file("acme/sets", "first/features/layer_0.bin", vec![0; 1000]);
    world.hub.file("meta-llama/Llama-3.2-1B", "original/consolidated.bin", vec![0; 1000]);
    let local = traced(&world, &["-m", path(&model), "-t", path(&set), "--prompt-ids", &ids]);
    let args = ["-m", "meta-llama/Llama-3.2-1B", "-t", "acme/sets/first@main", "--prompt-ids", &ids];
    assert_eq!(traced(&world, &args), local);
    // Only what is needed: no pages, no other weights.
    assert!(!world.hub.log().iter().any(|r| r.path.contains(".bin")));
    // Without -m the model is the one that the set names; offline nothing is asked.
    assert_eq!(traced(&world, &["-t", "acme/sets/first", "--prompt-ids", &ids]), local);
    world.hub.log();
    assert_eq!(traced(&world, &["-t", "acme/sets/first", "--prompt-ids", &ids, "--offline"]), local);
    let mut offline = world.command(&["describe", "meta-llama/Llama-3.2-1B"]);
    let described = offline.env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(text(&described.stdout).contains("LlamaForCausalLM"), "{}", text(&described.stderr));
    assert!(world.hub.log().is_empty());
    assert!(
        world.done(&["describe", "acme/sets/first"]).contains("scan               parity/llama-plt-relu")
    );

    world.refused(
        &["attribute", "-t", "acme/sets", "-p", "x"],
        3,
        &["no config.yaml", "hint: there are sets below it: acme/sets/first"],
    );
    world.refused(
        &["attribute", "-t", "acme/none", "-p", "x"],
        3,
        &["acme/none", "no such repository", "HF_TOKEN"],
    );
    world.refused(
        &["attribute", "-t", "acme/none", "-p", "x", "--offline"],
        3,
        &["not in the cache", "hint: ", "download"],
    );
    world.refused(&["attribute", "-t", "gemma", "-p", "x"], 3, &["mntss/gemma-scope-transcoders"]);
    world.refused(&["attribute", "-t", "llama", "-p", "x"], 3, &["mntss/transcoder-Llama-3.2-1B"]);
    world.refused(&["attribute", "-t", "./none", "-p", "x"], 3, &["no such transcoder folder"]);
    world.hub.gate("meta-llama/Llama-3.2-1B", "good");
    fs::remove_dir_all(world.home.path().join("hf")).unwrap();
    world.refused(
        &["download", "-m", "meta-llama/Llama-3.2-1B"],
        3,
        &["is gated", "/meta-llama/Llama-3.2-1B, then set HF_TOKEN"],
    );
    fs::create_dir_all(world.home.path().join("hf")).unwrap();
    fs::write(world.home.path().join("hf/token"), "good\n").unwrap();
    let out = world.done(&["download", "-m", "meta-llama/Llama-3.2-1B"]);
    assert!(Path::new(out.trim()).join("model-00001-of-00002.safetensors").is_file(), "{out}");
}

#[test]
fn a_set_of_addresses_is_brought_from_where_they_lead() {
    let world = World::new();
    let (model, _) = places("gemma2-plt-jumprelu");
    let npz = fixture("gemma2-plt-jumprelu").join("transcoders_npz");
    let ids = ids("gemma2-plt-jumprelu");
    world.hub.folder("google/scope", "", &npz);
    world.hub.file("google/scope", "layer_0/other.npz", vec![0; 5000]);
    let config = fs::read_to_string(npz.join("config.yaml")).unwrap();
    // Both forms of an address: with a revision, and without.
    let pointers = config.replace("- layer_", "- hf://google/scope/layer_");
    let pointers = pointers.replace("layer_2/params.npz", "layer_2/params.npz?revision=main");
    assert_eq!(pointers.matches("hf://").count(), 4, "{pointers}");
    world.hub.file("acme/pointers", "config.yaml", pointers.clone());
    let local = traced(&world, &["-m", path(&model), "-t", path(&npz), "--prompt-ids", &ids]);
    // Headers first: nothing is fetched for them.
    let inspected: Value =
        serde_json::from_str(&world.done(&["inspect", "acme/pointers", "--json"])).unwrap();
    assert_eq!(inspected["files"].as_array().unwrap().len(), 4);
    assert_eq!(inspected["files"][0]["tensors"][0]["name"], "W_dec");
    assert_eq!(world.blob_count("models--google--scope"), 0);
    assert_eq!(traced(&world, &["-m", path(&model), "-t", "acme/pointers", "--prompt-ids", &ids]), local);
    assert_eq!(world.blob_count("models--google--scope"), 4);
    // The same list in a local folder.
    let folder = world.home.path().join("pointers");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.yaml"), pointers).unwrap();
    let args = ["-m", path(&model), "-t", "pointers", "--prompt-ids", &ids, "--offline"];
    assert_eq!(traced(&world, &args), local);
    assert!(world.done(&["describe", "pointers", "--offline"]).contains("GemmaScope"));
}

#[test]
fn a_model_tuned_on_chats_is_known_by_its_name() {
    let world = World::new();
    let (model, set) = places("gemma3-it-plt-jumprelu");
    let ids = ids("gemma3-it-plt-jumprelu");
    world.hub.folder("google/gemma-3-270m-it", "", &model);
    let given = traced(
        &world,
        &["-m", path(&model), "-t", path(&set), "--prompt-ids", &ids, "--ignored-positions", "4"],
    );
    let known = traced(&world, &["-m", "google/gemma-3-270m-it", "-t", path(&set), "--prompt-ids", &ids]);
    let other = traced(&world, &["-m", path(&model), "-t", path(&set), "--prompt-ids", &ids]);
    assert_eq!(known, given);
    assert_ne!(other["active_features"], given["active_features"]);
    assert!(world.done(&["describe", "google/gemma-3-270m-it"]).contains("ignored positions  4"));
}

#[test]
fn the_cache_is_filled_resumed_listed_and_cleared() {
    let world = World::new();
    let (model, set) = places("llama-plt-relu");
    world.hub.folder("acme/model", "", &model);
    world.hub.folder("acme/set", "", &set);
    // A break in the middle is no failure: neither while the header is read, nor later.
    world.hub.fault("/cdn/acme/model/model-00001", Fault::Cut(100));
    world.hub.fault("/cdn/acme/model/model-00001", Fault::Cut(1000));
    let output = world.run(&["download", "-m", "acme/model", "-t", "acme/set"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.lines().count(), 2);
    assert!(stdout.lines().all(|line| Path::new(line).is_dir()), "{stdout}");
    assert!(
        stderr.contains("fetching acme/model@main: ") && stderr.contains("fetching acme/set@main: "),
        "{stderr}"
    );
    assert!(world.hub.log().iter().any(|r| r.range.as_deref() == Some("bytes=1000-")));
    let listed: Value = serde_json::from_str(&world.done(&["cache", "list", "--json"])).unwrap();
    let names: Vec<_> =
        listed["repos"].as_array().unwrap().iter().map(|r| r["repo"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme/model", "acme/set"]);
    assert_eq!(listed["repos"][0]["revisions"][0]["refs"][0], "main");
    assert!(world.done(&["cache", "list"]).contains("acme/model"));
    world.refused(&["cache", "remove", "acme/model"], 2, &["--yes"]);
    world.refused(&["cache", "remove", "acme/mod", "--yes"], 3, &["acme/mod is not in the cache"]);
    world.refused(&["cache", "remove", "../x", "--yes"], 2, &["no name on the hub"]);
    assert!(world.done(&["cache", "remove", "acme/model", "acme/set@main", "--yes"]).contains("freed"));
    assert_eq!(world.blob_count("models--acme--model") + world.blob_count("models--acme--set"), 0);
    world.refused(&["download"], 2, &["nothing to download"]);
}

#[test]
fn headers_are_read_of_files_folders_and_names() {
    let world = World::new();
    let (model, set) = places("llama-plt-relu");
    let local: Value = serde_json::from_str(&world.done(&["inspect", path(&set), "--json"])).unwrap();
    world.hub.folder("acme/set", "", &set);
    world.hub.file("acme/set", "features/layer_0.bin", vec![0; 10]);
    let hub: Value = serde_json::from_str(&world.done(&["inspect", "acme/set", "--json"])).unwrap();
    assert_eq!(hub, local);
    assert!(world.hub.log().iter().filter(|r| r.path.starts_with("/cdn/")).all(|r| r.range.is_some()));
    let one = world.done(&["inspect", "acme/set/layer_0.safetensors"]);
    assert!(one.contains("W_enc") && one.contains("F32") && one.contains("1 files, 4 tensors"), "{one}");
    let file = model.join("model-00001-of-00002.safetensors");
    assert!(world.done(&["inspect", path(&file)]).contains("model.embed_tokens.weight"));
    world.refused(&["inspect", path(&model.join("config.json"))], 3, &["config.json"]);
    world.refused(&["inspect", "acme/set/features"], 3, &["no .safetensors or .npz"]);
}

#[test]
fn feature_pages_of_a_set_on_the_hub_are_read_by_range() {
    let world = World::new();
    let graphs = world.home.path().join("graphs");
    fs::create_dir(&graphs).unwrap();
    let (index, records) = packed(&[b"{\"page\": 1}", b"", b"{\"page\": 3}"]);
    world.hub.file("acme/set", "sub/features/index.json.gz", index);
    world.hub.file("acme/set", "sub/features/layer_0.bin", records);
    world.hub.file("acme/set", "sub/config.yaml", "scan: other");
    let serve = |more: &[&str]| {
        let mut args =
            vec!["serve", "--graph-file-dir", path(&graphs), "--port", "0", "--features-dir", "acme/set/sub"];
        args.extend(more);
        let mut child = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    };
    let ask = |address: &str, feature: u32, scan: &str| {
        get(address, &format!("/api/v1/features/0/{feature}?scan={scan}"))
    };
    let (mut child, address) = serve(&[]);
    // Nothing is asked before a page is.
    assert!(world.hub.log().is_empty());
    let page = ask(&address, 2, "acme/set//sub");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("{\"page\": 3}"), "{page}");
    assert!(ask(&address, 1, "acme/set//sub@v1").contains("no_feature_data"));
    assert!(ask(&address, 0, "acme/other").contains("unknown_scan"));
    let ranges: Vec<_> = world.hub.log().into_iter().filter(|r| r.path.starts_with("/cdn/")).collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert!(ranges[0].range.is_some());
    // The second time it is remembered.
    assert!(ask(&address, 2, "acme/set//sub").ends_with("{\"page\": 3}") && world.hub.log().is_empty());
    world.hub.fault("/cdn/", Fault::Status(403, Vec::new()));
    assert!(ask(&address, 0, "acme/set//sub").starts_with("HTTP/1.1 502"));
    child.kill().unwrap();
    child.wait().unwrap();
    world.hub.log();
    // Offline what was seen is there, and nothing is asked.
    let (mut child, address) = serve(&["--offline"]);
    assert!(ask(&address, 2, "acme/set//sub").ends_with("{\"page\": 3}"));
    assert!(ask(&address, 0, "acme/set//sub").contains("no_feature_data"));
    assert!(world.hub.log().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// An index and the file of one layer that it is for.
fn packed(records: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
    let (mut file, mut offsets) = (Vec::new(), vec![0]);
    for record in records {
        if !record.is_empty() {
            let packed = gzip(record);
            file.extend((packed.len() as u32).to_le_bytes());
            file.extend(packed);
        }
        offsets.push(file.len());
    }
    let index = serde_json::json!([{"filename": "layer_0.bin", "offsets": offsets}]).to_string();
    (gzip(index.as_bytes()), file)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_token_stays_with_the_port_it_was_meant_for() {
    let world = World::new();
    let other = TestHub::start();
    for hub in [&world.hub, &other] {
        hub.folder("acme/toy", "", &fixture("llama-plt-relu").join("model"));
    }
    let elsewhere = format!("http://127.0.0.1:{}/cdn/acme/toy/model-00001-of-00002.safetensors", other.port);
    world.hub.fault(
        "resolve/0123456789abcdef0123456789abcdef01234567/model-00001",
        Fault::Status(307, vec![("Location", elsewhere)]),
    );
    let output =
        world.command(&["download", "-m", "acme/toy"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("hf_secret") && !text(&output.stdout).contains("hf_secret"));
    let tokens: Vec<_> = world.hub.log().into_iter().map(|request| request.token).collect();
    assert!(tokens.iter().any(Option::is_some), "the hub itself gets the token");
    let log = other.log();
    assert!(!log.is_empty() && log.iter().all(|request| request.token.is_none()), "{log:?}");
}
