//! Tokenizer folders as people have them, against what transformers makes of them; what stands in front of a prompt; and
//! text files as editors leave them.

use crate::cli::{run, text};
use circuit_index::TokenId;
use circuit_model::tokenizer::{FirstToken, SpecialRole, Tokenizer};
use circuit_tests::{Expected, fixture};
use serde_json::{Value, from_value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const GPT2: &str = "gpt2-plt-relu";
const QWEN: &str = "qwen3-plt-relu";

/// A copy of a fixture's `model/` and `transcoders/`; `files` replaces or (null) removes files of the model.
fn folder(case: &str, files: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["model", "transcoders"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        for file in fs::read_dir(fixture(case).join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(part).join(file.file_name())).unwrap();
        }
    }
    for (name, content) in files.as_object().unwrap() {
        let path = folder.path().join("model").join(name);
        match content {
            Value::Null => drop(fs::remove_file(path)),
            content => fs::write(path, content.to_string()).unwrap(),
        }
    }
    folder
}

/// A command on the model and the set of a folder.
fn command(name: &str, folder: &Path, more: &[&str]) -> Output {
    let (model, set) = (folder.join("model"), folder.join("transcoders"));
    let mut args = vec![name, "-m", model.to_str().unwrap(), "-t", set.to_str().unwrap(), "--threads", "1"];
    args.extend(more);
    run(&args)
}

