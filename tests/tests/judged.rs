//! One verdict on a checkpoint or a set, from headers alone: a plan refuses what opening refuses, in the same words.
//!
//! Files here have the headers of fixtures, changed in one place, and no values: whatever is refused is refused before a value
//! is read. Hubs: `hub_plans.rs`. Damaged headers: `hostile.rs`.

use crate::cli::{binary, text};
use crate::hub::path;
use circuit_model::{Model, ModelError};
use circuit_tests::{CASES, fixture};
use circuit_transcoder::TranscoderSet;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::{Device, Kind};

/// Bytes of a number.
fn width(dtype: &str) -> u64 {
    match dtype {
        "F64" | "I64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" => 2,
        _ => 1,
    }
}

/// The tensors of a file: name, type and shape.
pub(crate) type Tensors = Vec<(String, String, Vec<u64>)>;

/// What a file's header says.
pub(crate) fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let tensor = |(name, entry): (String, Value)| {
        let shape = entry["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        (name, entry["dtype"].as_str().unwrap().to_owned(), shape)
    };
    tensors.map(tensor).collect()
}

/// A file of these tensors, all of zeros that take no room.
pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let start = end;
        end += shape.iter().product::<u64>() * width(dtype);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let text = Value::Object(header).to_string();
    let _ = fs::remove_file(path);
    fs::write(path, [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_len(8 + text.len() as u64 + end).unwrap();
}

/// A copy of a folder, to be changed.
pub(crate) fn copy(folder: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            fs::copy(&from, dir.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    dir
}

/// The files of tensors in a folder.
fn tensor_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    files
}

/// Ways to change one tensor, with what a refusal must say beside its name. `None`: the change is none for this tensor.
fn changes(tensors: &Tensors, at: usize) -> Vec<(Tensors, Vec<String>)> {
    let (_, dtype, shape) = tensors[at].clone();
    let with = |dtype: &str, shape: &[u64]| {
        let mut changed = tensors.clone();
        (changed[at].1, changed[at].2) = (dtype.into(), shape.to_vec());
        changed
    };
    let without: Tensors =
        tensors.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, t)| t.clone()).collect();
    let mut wider = shape.clone();
    *wider.last_mut().unwrap() += 1;
    vec![
        (without, vec!["no tensor".into()]),
        (with(&dtype, &wider), vec!["has shape".into(), format!("{wider:?}"), "expected".into()]),
        (with("I32", &shape), vec!["has type I32".into(), "expected F32".into()]),
    ]
}

#[test]
fn every_tensor_of_every_family_is_judged_by_its_header() {
    for case in CASES {
        let dir = copy(&fixture(case).join("model"));
        let folder = dir.path();
        for file in tensor_files(folder) {
            let good = tensors(&file);
            write(&file, &good);
            assert!(Model::check(folder).unwrap().is_empty(), "{case}");
            let verdicts = || {
                let checked = Model::check(folder).map(drop).unwrap_err().to_string();
                let sizes = Model::sizes(folder, Kind::Float, Device::Cpu).map(drop).unwrap_err().to_string();
                let opened = Model::open(folder, Kind::Float, Device::Cpu).map(drop).unwrap_err().to_string();
                assert_eq!((&sizes, &opened), (&checked, &checked), "{case}");
                checked
            };
            for at in 0..good.len() {
                for (changed, parts) in changes(&good, at) {
                    write(&file, &changed);
                    let (said, name) = (verdicts(), &good[at].0);
                    assert!(said.contains(&format!("`{name}`")), "{case}, {name}: {said}");
                    assert!(parts.iter().all(|part| said.contains(part)), "{case}, {name}: {said}");
                }
            }
            let more = ("model.layers.0.extra.weight".to_owned(), "F32".to_owned(), vec![1]);
            write(&file, &good.iter().cloned().chain([more]).collect());
            assert!(verdicts().contains("`model.layers.0.extra.weight` is not part"), "{case}");
            write(&file, &good);
        }
    }
}