/// The JSON of `attribute` without rows of features, and what was said.
#[track_caller]
fn traced(folder: &Path, more: &[&str]) -> (Value, String) {
    let output = command("attribute", folder, &[&["--json", "--max-feature-nodes", "0"], more].concat());
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

#[track_caller]
fn refused(output: &Output, code: i32, says: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in says {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn tokens(found: &Value) -> Vec<u32> {
    from_value(found["tokens"].clone()).unwrap()
}

#[test]
fn folders_with_unusual_special_tokens_are_read_as_in_transformers() {
    let cases: Value =
        serde_json::from_slice(&fs::read(fixture("tokenizers").join("cases.json")).unwrap()).unwrap();
    let mut compared = 0;
    for (name, case) in cases.as_object().unwrap() {
        let folder = folder(case["fixture"].as_str().unwrap(), &case["files"]);
        let tokenizer = Tokenizer::open(&folder.path().join("model")).unwrap();
        let special = tokenizer.special_tokens();
        let nothing = Tokenizer::open(&folder.path().join("model")).unwrap();
        let nothing = nothing.with_first_token(&FirstToken::Nothing).unwrap();
        for version in ["4.57.3", "5.24.0"] {
            let expected = &case[version];
            for (key, id) in expected["special"].as_object().unwrap() {
                let found = special.iter().find(|token| token.role.key() == key).map(|token| token.id.0);
                assert_eq!(found.map(Value::from).as_ref(), Some(id), "{name}, {version}: {key}");
            }
            let mut ids: Vec<u32> = special.iter().map(|token| token.id.0).collect();
            ids.sort_unstable();
            ids.dedup();
            let mut all: Vec<u32> = from_value(expected["all_special_ids"].clone()).unwrap();
            if version == "5.24.0" && name.starts_with("gemma") {
                all.retain(|&id| id != 4); // A mask token, which 4 does not know.
            }
            assert_eq!(ids, all, "{name}, {version}");
            for (text, ids) in
                case["texts"].as_array().unwrap().iter().zip(expected["ids"].as_array().unwrap())
            {
                let text = text.as_str().unwrap();
                let found = nothing.encode_prompt(text).unwrap().tokens;
                let expected: Vec<u32> = from_value(ids.clone()).unwrap();
                assert_eq!(
                    found,
                    expected.into_iter().map(TokenId).collect::<Vec<_>>(),
                    "{name}, {version}: {text:?}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn a_folder_without_named_tokens_gives_the_golden_prompt() {
    let removed =
        json!({"special_tokens_map.json": null, "tokenizer_config.json": {"model_max_length": 1024}});
    let folder = folder(GPT2, &removed);
    let expected = Expected::of(GPT2);
    let (found, _) = traced(folder.path(), &["-p", expected.text("/prompt")]);
    assert_eq!(found["tokens"], *expected.at("/input_ids"));
    let (again, _) = traced(folder.path(), &["-p", &format!("<|endoftext|>{}", expected.text("/prompt"))]);
    assert_eq!(again["tokens"], found["tokens"], "not doubled");
    let ids = tokens(&found).iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(traced(folder.path(), &["--prompt-ids", &ids]).0["tokens"], found["tokens"]);
    assert_eq!(found["first_token"], json!({"id": 426, "text": "<|endoftext|>", "other_tools": null}));
}

#[test]
fn ids_are_traced_where_no_special_token_is_known() {
    let files =
        json!({"special_tokens_map.json": null, "tokenizer_config.json": {"tokenizer_class": "Other"}});
    let folder = folder(GPT2, &files);
    let config = folder.path().join("model/config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        value.as_object_mut().unwrap().remove(key);
    }
    fs::write(&config, value.to_string()).unwrap();
    let (found, said) = traced(folder.path(), &["--prompt-ids", "282,307,303"]);
    assert_eq!(tokens(&found), [282, 307, 303]);
    assert!(said.contains("warning: no special token is known"), "{said}");
    refused(
        &command("attribute", folder.path(), &["-p", "Hello"]),
        4,
        &["no special token", "hint: --first-token"],
    );
    let (found, _) = traced(folder.path(), &["-p", "Hello there", "--first-token", "<|endoftext|>"]);
    assert_eq!(tokens(&found)[0], 426);
}

#[test]
fn a_token_that_no_prompt_needs_is_a_warning() {
    let files = json!({"special_tokens_map.json": null,
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "pad_token": "[PAD]"}});
    let folder = folder(GPT2, &files);
    let (found, said) = traced(folder.path(), &["-p", "Hello there"]);
    assert_eq!(tokens(&found)[0], 426);
    assert_eq!(
        said.matches("warning: tokenizer_config.json: `pad_token` names \"[PAD]\"").count(),
        1,
        "{said}"
    );
}

#[test]
fn the_first_token_is_chosen_told_and_kept() {
    let folder = folder(QWEN, &json!({}));
    let raw = folder.path().join("g.safetensors");
    let raw = raw.to_str().unwrap();
    let prompt = ["-p", "Opposite of small is large", "-o", raw];
    let first = |more: &[&str]| {
        let (found, said) = traced(folder.path(), &[&prompt, more].concat());
        (found["first_token"].clone(), tokens(&found), said)
    };
    let (usual, plain, said) = first(&[]);
    assert_eq!((usual["id"].clone(), usual["text"].clone()), (json!(408), json!("<|im_end|>")));
    assert_eq!(plain[0], 408);
    for part in [
        "note: \"<|im_end|>\" (eos_token) is put in front",
        "TransformerLens",
        "\"<|endoftext|>\" (pad_token)",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(usual["other_tools"].as_str().unwrap().contains("<|endoftext|>"), "{usual}");

    for choice in ["<|endoftext|>", "406"] {
        let (chosen, found, said) = first(&["--first-token", choice]);
        assert_eq!((&chosen["id"], found[0], &found[1..]), (&json!(406), 406, &plain[1..]), "{choice}");
        assert!(!said.contains("TransformerLens"), "{said}");
    }
    // What is made of the graph runs its own tokens.
    let verify = |more: &[&str]| {
        let (model, set) = (folder.path().join("model"), folder.path().join("transcoders"));
        let args = [
            "verify",
            raw,
            "-m",
            model.to_str().unwrap(),
            "-t",
            set.to_str().unwrap(),
            "--frozen-only",
            "--sample",
            "1",
            "--threads",
            "1",
        ];
        run(&[&args, more].concat())
    };
    assert!(verify(&[]).status.success());
    assert!(verify(&["--first-token", "406"]).status.success());
    refused(
        &verify(&["--first-token", "none"]),
        2,
        &["--first-token is none", "begins with \"<|endoftext|>\""],
    );

    let (nothing, found, said) = first(&["--first-token", "none"]);
    assert_eq!((nothing, &found[..]), (json!("none"), &plain[1..]));
    assert!(said.contains("note: nothing is put in front of the prompt: position 0 is \"Op"), "{said}");
    assert!(verify(&["--first-token", "none"]).status.success());

    let (model, graphs) = (folder.path().join("model"), folder.path().join("graphs"));
    let made = run(&[
        "graph-files",
        raw,
        "-m",
        model.to_str().unwrap(),
        "--slug",
        "g",
        "--graph-file-dir",
        graphs.to_str().unwrap(),
    ]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let file: Value = serde_json::from_slice(&fs::read(graphs.join("g.json")).unwrap()).unwrap();
    assert_eq!(file["metadata"]["first_token"], "none");

    let unknown = command("attribute", folder.path(), &["-p", "a", "--first-token", "<nonsense>"]);
    refused(&unknown, 4, &["\"<nonsense>\"", "not a token", "hint: --first-token takes"]);
}

#[test]
fn the_summary_names_the_first_token_where_tools_differ() {
    let folder = folder(QWEN, &json!({}));
    let output =
        command("attribute", folder.path(), &["-p", "Opposite of small", "--max-feature-nodes", "0"]);
    let summary = text(&output.stdout);
    assert!(summary.contains("\n  First token: \"<|im_end|>\" (eos_token)"), "{summary}");
}

#[test]
fn a_doubled_start_is_a_warning() {
    let folder = folder(QWEN, &json!({}));
    fs::write(
        folder.path().join("model/chat_template.jinja"),
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    )
    .unwrap();
    let said = |more: &[&str]| traced(folder.path(), more).1;
    for more in [["-p", "<|im_end|><|im_end|>user"].as_slice(), &["--prompt-ids", "408,408,282"]] {
        assert!(said(more).contains("warning: the prompt begins twice with \"<|im_end|>\""), "{more:?}");
    }
    let twice = "warning: a text given to --chat begins with the special token \"<|im_start|>\"";
    assert!(said(&["--chat", "-p", "<|im_start|>user\nHello<|im_end|>"]).contains(twice));
    assert!(said(&["--chat", "-p", r#"[{"role": "user", "content": "<|im_start|>user"}]"#]).contains(twice));
    let plain = said(&["--chat", "-p", "Hello"]);
    assert!(!plain.contains("warning: a text given") && !plain.contains("begins twice"), "{plain}");
}

#[test]
fn generation_ends_where_the_model_or_its_tokenizer_says() {
    let bare = json!({"generation_config.json": null, "special_tokens_map.json": null,
        "tokenizer_config.json": {"tokenizer_class": "Other", "bos_token": "<|endoftext|>"}});
    let folder = folder(GPT2, &bare);
    let config = folder.path().join("model/config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("eos_token_id");
    fs::write(&config, value.to_string()).unwrap();
    let generate = |more: &[&str]| {
        let output = command(
            "generate",
            folder.path(),
            &[&["-p", "Hello", "--json", "--max-new-tokens", "3"], more].concat(),
        );
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["new_tokens"].as_array().unwrap().clone(), stderr)
    };
    let (new, said) = generate(&[]);
    assert_eq!(new.len(), 3);
    assert!(said.contains("note: no token is known that ends a sequence"), "{said}");
    assert!(!generate(&["--ignore-eos"]).1.contains("ends a sequence"));
    // The first new token ends it, once a file says so.
    let first = &new[0]["token_id"];
    for ends in [json!({"eos_token_id": first}), json!({"eos_token_id": [400_000, first]})] {
        fs::write(folder.path().join("model/generation_config.json"), ends.to_string()).unwrap();
        let (new, said) = generate(&[]);
        assert!(new.len() <= 1 && !said.contains("ends a sequence"), "{new:?}: {said}");
    }
}

#[test]
fn prompt_files_are_read_as_editors_leave_them() {
    let folder = folder(QWEN, &json!({}));
    let prompt = "Opposite of small is large; opposite of hot is";
    let file = folder.path().join("p.txt");
    let path = file.to_str().unwrap();
    let traced_file = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let (found, said) = traced(folder.path(), &["--prompt-file", path]);
        (tokens(&found), said)
    };
    let plain = tokens(&traced(folder.path(), &["-p", prompt]).0);
    let left_out = |said: &str| said.contains("p.txt: the line end (") && said.contains("is left out");
    for (end, noted) in [("", false), ("\n", true), ("\r\n", true)] {
        for mark in ["", "\u{FEFF}"] {
            let (found, said) = traced_file(format!("{mark}{prompt}{end}").as_bytes());
            assert_eq!((&found, left_out(&said)), (&plain, noted), "{mark:?} {end:?}: {said}");
        }
    }
    assert_eq!(
        traced_file(format!("{prompt}\n\n").as_bytes()).0.len(),
        plain.len() + 1,
        "only one is left out"
    );
    let (_, said) = traced_file(b"a bell\x07");
    assert!(said.contains("warning: ") && said.contains("line 1 has the control character U+0007"), "{said}");

    let utf16 = |little: bool| {
        let units = prompt.encode_utf16();
        units.flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() }).collect::<Vec<u8>>()
    };
    for (bytes, says) in [
        (utf16(true), ["line 1 is UTF-16LE", "iconv -f UTF-16LE"]),
        (utf16(false), ["line 1 is UTF-16BE", "hint: save it as UTF-8"]),
        ([b"\xFF\xFE".as_slice(), &utf16(true)].concat(), ["by its byte order mark", "UTF-16LE"]),
        (b"one\ntw\xE9".to_vec(), ["line 2 is not UTF-8", "0xE9"]),
        (b"one\ntwo\0three four".to_vec(), ["line 2 has a NUL byte", "p.txt"]),
        (b"".to_vec(), ["p.txt", "the file is empty"]),
        (b"\n".to_vec(), ["p.txt", "nothing but a line end"]),
    ] {
        fs::write(&file, &bytes).unwrap();
        refused(&command("attribute", folder.path(), &["--prompt-file", path]), 4, &says);
    }
}

#[test]
fn targets_and_prompts_in_json_may_have_a_mark() {
    let folder = folder(QWEN, &json!({}));
    let write = |name: &str, bytes: &[u8]| {
        let path: PathBuf = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let targets = write("t.json", "\u{FEFF}[282, 307]".as_bytes());
    let (found, _) = traced(folder.path(), &["-p", "Hello", "--targets", &targets]);
    assert_eq!(found["targets"].as_array().unwrap().len(), 2);
    for (bytes, code, says) in [
        (b"[\n 1,\0 2]".to_vec(), 4, ["t.json", "line 2 has a NUL byte"]),
        (b"\xFF\xFE[\0".to_vec(), 4, ["t.json", "UTF-16LE"]),
        (b"[1,".to_vec(), 3, ["t.json: expected a list of token ids", "line 1"]),
        (b"{\"given\": 3}".to_vec(), 3, ["t.json: found 3", "expected a list"]),
    ] {
        let targets = write("t.json", &bytes);
        refused(&command("attribute", folder.path(), &["-p", "Hello", "--targets", &targets]), code, &says);
    }
    let prompts = write("p.jsonl", "\u{FEFF}\"Hello\"\r\n\r\n{\"prompt\": \"there\"}\r\n".as_bytes());
    let output = command("intervene", folder.path(), &["--prompts", &prompts, "--set", "0_1@-1=1", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    let prompts = write("p.jsonl", b"\"Hello\"\n\"caf\xE9\"\n");
    let output = command("intervene", folder.path(), &["--prompts", &prompts, "--set", "0_1@-1=1"]);
    refused(&output, 4, &["p.jsonl: line 2 is not UTF-8"]);
}

#[test]
fn roles_have_their_keys() {
    assert_eq!(SpecialRole::Pad.key(), "pad_token");
    assert_eq!(SpecialRole::Additional.key(), "additional_special_tokens");
}