#[test]
fn every_tensor_of_every_set_is_judged_by_its_header() {
    for case in CASES {
        let dir = copy(&fixture(case).join("transcoders"));
        let folder = dir.path();
        let spec = Model::describe(&fixture(case).join("model")).unwrap();
        let shape = (spec.n_layers(), spec.d_model);
        for file in tensor_files(folder) {
            let good = tensors(&file);
            write(&file, &good);
            TranscoderSet::check(folder, Some(shape)).unwrap();
            TranscoderSet::check(folder, None).unwrap();
            let verdicts = || {
                let checked = TranscoderSet::check(folder, Some(shape)).unwrap_err().to_string();
                let sizes = TranscoderSet::sizes(folder, shape.0, shape.1).map(drop).unwrap_err().to_string();
                let opened = TranscoderSet::open(folder, shape.0, shape.1, Kind::Float, Device::Cpu);
                let opened = opened.map(drop).unwrap_err().to_string();
                assert_eq!((&sizes, &opened), (&checked, &checked), "{case}");
                checked
            };
            for at in 0..good.len() {
                let name = &good[at].0;
                for (changed, parts) in changes(&good, at) {
                    // A threshold or a skip may be absent.
                    if changed.len() < good.len() && (name.contains("threshold") || name.contains("skip")) {
                        continue;
                    }
                    write(&file, &changed);
                    let said = verdicts();
                    // The first layer must be of a known layout before its tensors are looked at; and where the biases say that
                    // there is one feature more, the encoder is the one that is wrong.
                    let by_layout = said.contains("follow no layout");
                    assert!(by_layout || said.contains(&parts[0]), "{case}, {name}: {said}");
                }
            }
            let more = ("extra".to_owned(), "F32".to_owned(), vec![1]);
            write(&file, &good.iter().cloned().chain([more]).collect());
            assert!(verdicts().contains("`extra` is not part"), "{case}");
            write(&file, &good);
        }
        let (n_layers, d_model) = shape;
        for other in [(n_layers + 1, d_model), (n_layers - 1, d_model), (n_layers, d_model + 1)] {
            let checked = TranscoderSet::check(folder, Some(other)).unwrap_err().to_string();
            let opened = TranscoderSet::open(folder, other.0, other.1, Kind::Float, Device::Cpu);
            assert_eq!(opened.map(drop).unwrap_err().to_string(), checked, "{case}");
        }
    }
}

/// A model whose tensors are changed.
fn changed(case: &str, change: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let dir = copy(&fixture(case).join("model"));
    let file = dir.path().join("model.safetensors");
    let mut all = tensors(&file);
    change(&mut all);
    write(&file, &all);
    dir
}

#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let error = Model::check(folder).unwrap_err();
    let said = format!("{error}; {}", error.advice().unwrap_or_default());
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn forms_of_weights_that_are_not_read_are_named() {
    let case = "qwen3-plt-relu";
    let q = "model.layers.1.self_attn.q_proj";
    // In place of a weight: these ends of its name, each of a type.
    type Ends<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Ends<'_>, &[&str])] = &[
        (&[(".qweight", "I32"), (".qzeros", "I32"), (".scales", "F16")], &["GPTQ or AWQ"]),
        (&[(".weight", "F8_E4M3"), (".weight_scale_inv", "F32")], &["FP8", "block"]),
        (&[(".weight", "F8_E4M3"), (".weight_scale", "F32")], &["FP8"]),
        (&[(".weight", "F8_E4M3")], &["FP8 (F8_E4M3)"]),
        (&[(".weight", "U32"), (".scales", "BF16"), (".biases", "BF16")], &["MLX"]),
        (&[(".weight", "U8"), (".weight.absmax", "F32"), (".weight.quant_map", "F32")], &["bitsandbytes"]),
        (&[(".weight", "I8"), (".SCB", "F32")], &["bitsandbytes"]),
        (&[(".weight_packed", "I32"), (".weight_shape", "I64")], &["compressed-tensors"]),
    ];
    for (ends, parts) in cases {
        let dir = changed(case, |all| {
            let shape = all.iter().find(|(name, ..)| *name == format!("{q}.weight")).unwrap().2.clone();
            all.retain(|(name, ..)| *name != format!("{q}.weight"));
            all.extend(ends.iter().map(|(end, dtype)| (format!("{q}{end}"), (*dtype).into(), shape.clone())));
        });
        refused(dir.path(), parts);
        refused(dir.path(), &["model.safetensors", q, "is not supported", "before quantization"]);
    }
    let wrapped = |start: &str| {
        changed(case, |all| all.iter_mut().for_each(|(name, ..)| *name = format!("{start}{name}")))
    };
    refused(wrapped("_orig_mod.").path(), &["torch.compile", "save the model that is inside"]);
    refused(wrapped("base_model.model.").path(), &["PEFT", "merge_and_unload"]);
    let adapter = changed(case, |all| all.push((format!("{q}.lora_A.weight"), "F32".into(), vec![2, 32])));
    refused(adapter.path(), &["adapter (LoRA)", "merge"]);
    // What is read is not taken for one of them: experts in MXFP4 of a checkpoint that lacks something else.
    let plain = changed("gpt_oss-clt-jumprelu", |all| all.retain(|(name, ..)| !name.contains("sinks")));
    refused(plain.path(), &["no tensor `model.layers.0.self_attn.sinks`"]);
}

fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

#[track_caller]
fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(parts.iter().all(|part| stderr.contains(part)), "{args:?}: {stderr}");
}

/// Every command that reads weights, and those that only plan, say the same.
#[test]
fn plans_and_commands_refuse_alike() {
    let case = "qwen3-plt-relu";
    let set = fixture(case).join("transcoders");
    let untied = copy(&fixture(case).join("model"));
    let config = untied.path().join("config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value["tie_word_embeddings"] = false.into();
    fs::write(&config, value.to_string()).unwrap();
    let no_embedding = changed(case, |all| all.retain(|(name, ..)| name != "model.embed_tokens.weight"));
    let packed = changed(case, |all| all[3].1 = "F8_E4M3".into());
    let no_layer = changed(case, |all| all.retain(|(name, ..)| !name.contains("layers.")));
    for (folder, part) in [
        (&untied, "lm_head.weight"),
        (&no_embedding, "model.embed_tokens.weight"),
        (&packed, "F8_E4M3"),
        (&no_layer, "model.layers.0."),
    ] {
        let (m, t) = (path(folder.path()), path(&set));
        fails(&["attribute", "-m", m, "-t", t, "-p", "x", "--dry-run"], 3, &[part]);
        fails(&["attribute", "-m", m, "-t", t, "-p", "x"], 3, &[part]);
        fails(&["doctor", "-m", m, "-t", t, "-p", "x"], 3, &[part]);
    }
    let model = fixture(case).join("model");
    let m = path(&model);
    let damaged = copy(&set);
    let layer = damaged.path().join("layer_1.safetensors");
    let good = tensors(&layer);
    for (change, parts) in [
        (
            good.iter().filter(|(name, ..)| name != "W_enc").cloned().collect::<Tensors>(),
            ["layer_1", "no tensor `W_enc`"],
        ),
        (
            good.iter().cloned().map(|(name, _, shape)| (name, "I32".into(), shape)).collect(),
            ["layer_1", "has type I32"],
        ),
    ] {
        write(&layer, &change);
        let t = path(damaged.path());
        fails(&["attribute", "-m", m, "-t", t, "-p", "x", "--dry-run"], 3, &parts);
        fails(&["attribute", "-m", m, "-t", t, "-p", "x"], 3, &parts);
        fails(&["doctor", "-m", m, "-t", t, "-p", "x"], 3, &parts);
    }
}

/// A folder of another kind than asked for, a file in place of a folder, and files that are something else.
#[test]
fn what_lies_there_is_said() {
    let case = "qwen3-plt-relu";
    let (model, set) = (fixture(case).join("model"), fixture(case).join("transcoders"));
    let dry = |m: &Path, parts: &[&str]| {
        fails(&["attribute", "-m", path(m), "-t", path(&set), "-p", "x", "--dry-run"], 3, parts);
    };
    fails(
        &["generate", "-m", path(&set), "-t", path(&set), "-p", "x"],
        3,
        &["no config.json", "give it with -t"],
    );
    dry(&set, &["no config.json", "holds a transcoder set: give it with -t"]);
    dry(&model.join("model.safetensors"), &["a file, expected a model's folder"]);
    dry(
        model.parent().unwrap(),
        &["no config.json", "folders below it hold models: model", "hint: give one of these"],
    );
    let other = |name: &str, bytes: &[u8]| {
        let dir = copy(&model);
        fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
        dir
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f1e\nsize 3\n";
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("pytorch_model.bin", b"PK", &["pytorch_model.bin", "pickles", "hint: convert it in Python"]),
        ("model.gguf", b"GGUF", &["no model.safetensors or model.safetensors.index.json", "GGUF", "hint: "]),
        ("model.safetensors", pointer, &["model.safetensors", "pointer of Git LFS", "git lfs pull"]),
        ("model.safetensors", b"", &["model.safetensors", "it is empty"]),
        ("model.safetensors", b"<!DOCTYPE html><html></html>", &["model.safetensors", "web page"]),
        ("model.safetensors", b"\x80\x02}q\x00X\x04\x00\x00\x00", &["model.safetensors", "PyTorch pickle"]),
        ("model.safetensors.incomplete", b"", &["did not finish", "hint: start the download again"]),
        ("config.json", b"<!DOCTYPE html><html></html>", &["config.json", "web page"]),
        ("config.json", pointer, &["config.json", "git lfs pull"]),
        ("config.json", b"{\"a\": 1,\n \"b\": }", &["config.json", "line 2, column 7"]),
    ];
    for (name, bytes, parts) in cases {
        dry(other(name, bytes).path(), parts);
    }
    let adapter =
        other("adapter_config.json", br#"{"peft_type": "LORA", "base_model_name_or_path": "acme/base"}"#);
    dry(adapter.path(), &["an adapter (LORA)", "changes to acme/base", "hint: merge it"]);
    // A config whose nesting has no end, and one with a key twice.
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    dry(other("config.json", deep.as_bytes()).path(), &["config.json", "nested more than 127 levels"]);
}

/// An index beside a whole file, and one that names files that are not there.
#[test]
fn a_stale_index_is_noted_and_a_wrong_one_refused() {
    let case = "qwen3-plt-relu";
    let whole = copy(&fixture(case).join("model"));
    let folder = whole.path();
    let names = tensors(&folder.join("model.safetensors")).into_iter().map(|(name, ..)| name);
    let map: Map<_, _> = names
        .enumerate()
        .map(|(i, name)| (name, json!(format!("model-0000{}-of-00002.safetensors", 1 + i % 2))))
        .collect();
    fs::write(folder.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    let model = Model::open(folder, Kind::Float, Device::Cpu).unwrap();
    let said: Vec<_> = model.notices().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("note: ") && said[0].contains("model.safetensors lies beside it"),
        "{said:?}"
    );
    assert_eq!(Model::check(folder).unwrap(), model.notices());
    let plain = Model::open(&fixture(case).join("model"), Kind::Float, Device::Cpu).unwrap();
    assert_eq!(model.W_U(), plain.W_U());
    let set = fixture(case).join("transcoders");
    let args =
        ["attribute", "-m", path(folder), "-t", path(&set), "-p", "The ship", "--max-feature-nodes", "0"];
    let output = run(&args);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("lies beside it").count(), 1, "{stderr}");
    // Without the whole file the index rules, and what it names is missing.
    fs::rename(folder.join("model.safetensors"), folder.join("model-00002-of-00002.safetensors")).unwrap();
    let missing =
        ["index.json: it names model-00001-of-00002.safetensors, but that is not there", "00002-of-00002"];
    fails(&args, 3, &missing);
    fails(&[&args[..], &["--dry-run"]].concat(), 3, &missing);
    assert!(matches!(Model::check(folder), Err(ModelError::Index { .. })));
}

/// All commands come to one verdict on a file.
#[test]
fn a_damaged_header_is_refused_alike_by_inspect() {
    let case = "llama-plt-relu";
    let (model, good) = (fixture(case).join("model"), fixture(case).join("transcoders"));
    let dir = copy(&good);
    let file = dir.path().join("layer_0.safetensors");
    let bytes = fs::read(good.join("layer_0.safetensors")).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = (String::from_utf8(bytes[8..8 + len].to_vec()).unwrap(), &bytes[8 + len..]);
    let header = header.trim_end();
    let with = |start: &str| format!("{{{start},{}", &header[1..]);
    let cases: &[(String, &[&str])] = &[
        (
            with(r#""W_enc":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#),
            &["tensor `W_enc` is there twice"],
        ),
        (
            with(r#""__metadata__":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}"#),
            &["a tensor named `__metadata__`", "another name"],
        ),
        (format!("{header}\0\0\0"), &["padded with 3 NUL byte(s)", "spaces"]),
        (header.replacen("F32", "F33", 1), &["`dtype` is \"F33\"", "expected one of F64, F32"]),
        (header.replacen("\"shape\"", "\"size\"", 1), &["has no `shape`"]),
        (header[..header.len() - 1].to_owned(), &["no JSON object", "ends in the middle"]),
    ];
    for (header, parts) in cases {
        fs::write(&file, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
        fails(&["inspect", path(&file)], 3, &[parts, &["layer_0.safetensors"][..]].concat());
        fails(&["describe", path(dir.path())], 3, parts);
        for more in [&["--dry-run"][..], &[]] {
            let args = ["attribute", "-m", path(&model), "-t", path(dir.path()), "-p", "x"];
            fails(&[&args[..], more].concat(), 3, &[parts, &["layer_0.safetensors"][..]].concat());
        }
    }
    // A header beyond the format's limit, in a file that has room for it.
    let claim = 132_095_296_u64;
    fs::write(&file, claim.to_le_bytes()).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_len(claim + 1032).unwrap();
    fails(&["inspect", path(&file)], 3, &["132095296 bytes", "limit of 100000000 (100 MB)"]);
}
